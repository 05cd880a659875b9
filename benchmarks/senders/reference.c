/* What a sent packet costs in C: written from its first byte on, protected by libsrtp, sent by sendmmsg(2), a frame at a
 * time. With ``segmented`` a frame is one buffer that the kernel cuts up (UDP_SEGMENT). */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { MOST = 64, ROOM = 1500, STAMP = 40 };

static uint64_t now_ns(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void put(uint8_t *at, uint64_t value, int bytes)
{
    while (bytes--) {
        at[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

static void write_packet(uint8_t *packet, int bytes, uint16_t sequence, int marker, uint32_t timestamp, uint64_t wall)
{
    memset(packet, 0, (size_t)bytes);
    packet[0] = 0x90;
    packet[1] = (uint8_t)(100 | marker << 7);
    put(packet + 2, sequence, 2);
    put(packet + 4, timestamp, 4);
    put(packet + 8, 3, 4);
    put(packet + 12, 0xBEDE0002, 4);
    packet[16] = 5 << 4 | 1;
    put(packet + 17, sequence, 2);
    packet[19] = 3 << 4 | 2;
    put(packet + 20, (wall / 1000) << 18, 3);
    put(packet + STAMP, wall, 8);
}

/* Nanoseconds of CPU a packet, of frames by so many sockets in turn, each with its own session; below 0: it failed. */
double send_all(const int *descriptors, int (*protect)(void *, void *, int *), void *const *sessions, long many,
                long packets, int frame, int bytes, int segmented)
{
    static uint8_t data[MOST][ROOM];
    static struct iovec vectors[MOST];
    static struct mmsghdr messages[MOST];
    union {
        struct cmsghdr header;
        uint8_t room[CMSG_SPACE(sizeof(uint16_t))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(uint16_t)), .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT}};
    struct msghdr whole = {.msg_iov = vectors, .msg_iovlen = (size_t)frame};
    whole.msg_control = &control;
    whole.msg_controllen = sizeof control;
    if (frame > MOST || bytes > ROOM - 144)
        return -1;
    for (int i = 0; i < frame; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    uint64_t begun = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (long sent = 0; sent < packets; sent += frame) {
        uint64_t wall = now_ns(CLOCK_REALTIME);
        int length = bytes, descriptor = descriptors[sent / frame % many];
        void *session = sessions[sent / frame % many];
        uint16_t sequence = (uint16_t)(sent / frame / many * frame);
        for (int i = 0; i < frame; i++, length = bytes) {
            write_packet(data[i], bytes, ++sequence, i == frame - 1, (uint32_t)(sent / frame * 3000), wall);
            if (protect(session, data[i], &length) != 0)
                return -1;
            vectors[i] = (struct iovec){data[i], (size_t)length};
        }
        uint16_t segment = (uint16_t)vectors[0].iov_len;
        memcpy(CMSG_DATA(&control.header), &segment, sizeof segment);
        if (segmented ? sendmsg(descriptor, &whole, 0) < 0 : sendmmsg(descriptor, messages, (unsigned)frame, 0) != frame)
            return -1;
    }
    return (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - begun) / (double)packets;
}
