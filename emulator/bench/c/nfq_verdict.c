/* The baseline of the queue: libnetfilter_queue, one recv and one verdict for each packet.
 *
 *   nfq_verdict QUEUE accept|copy-back COUNT
 *
 * copy-back changes the last octet and hands the whole packet back with the verdict.
 * Prints "ready" when bound; reads one line of standard input before it starts, so that a backlog
 * can be built first; stops after COUNT packets or half a second without any.
 * Prints "handled wall_seconds user_seconds system_seconds", taken from the first packet to the last.
 */
#include <arpa/inet.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { BUFFER = 0xffff + 4096, IDLE_MILLISECONDS = 500, RECEIVE_BUFFER = 64 << 20, LENGTH = 65536 };

static int copy_back;
static long handled;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec * 1e-6; }

static int on_packet(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *data, void *none)
{
    (void)message, (void)none;
    struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);
    unsigned char *payload;
    int length = nfq_get_payload(data, &payload);
    handled++;
    if (!copy_back)
        return nfq_set_verdict(queue, ntohl(header->packet_id), NF_ACCEPT, 0, NULL);
    payload[length - 1] ^= 1;
    return nfq_set_verdict(queue, ntohl(header->packet_id), NF_ACCEPT, (unsigned)length, payload);
}

int main(int argc, char **argv)
{
    static char buffer[BUFFER] __attribute__((aligned(8)));
    if (argc < 4)
        return 2;
    long count = atol(argv[3]);
    copy_back = !strcmp(argv[2], "copy-back");
    struct nfq_handle *library = nfq_open();
    struct nfq_q_handle *queue = library ? nfq_create_queue(library, (unsigned short)atoi(argv[1]), on_packet, NULL) : NULL;
    if (!queue || nfq_set_mode(queue, NFQNL_COPY_PACKET, 0xffff) || nfq_set_queue_maxlen(queue, LENGTH) < 0) {
        perror("nfq_verdict");
        return 1;
    }
    int fd = nfq_fd(library), receive_buffer = RECEIVE_BUFFER;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof receive_buffer);
    puts("ready");
    fflush(stdout);
    if (!fgets(buffer, sizeof buffer, stdin))
        return 1;
    struct pollfd waiting = {fd, POLLIN, 0};
    if (poll(&waiting, 1, 10000) < 1)
        return 1;
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    after = before;
    double start = now(), end = start;
    while (handled < count) {
        ssize_t length = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (length > 0) {
            nfq_handle_packet(library, buffer, (int)length);
            continue;
        }
        getrusage(RUSAGE_SELF, &after);
        end = now();
        if (poll(&waiting, 1, IDLE_MILLISECONDS) < 1)
            break;
    }
    if (handled >= count) {
        getrusage(RUSAGE_SELF, &after);
        end = now();
    }
    printf("%ld %.6f %.6f %.6f\n", handled, end - start, seconds(after.ru_utime) - seconds(before.ru_utime),
           seconds(after.ru_stime) - seconds(before.ru_stime));
    nfq_destroy_queue(queue);
    nfq_close(library);
    return 0;
}
