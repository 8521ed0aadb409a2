/* Sends a bounded count of equal UDP datagrams as fast as sendmmsg allows, or at a given rate.
 *
 *   udpblast ADDRESS PORT COUNT OCTETS [PER_SECOND]
 *
 * ADDRESS is IPv4 or IPv6. Prints "sent seconds". Run it inside the sending namespace.
 */
#define _GNU_SOURCE
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BURST = 64, MOST_OCTETS = 65507, SEND_BUFFER = 512 << 20 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void wait_until(double moment)
{
    double left = moment - now();
    if (left <= 0)
        return;
    struct timespec t = {(time_t)left, (long)((left - (time_t)left) * 1e9)};
    nanosleep(&t, NULL);
}

static int connected(const char *address, const char *port)
{
    struct addrinfo wanted = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST}, *found;
    if (getaddrinfo(address, port, &wanted, &found))
        return -1;
    int fd = socket(found->ai_family, SOCK_DGRAM, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen))
        return -1;
    int buffer = SEND_BUFFER; /* what waits in a queue of this host still counts as unsent */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    freeaddrinfo(found);
    return fd;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "udpblast ADDRESS PORT COUNT OCTETS [PER_SECOND]\n");
        return 2;
    }
    long count = atol(argv[3]), sent = 0;
    size_t octets = (size_t)atol(argv[4]);
    double rate = argc > 5 ? atof(argv[5]) : 0;
    static char data[MOST_OCTETS];
    struct iovec vector = {data, octets > sizeof data ? sizeof data : octets};
    struct mmsghdr burst[BURST];
    int fd = connected(argv[1], argv[2]);
    if (fd < 0) {
        perror("udpblast");
        return 1;
    }
    memset(data, 'w', sizeof data);
    memset(burst, 0, sizeof burst);
    for (int i = 0; i < BURST; i++) {
        burst[i].msg_hdr.msg_iov = &vector;
        burst[i].msg_hdr.msg_iovlen = 1;
    }
    double start = now();
    while (sent < count) {
        long want = count - sent < BURST ? count - sent : BURST;
        int done = sendmmsg(fd, burst, (unsigned)want, 0);
        if (done < 0) {
            perror("sendmmsg");
            break;
        }
        sent += done;
        if (rate > 0)
            wait_until(start + sent / rate);
    }
    printf("%ld %.6f\n", sent, now() - start);
    return sent == count ? 0 : 1;
}
