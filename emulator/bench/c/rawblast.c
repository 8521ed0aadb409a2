/* The baseline of network sends: a raw socket with the IP header included, 64 packets to a system call.
 *
 *   rawblast SOURCE ADDRESS PORT COUNT OCTETS
 *
 * Sends COUNT equal UDP datagrams of OCTETS of data, whole with their IPv4 and UDP headers, with a mark.
 * Prints "sent wall_seconds user_seconds system_seconds". Run it inside the sending namespace.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { BURST = 64, MOST_OCTETS = 1472, HEADERS = sizeof(struct iphdr) + sizeof(struct udphdr), MARK = 5 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec * 1e-6; }

static size_t build(unsigned char *packet, char **argv, size_t octets)
{
    struct iphdr *ip = (struct iphdr *)packet;
    struct udphdr *udp = (struct udphdr *)(ip + 1);
    *ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .id = htons(1), .protocol = IPPROTO_UDP};
    ip->tot_len = htons((unsigned short)(HEADERS + octets));
    ip->saddr = inet_addr(argv[1]);
    ip->daddr = inet_addr(argv[2]);
    udp->source = htons(4000);
    udp->dest = htons((unsigned short)atoi(argv[3]));
    udp->len = htons((unsigned short)(sizeof *udp + octets));
    memset(udp + 1, 'w', octets);
    return HEADERS + octets;
}

int main(int argc, char **argv)
{
    static unsigned char packet[HEADERS + MOST_OCTETS];
    if (argc < 6) {
        fprintf(stderr, "rawblast SOURCE ADDRESS PORT COUNT OCTETS\n");
        return 2;
    }
    long count = atol(argv[4]), sent = 0;
    size_t octets = (size_t)atol(argv[5]);
    struct iovec vector = {packet, build(packet, argv, octets > MOST_OCTETS ? MOST_OCTETS : octets)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(argv[2])};
    struct mmsghdr burst[BURST];
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW), mark = MARK;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark)) {
        perror("rawblast");
        return 1;
    }
    memset(burst, 0, sizeof burst);
    for (int i = 0; i < BURST; i++)
        burst[i].msg_hdr = (struct msghdr){.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &vector, .msg_iovlen = 1};
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    double start = now();
    while (sent < count) {
        int done = sendmmsg(fd, burst, (unsigned)(count - sent < BURST ? count - sent : BURST), 0);
        if (done < 0) {
            perror("sendmmsg");
            break;
        }
        sent += done;
    }
    double wall = now() - start;
    getrusage(RUSAGE_SELF, &after);
    printf("%ld %.6f %.6f %.6f\n", sent, wall, seconds(after.ru_utime) - seconds(before.ru_utime),
           seconds(after.ru_stime) - seconds(before.ru_stime));
    return sent == count ? 0 : 1;
}
