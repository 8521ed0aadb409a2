/* Round trips of UDP datagrams, one at a time.
 *
 *   udprtt echo ADDRESS PORT            sends back what comes, until it is killed
 *   udprtt ask ADDRESS PORT COUNT       measures, after a tenth of COUNT more to warm up
 *
 * `echo` prints "ready" once it is bound. `ask` prints "count p50 p99 lost", times in microseconds; an answer
 * that takes longer than a second is lost. Every datagram carries 64 octets and its number.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

enum { OCTETS = 64 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int echo(int fd, struct sockaddr_in *here)
{
    char data[OCTETS];
    struct sockaddr_in from;
    if (bind(fd, (struct sockaddr *)here, sizeof *here)) {
        perror("udprtt");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &size);
        if (length > 0)
            sendto(fd, data, (size_t)length, 0, (struct sockaddr *)&from, size);
    }
}

static int ask(int fd, struct sockaddr_in *there, long count)
{
    char data[OCTETS] = {0}, answer[OCTETS];
    struct timeval second = {1, 0};
    double *times = calloc((size_t)count, sizeof *times);
    long known = 0, lost = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    if (!times || connect(fd, (struct sockaddr *)there, sizeof *there)) {
        perror("udprtt");
        return 1;
    }
    for (long i = -(count / 10); i < count; i++) {
        memcpy(data, &i, sizeof i);
        double start = now();
        send(fd, data, sizeof data, 0);
        ssize_t length;
        while ((length = recv(fd, answer, sizeof answer, 0)) > 0 && memcmp(answer, &i, sizeof i))
            ; /* the late answer to one that counts as lost */
        double spent = now() - start;
        if (length < 0)
            lost++;
        else if (i >= 0)
            times[known++] = spent;
    }
    qsort(times, (size_t)known, sizeof *times, ascending);
    printf("%ld %.2f %.2f %ld\n", known, known ? times[known / 2] : 0, known ? times[known * 99 / 100] : 0, lost);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[3])), .sin_addr.s_addr = inet_addr(argv[2])};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), without = 1;
    /* Whoever changes an octet on the way does not mend checksums. */
    setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &without, sizeof without);
    if (!strcmp(argv[1], "echo"))
        return echo(fd, &address);
    return argc < 5 ? 2 : ask(fd, &address, atol(argv[4]));
}
