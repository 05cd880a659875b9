package jvbtune.bridge.rtp;

/** Fields of an RTP header (RFC 3550 section 5.1) read in place, and how packets are told apart (RFC 7983). */
public final class Rtp {
    private static final int HEADER_BYTES = 12;

    /** What a packet that has no audio level gives. */
    public static final int NO_AUDIO_LEVEL = -1;

    private Rtp() {}

    public static boolean looksLikeDtls(byte[] buffer, int offset, int length) {
        int first = length < 1 ? 0 : buffer[offset] & 0xff;
        return first >= 20 && first <= 63;
    }

    public static boolean looksLikeRtp(Packet packet) {
        return packet.getLength() >= HEADER_BYTES && isMedia(packet) && !isRtcpType(packet);
    }

    public static boolean looksLikeRtcp(Packet packet) {
        return packet.getLength() >= Rtcp.HEADER_BYTES && isMedia(packet) && isRtcpType(packet);
    }

    private static boolean isMedia(Packet packet) {
        int first = packet.getBuffer()[packet.getOffset()] & 0xff;
        return first >= 128 && first <= 191;
    }

    /** RTCP packet types are 192..223 in the second byte (RFC 5761 section 4). */
    private static boolean isRtcpType(Packet packet) {
        int second = packet.getBuffer()[packet.getOffset() + 1] & 0xff;
        return second >= 192 && second <= 223;
    }

    public static int payloadType(Packet packet) {
        return packet.getBuffer()[packet.getOffset() + 1] & 0x7f;
    }

    public static int sequenceNumber(Packet packet) {
        return uint16(packet.getBuffer(), packet.getOffset() + 2);
    }

    public static long timestamp(Packet packet) {
        return uint32(packet.getBuffer(), packet.getOffset() + 4);
    }

    public static long ssrc(Packet packet) {
        return uint32(packet.getBuffer(), packet.getOffset() + 8);
    }

    /**
     * The level of the header extension {@code ssrc-audio-level} (RFC 6464): 0 is the loudest, 127 is silence.
     *
     * @param id the extension's negotiated id; 0: none was negotiated
     * @return NO_AUDIO_LEVEL where the packet has none
     */
    public static int audioLevel(Packet packet, int id) {
        byte[] b = packet.getBuffer();
        int start = packet.getOffset();
        if (id == 0 || (b[start] & 0x10) == 0) {
            return NO_AUDIO_LEVEL;
        }
        int at = start + HEADER_BYTES + 4 * (b[start] & 0x0f);
        int end = start + packet.getLength();
        if (at + 4 > end) {
            return NO_AUDIO_LEVEL;
        }
        int profile = uint16(b, at);
        int last = Math.min(end, at + 4 + 4 * uint16(b, at + 2));
        at += 4;
        boolean oneByte = profile == 0xbede;
        if (!oneByte && (profile & 0xfff0) != 0x1000) {
            return NO_AUDIO_LEVEL;
        }
        while (at < last) {
            if (b[at] == 0) { // padding
                at++;
                continue;
            }
            int elementId;
            int elementBytes;
            if (oneByte) {
                elementId = (b[at] & 0xf0) >> 4;
                elementBytes = (b[at] & 0x0f) + 1;
                at += 1;
            } else {
                if (at + 1 >= last) {
                    return NO_AUDIO_LEVEL;
                }
                elementId = b[at] & 0xff;
                elementBytes = b[at + 1] & 0xff;
                at += 2;
            }
            if (elementId == id && elementBytes >= 1 && at < last) {
                return b[at] & 0x7f;
            }
            at += elementBytes;
        }
        return NO_AUDIO_LEVEL;
    }

    static int uint16(byte[] b, int at) {
        return (b[at] & 0xff) << 8 | (b[at + 1] & 0xff);
    }

    static long uint32(byte[] b, int at) {
        return (long) uint16(b, at) << 16 | uint16(b, at + 2);
    }
}
