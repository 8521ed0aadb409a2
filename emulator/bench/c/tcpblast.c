/* One TCP connection that carries a bounded count of equal blocks as fast as it goes; its receiver checks every octet.
 *
 *   tcpblast receive ADDRESS PORT FILLER WORD          prints "ready", then "octets wrong seconds user system"
 *   tcpblast send ADDRESS PORT FILLER WORD BLOCKS      prints "octets user system"
 *
 * ADDRESS is IPv4 or IPv6. A block is FILLER octets, none of them ASCII, and WORD: the two may have different words
 * when something on the way replaces one by the other. The receiver takes one connection; its seconds run from the
 * first octet to the end of the stream, and "wrong" counts the reads that held anything but what was due.
 */
#define _GNU_SOURCE
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FILLER = 1 << 20, PIECE = 256 << 10, LONGEST_WORD = 64 };

static unsigned char octets[PIECE + 2 * (MOST_FILLER + LONGEST_WORD)];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* Fills `octets` with blocks; the size of one. */
static size_t lay_blocks(size_t filler, const char *word)
{
    size_t size = filler + strlen(word);
    unsigned state = 1;
    for (size_t i = 0; i < filler; i++) {
        state = state * 1664525u + 1013904223u;
        octets[i] = 0x80 | state >> 25;
    }
    memcpy(octets + filler, word, size - filler);
    for (size_t i = size; i < sizeof octets; i++)
        octets[i] = octets[i - size];
    return size;
}

static void print_times(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf(" %.6f %.6f\n", usage.ru_utime.tv_sec + usage.ru_utime.tv_usec * 1e-6,
           usage.ru_stime.tv_sec + usage.ru_stime.tv_usec * 1e-6);
}

static int receive(int listener, size_t block)
{
    static unsigned char buffer[PIECE];
    long long got = 0;
    long wrong = 0;
    ssize_t size;
    double start = 0;
    puts("ready");
    fflush(stdout);
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return 1;
    while ((size = recv(fd, buffer, sizeof buffer, 0)) > 0) {
        if (!got)
            start = now();
        wrong += memcmp(buffer, octets + got % (long long)block, (size_t)size) != 0;
        got += size;
    }
    printf("%lld %ld %.6f", got, wrong, now() - start);
    print_times();
    return size < 0;
}

static int send_all(int fd, long long left, size_t block)
{
    long long sent = 0;
    while (left) {
        size_t want = left < PIECE ? (size_t)left : PIECE;
        ssize_t size = send(fd, octets + sent % (long long)block, want, MSG_NOSIGNAL);
        if (size < 0)
            break;
        sent += size;
        left -= size;
    }
    shutdown(fd, SHUT_WR);
    printf("%lld", sent);
    print_times();
    return left != 0;
}

int main(int argc, char **argv)
{
    if (argc < 6 || atol(argv[4]) < 1 || atol(argv[4]) > MOST_FILLER || strlen(argv[5]) > LONGEST_WORD)
        return 2;
    int sending = !strcmp(argv[1], "send"), on = 1;
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *found;
    if (getaddrinfo(argv[2], argv[3], &wanted, &found))
        return 2;
    size_t block = lay_blocks((size_t)atol(argv[4]), argv[5]);
    int fd = socket(found->ai_family, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (sending ? connect(fd, found->ai_addr, found->ai_addrlen)
                : bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, 1)) {
        perror("tcpblast");
        return 1;
    }
    freeaddrinfo(found);
    if (!sending)
        return receive(fd, block);
    return argc > 6 ? send_all(fd, atoll(argv[6]) * (long long)block, block) : 2;
}
