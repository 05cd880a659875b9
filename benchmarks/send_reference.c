/* What a sent packet costs in C, as the measure of jvbtune's: libsrtp (AES-128-GCM) and sendmmsg(2), a frame at a time.
 *
 * send_reference PORT PACKETS FRAME_PACKETS PACKET_BYTES
 *
 * Each packet is written from its first byte on: header, extensions with the time and a transport-wide number, payload.
 * Prints nanoseconds of CPU (user and system) for each packet. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <srtp2/srtp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { MOST = 64, ROOM = 1500, HEADER = 24, STAMP = 40 };

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
    memset(packet, 0, bytes);
    packet[0] = 0x90;
    packet[1] = (uint8_t)(100 | marker << 7);
    put(packet + 2, sequence, 2);
    put(packet + 4, timestamp, 4);
    put(packet + 8, 3, 4);
    put(packet + 12, 0xBEDE0002, 4);
    packet[16] = 5 << 4 | 1;
    put(packet + 17, sequence, 2);
    packet[19] = 3 << 4 | 2;
    put(packet + 20, (wall << 18) / 1000000000u & 0xFFFFFF, 3);
    put(packet + STAMP, wall, 8);
}

int main(int count, char **arguments)
{
    if (count != 5)
        return 2;
    long packets = atol(arguments[2]);
    int frame = atoi(arguments[3]), bytes = atoi(arguments[4]), out = socket(AF_INET, SOCK_DGRAM, 0);
    if (frame < 1 || frame > MOST || bytes < STAMP + 8 || bytes > ROOM - SRTP_MAX_TRAILER_LEN || out < 0)
        return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1]))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(out, (struct sockaddr *)&to, sizeof to) < 0)
        return 1;
    srtp_t session;
    uint8_t key[28] = {1, 2, 3};
    srtp_policy_t policy = {.ssrc = {.type = ssrc_any_outbound}, .key = key};
    srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtp);
    srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtcp);
    if (srtp_init() != srtp_err_status_ok || srtp_create(&session, &policy) != srtp_err_status_ok)
        return 1;
    static uint8_t data[MOST][ROOM];
    static struct iovec vectors[MOST];
    static struct mmsghdr messages[MOST];
    for (int i = 0; i < frame; i++) {
        vectors[i].iov_base = data[i];
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    uint16_t sequence = 0;
    uint64_t begun = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (long sent = 0; sent < packets; sent += frame) {
        uint64_t wall = now_ns(CLOCK_REALTIME);
        for (int i = 0; i < frame; i++) {
            int length = bytes;
            write_packet(data[i], bytes, ++sequence, i == frame - 1, (uint32_t)(sent / frame * 3000), wall);
            if (srtp_protect(session, data[i], &length) != srtp_err_status_ok)
                return 1;
            vectors[i].iov_len = (size_t)length;
        }
        if (sendmmsg(out, messages, (unsigned)frame, 0) != frame)
            return 1;
    }
    printf("%.1f\n", (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - begun) / (double)packets);
    return 0;
}
