/* Frames of clients, due now: their packets are written, filled in with what is known only now, protected and sent, those
 * of one client by one system call.
 *
 * Optional: jvbtune/load/sending.py does the same in Python, and is what this is tested against. It is linked with
 * nothing: the caller gives the address of srtp_protect, in the libsrtp that pylibsrtp has loaded. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

enum {
    MOST = 64,    /* packets by one system call */
    ROOM = 1536,  /* of one, with what SRTP appends */
    TRAILER = 144,
    FIXED = 12,   /* RTP's fixed header; the front follows, with the two words of extensions that are written here */
    LEAST_FRONT = 12,
    RED_STAMP = -2
};

/* By payload type: where in the payload the time of sending is (-1: nowhere; RED_STAMP: see red_stamp), how many bytes
 * are behind it where the mark is before it (-1: never), and whether the packet has abs-send-time. Then the ids of the
 * extensions. */
struct rules {
    int16_t stamp[128], behind[128];
    uint8_t mark[4];
    uint8_t timed[128];
    uint8_t transport_id, time_id;
};

/* A client's socket and keys. */
struct port {
    int64_t descriptor;
    int (*protect)(void *, void *, int *);
    void *session;
    const struct rules *rules;
};

/* As media/frame.py has it. number: of its first packet, transport-wide; below 0: none. */
struct frame {
    const struct port *port;
    int64_t number;
    uint32_t timestamp, ssrc;
    uint16_t sequence;
    uint8_t type, marker;
    int32_t packets;
};

/* Packets of one client that wait for the system call, and where what is taken of each is counted. */
struct batch {
    const struct port *port;
    unsigned count;
    int32_t *taken[MOST];
    struct iovec vectors[MOST];
    struct mmsghdr messages[MOST];
    uint8_t data[MOST][ROOM];
};

static void put(uint8_t *at, uint64_t value, int bytes)
{
    while (bytes--) {
        at[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

/* Of redundant audio (RFC 2198): where the primary block begins in the payload. */
static int red_stamp(const uint8_t *payload, int bytes)
{
    int at = 0, blocks = 0;
    for (; at + 4 <= bytes && payload[at] & 0x80; at += 4)
        blocks += (payload[at + 2] & 3) << 8 | payload[at + 3];
    return at + 1 + blocks;
}

/* 0 where there is no room for what is to be written. */
static int fill_in(uint8_t *packet, int bytes, const struct rules *rules, uint64_t wall_ns, int64_t number)
{
    int type = packet[1] & 0x7F, stamp = rules->stamp[type];
    int at = FIXED + 4 + 4 * (packet[FIXED + 2] << 8 | packet[FIXED + 3]);
    if (stamp == RED_STAMP && at < bytes)
        stamp = red_stamp(packet + at, bytes - at);
    if (stamp >= 0) {
        if (at + stamp + 8 > bytes)
            return 0;
        put(packet + at + stamp, wall_ns, 8);
    }
    int place = bytes - rules->behind[type] - 8;
    if (rules->behind[type] >= 0 && place - 4 >= at && memcmp(packet + place - 4, rules->mark, 4) == 0)
        put(packet + place, wall_ns, 8);
    int one_byte = packet[12] == 0xBE;
    if (rules->timed[type]) {
        uint64_t second = wall_ns / 1000000000u, rest = wall_ns % 1000000000u;
        uint8_t *at_time = packet + (one_byte ? 19 : 20);
        *at_time++ = one_byte ? (uint8_t)(rules->time_id << 4 | 2) : rules->time_id;
        if (!one_byte)
            *at_time++ = 3;
        put(at_time, (second << 18) + (rest << 18) / 1000000000u, 3);
    }
    if (number >= 0) {
        packet[16] = one_byte ? (uint8_t)(rules->transport_id << 4 | 1) : rules->transport_id;
        if (!one_byte)
            packet[17] = 2;
        put(packet + (one_byte ? 17 : 18), (uint64_t)number, 2);
    }
    return 1;
}

/* A packet that the kernel does not take is lost. */
static void flush(struct batch *batch)
{
    for (unsigned at = 0; at < batch->count;) {
        int taken = sendmmsg((int)batch->port->descriptor, batch->messages + at, batch->count - at, 0);
        if (taken <= 0) {
            at++;
            continue;
        }
        while (taken--)
            ++*batch->taken[at++];
    }
    batch->count = 0;
}

/* fronts and ends: of all packets, one after the other; front_bytes, end_bytes and sizes have a number for each packet;
 * taken one for each frame, 0 at first. Gives 0; -1: a packet has an impossible size; below that, -1 less srtp_protect's status. */
long send_frames(const struct frame *frames, long count, const uint8_t *fronts, const int32_t *front_bytes,
                 const uint8_t *ends, const int32_t *end_bytes, const int32_t *sizes, uint64_t wall_ns,
                 int32_t *taken)
{
    struct batch batch;
    batch.count = 0;
    memset(batch.messages, 0, sizeof batch.messages);
    for (const struct frame *frame = frames; frame < frames + count; frame++, taken++) {
        if (batch.count > 0 && frame->port != batch.port)
            flush(&batch);
        batch.port = frame->port;
        for (int32_t i = 0; i < frame->packets; i++) {
            int front = *front_bytes++, end = *end_bytes++, bytes = *sizes++;
            if (front < LEAST_FRONT || bytes < FIXED + front + end || bytes > ROOM - TRAILER)
                return -1;
            if (batch.count == MOST)
                flush(&batch);
            uint8_t *packet = batch.data[batch.count];
            packet[0] = 0x90;
            packet[1] = frame->type | (frame->marker && i == frame->packets - 1 ? 0x80 : 0);
            put(packet + 2, (uint64_t)(frame->sequence + i), 2);
            put(packet + 4, frame->timestamp, 4);
            put(packet + 8, frame->ssrc, 4);
            memcpy(packet + FIXED, fronts, (size_t)front);
            memset(packet + FIXED + front, 0, (size_t)(bytes - FIXED - front - end));
            memcpy(packet + bytes - end, ends, (size_t)end);
            fronts += front;
            ends += end;
            if (!fill_in(packet, bytes, frame->port->rules, wall_ns, frame->number < 0 ? -1 : frame->number + i))
                return -1;
            int status = frame->port->protect(frame->port->session, packet, &bytes);
            if (status != 0)
                return -1 - status;
            batch.taken[batch.count] = taken;
            batch.vectors[batch.count] = (struct iovec){packet, (size_t)bytes};
            batch.messages[batch.count].msg_hdr.msg_iov = &batch.vectors[batch.count];
            batch.messages[batch.count++].msg_hdr.msg_iovlen = 1;
        }
    }
    flush(&batch);
    return 0;
}
