package jvbtune.bridge.rtp;

/** Fields of an RTP header (RFC 3550 section 5.1) read in place, and how packets are told apart (RFC 7983). */
public final class Rtp {
    static final int HEADER_BYTES = 12;

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
        int at = HeaderExtensions.find(packet, id, 1);
        return at < 0 ? NO_AUDIO_LEVEL : packet.getBuffer()[at] & 0x7f;
    }

    /**
     * Where the payload begins in the packet's buffer.
     *
     * @return -1 where the header is longer than the packet
     */
    public static int payloadOffset(Packet packet) {
        byte[] b = packet.getBuffer();
        int start = packet.getOffset();
        int end = start + packet.getLength();
        int at = start + HEADER_BYTES + 4 * (b[start] & 0x0f);
        if ((b[start] & 0x10) != 0) {
            if (at + 4 > end) {
                return -1;
            }
            at += 4 + 4 * uint16(b, at + 2);
        }
        return at > end ? -1 : at;
    }

    /** Bytes of padding at the packet's end (RFC 3550 section 5.1). */
    public static int paddingBytes(Packet packet) {
        byte[] b = packet.getBuffer();
        int start = packet.getOffset();
        return (b[start] & 0x20) == 0 ? 0 : b[start + packet.getLength() - 1] & 0xff;
    }

    /** The marker bit: of video, the last packet of a frame. */
    public static boolean marker(Packet packet) {
        return (packet.getBuffer()[packet.getOffset() + 1] & 0x80) != 0;
    }

    public static void setPayloadType(Packet packet, int payloadType) {
        int at = packet.getOffset() + 1;
        packet.getBuffer()[at] = (byte) (packet.getBuffer()[at] & 0x80 | payloadType);
    }

    public static void setSequenceNumber(Packet packet, int sequenceNumber) {
        putUint16(packet.getBuffer(), packet.getOffset() + 2, sequenceNumber);
    }

    public static void setTimestamp(Packet packet, long timestamp) {
        putUint32(packet.getBuffer(), packet.getOffset() + 4, timestamp);
    }

    public static void setSsrc(Packet packet, long ssrc) {
        putUint32(packet.getBuffer(), packet.getOffset() + 8, ssrc);
    }

    /** Makes a packet one of a retransmission stream (RFC 4588 section 4); it needs two bytes of room in front. */
    public static void wrapRtx(Packet packet, long rtxSsrc, int rtxPayloadType, int rtxSequence) {
        byte[] b = packet.getBuffer();
        int start = packet.getOffset();
        int payload = payloadOffset(packet);
        int original = sequenceNumber(packet);
        System.arraycopy(b, start, b, start - 2, payload - start);
        putUint16(b, payload - 2, original);
        packet.setOffset(start - 2);
        packet.setLength(packet.getLength() + 2);
        setSsrc(packet, rtxSsrc);
        setPayloadType(packet, rtxPayloadType);
        setSequenceNumber(packet, rtxSequence);
    }

    /**
     * Makes of a packet of a retransmission stream the one that was sent first.
     *
     * @return false where it has no packet in it: it is padding
     */
    public static boolean unwrapRtx(Packet packet, long ssrc, int payloadType) {
        byte[] b = packet.getBuffer();
        int start = packet.getOffset();
        int payload = payloadOffset(packet);
        if (payload < 0 || start + packet.getLength() - paddingBytes(packet) - payload < 2) {
            return false;
        }
        int original = uint16(b, payload);
        System.arraycopy(b, start, b, start + 2, payload - start);
        packet.setOffset(start + 2);
        packet.setLength(packet.getLength() - 2);
        setSsrc(packet, ssrc);
        setPayloadType(packet, payloadType);
        setSequenceNumber(packet, original);
        return true;
    }

    /** How far {@code a} is ahead of {@code b} modulo 2^16: -32768 to 32767. */
    public static int sequenceDelta(int a, int b) {
        return (short) (a - b);
    }

    static void putUint16(byte[] b, int at, int value) {
        b[at] = (byte) (value >> 8);
        b[at + 1] = (byte) value;
    }

    static void putUint32(byte[] b, int at, long value) {
        putUint16(b, at, (int) (value >> 16));
        putUint16(b, at + 2, (int) value);
    }

    static int uint16(byte[] b, int at) {
        return (b[at] & 0xff) << 8 | (b[at + 1] & 0xff);
    }

    static long uint32(byte[] b, int at) {
        return (long) uint16(b, at) << 16 | uint16(b, at + 2);
    }
}
