/* Packets of one client, all due at once: what is known only now is filled in, then they are protected and sent.
 *
 * Optional: jvbtune/load/sending.py does the same in Python, and is what this is tested against. It is linked with
 * nothing: the caller gives the address of srtp_protect, in the libsrtp that pylibsrtp has loaded. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

enum {
    MOST = 64,    /* packets at once */
    ROOM = 1536,  /* of one, with what SRTP appends */
    TRAILER = 144,
    HEADER = 24,  /* of RTP, with the two words of extensions that are written here */
    RED_STAMP = -2
};

/* By payload type: where in the payload the time of sending is (-1: nowhere; RED_STAMP: see red_stamp), and whether the
 * packet has abs-send-time. Then the ids of the extensions. */
struct rules {
    int16_t stamp[128];
    uint8_t timed[128];
    uint8_t transport_id, time_id;
};

/* What was taken, of packets of one stream that follow each other. */
struct run {
    int64_t ssrc, payload_type, packets;
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
    int type = packet[1] & 0x7F, stamp = rules->stamp[type], at = 12 + 4 * (packet[0] & 0x0F);
    if (packet[0] & 0x10 && at + 4 <= bytes)
        at += 4 + 4 * (packet[at + 2] << 8 | packet[at + 3]);
    if (stamp == RED_STAMP && at < bytes)
        stamp = red_stamp(packet + at, bytes - at);
    if (stamp >= 0) {
        if (at + stamp + 8 > bytes)
            return 0;
        put(packet + at + stamp, wall_ns, 8);
    }
    int one_byte = packet[12] == 0xBE;
    if (rules->timed[type]) {
        uint64_t second = wall_ns / 1000000000u, rest = wall_ns % 1000000000u;
        packet[19] = one_byte ? (uint8_t)(rules->time_id << 4 | 2) : rules->time_id;
        if (!one_byte)
            packet[20] = 3;
        put(packet + (one_byte ? 20 : 21), (second << 18) + (rest << 18) / 1000000000u, 3);
    }
    if (number >= 0) {
        packet[16] = one_byte ? (uint8_t)(rules->transport_id << 4 | 1) : rules->transport_id;
        if (!one_byte)
            packet[17] = 2;
        put(packet + (one_byte ? 17 : 18), (uint64_t)number, 2);
    }
    return 1;
}

/* The packets are one after the other, their lengths in ``lengths``. ``number``: of the first, transport-wide; below 0:
 * they have none. Gives how many runs there are, of at most MOST packets; -1: too many packets, or one of an impossible
 * size; below that, -1 less srtp_protect's status. A packet that the kernel does not take is left out. */
long send_packets(int descriptor, int (*protect)(void *, void *, int *), void *session, const struct rules *rules,
                  const uint8_t *packets, const int32_t *lengths, long count, uint64_t wall_ns, int64_t number,
                  struct run *runs)
{
    uint8_t data[MOST][ROOM];
    struct iovec vectors[MOST];
    struct mmsghdr messages[MOST];
    struct run of[MOST];
    if (count > MOST)
        return -1;
    memset(messages, 0, (size_t)count * sizeof *messages);
    for (long i = 0; i < count; i++) {
        int bytes = lengths[i];
        if (bytes < HEADER || bytes > ROOM - TRAILER)
            return -1;
        uint8_t *packet = memcpy(data[i], packets, (size_t)bytes);
        packets += bytes;
        if (!fill_in(packet, bytes, rules, wall_ns, number < 0 ? -1 : number + i))
            return -1;
        uint32_t ssrc = (uint32_t)packet[8] << 24 | packet[9] << 16 | packet[10] << 8 | packet[11];
        of[i] = (struct run){ssrc, packet[1] & 0x7F, 0};
        int status = protect(session, packet, &bytes);
        if (status != 0)
            return -1 - status;
        vectors[i] = (struct iovec){packet, (size_t)bytes};
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    long found = 0;
    for (long at = 0; at < count;) {
        long taken = sendmmsg(descriptor, messages + at, (unsigned)(count - at), 0);
        if (taken <= 0) {
            at++;
            continue;
        }
        for (long end = at + taken; at < end; at++) {
            if (found == 0 || runs[found - 1].ssrc != of[at].ssrc || runs[found - 1].payload_type != of[at].payload_type)
                runs[found++] = of[at];
            runs[found - 1].packets++;
        }
    }
    return found;
}
