/* Sends a bounded count of equal UDP datagrams as fast as sendmmsg allows, or at a given rate.
 *
 *   udpblast ADDRESS PORT COUNT OCTETS [PER_SECOND [FLOWS [FIRST]]]
 *
 * ADDRESS is IPv4 or IPv6. With more than one of FLOWS, an IPv4 address is needed: one datagram after the other
 * goes to the next of 50,000 ports, then to the next address, and begins anew after FLOWS; FIRST are left out.
 * They come from port 4001, so that the next run has the same flows. PER_SECOND 0 means as fast as it goes.
 * Prints "sent wall_seconds user_seconds system_seconds". With COUNT 0 it prints "ready", and then does so for every
 * line of standard input, which is a count. Run it inside the sending namespace.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { BURST = 64, MOST_OCTETS = 65507, SEND_BUFFER = 512 << 20, PORTS = 50000, SOURCE_PORT = 4001 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec * 1e-6; }

static void wait_until(double moment)
{
    double left = moment - now();
    if (left <= 0)
        return;
    struct timespec t = {(time_t)left, (long)((left - (time_t)left) * 1e9)};
    nanosleep(&t, NULL);
}

/* Where datagram `number` of `flows` goes. */
static struct sockaddr_in there(const char *address, const char *port, long number, long flows)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    long flow = number % flows;
    to.sin_port = htons((unsigned short)(atoi(port) + flow % PORTS));
    to.sin_addr.s_addr = htonl(ntohl(inet_addr(address)) + (unsigned)(flow / PORTS));
    return to;
}

static int opened(const char *address, const char *port, int connecting)
{
    struct addrinfo wanted = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST}, *found;
    if (getaddrinfo(address, port, &wanted, &found))
        return -1;
    int fd = socket(found->ai_family, SOCK_DGRAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(SOURCE_PORT)};
    if (fd >= 0 && !connecting && bind(fd, (struct sockaddr *)&here, sizeof here))
        return -1;
    if (fd >= 0 && connecting && connect(fd, found->ai_addr, found->ai_addrlen))
        return -1;
    int buffer = SEND_BUFFER; /* what waits in a queue of this host still counts as unsent */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    freeaddrinfo(found);
    return fd;
}

static struct mmsghdr burst[BURST];
static struct sockaddr_in to[BURST];

/* Sends `count` datagrams from number `first` on, and prints what that took; false when the kernel refused. */
static int blasted(int fd, char **argv, long count, double rate, long flows, long first)
{
    struct rusage before, after;
    long sent = 0;
    getrusage(RUSAGE_SELF, &before);
    double start = now();
    while (sent < count) {
        long want = count - sent < BURST ? count - sent : BURST;
        for (int i = 0; flows > 1 && i < want; i++) {
            to[i] = there(argv[1], argv[2], first + sent + i, flows);
            burst[i].msg_hdr.msg_name = &to[i];
            burst[i].msg_hdr.msg_namelen = sizeof to[i];
        }
        int done = sendmmsg(fd, burst, (unsigned)want, 0);
        if (done < 0) {
            perror("sendmmsg");
            break;
        }
        sent += done;
        if (rate > 0)
            wait_until(start + sent / rate);
    }
    double wall = now() - start;
    getrusage(RUSAGE_SELF, &after);
    printf("%ld %.6f %.6f %.6f\n", sent, wall, seconds(after.ru_utime) - seconds(before.ru_utime),
           seconds(after.ru_stime) - seconds(before.ru_stime));
    fflush(stdout);
    return sent == count;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "udpblast ADDRESS PORT COUNT OCTETS [PER_SECOND [FLOWS [FIRST]]]\n");
        return 2;
    }
    long count = atol(argv[3]);
    size_t octets = (size_t)atol(argv[4]);
    double rate = argc > 5 ? atof(argv[5]) : 0;
    long flows = argc > 6 ? atol(argv[6]) : 1, first = argc > 7 ? atol(argv[7]) : 0;
    static char data[MOST_OCTETS];
    struct iovec vector = {data, octets > sizeof data ? sizeof data : octets};
    int fd = opened(argv[1], argv[2], flows < 2);
    if (fd < 0) {
        perror("udpblast");
        return 1;
    }
    memset(data, 'w', sizeof data);
    for (int i = 0; i < BURST; i++) {
        burst[i].msg_hdr.msg_iov = &vector;
        burst[i].msg_hdr.msg_iovlen = 1;
    }
    if (count)
        return !blasted(fd, argv, count, rate, flows, first);
    char line[32];
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        if (!blasted(fd, argv, atol(line), rate, flows, first))
            return 1;
    return 0;
}
