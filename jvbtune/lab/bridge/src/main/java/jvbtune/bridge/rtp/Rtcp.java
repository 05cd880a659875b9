package jvbtune.bridge.rtp;

import java.nio.ByteBuffer;
import java.util.List;
import jvbtune.bridge.BufferPool;

/** Compound RTCP packets, sender and receiver reports (RFC 3550 section 6). */
public final class Rtcp {
    static final int HEADER_BYTES = 8;
    public static final int SENDER_REPORT = 200;
    public static final int RECEIVER_REPORT = 201;
    public static final int TRANSPORT_FEEDBACK = 205;
    public static final int PAYLOAD_FEEDBACK = 206;

    private static final int SENDER_REPORT_BYTES = 28;
    private static final int REPORT_BLOCK_BYTES = 24;

    private Rtcp() {}

    /** One report block of a receiver report (RFC 3550 section 6.4.1). */
    public record ReportBlock(
            long ssrc,
            int fractionLost,
            long cumulativeLost,
            long extendedHighestSequence,
            long jitter,
            long lastSenderReport,
            long delaySinceLastSenderReport) {}

    /** The SSRC of the first packet's sender. */
    public static long senderSsrc(Packet packet) {
        return Rtp.uint32(packet.getBuffer(), packet.getOffset() + 4);
    }

    /** Takes the packets of a compound one by one. */
    @FunctionalInterface
    public interface Visitor {
        /**
         * @param type RTCP's packet type
         * @param count the lower five bits of the first byte: a count of blocks, or a format of feedback
         * @param at where the packet begins in the compound's buffer
         * @param bytes its length
         */
        void visit(int type, int count, int at, int bytes);
    }

    /** Visits all packets of a compound up to the first malformed one. */
    public static void forEach(Packet compound, Visitor visitor) {
        byte[] b = compound.getBuffer();
        int at = compound.getOffset();
        int end = at + compound.getLength();
        while (at + 4 <= end) {
            int bytes = 4 * (Rtp.uint16(b, at + 2) + 1);
            if (at + bytes > end) {
                return;
            }
            visitor.visit(b[at + 1] & 0xff, b[at] & 0x1f, at, bytes);
            at += bytes;
        }
    }

    /**
     * A sender report out of a compound, without its report blocks (they speak to the bridge alone).
     *
     * @return null where it is malformed
     */
    public static Packet senderReport(Packet compound, int at, int bytes) {
        if (bytes < SENDER_REPORT_BYTES) {
            return null;
        }
        byte[] own = BufferPool.get(Packet.HEADROOM_BYTES + SENDER_REPORT_BYTES + Packet.TAILROOM_BYTES);
        System.arraycopy(compound.getBuffer(), at, own, Packet.HEADROOM_BYTES, SENDER_REPORT_BYTES);
        own[Packet.HEADROOM_BYTES] = (byte) 0x80;
        own[Packet.HEADROOM_BYTES + 2] = 0;
        own[Packet.HEADROOM_BYTES + 3] = SENDER_REPORT_BYTES / 4 - 1;
        return new Packet(own, Packet.HEADROOM_BYTES, SENDER_REPORT_BYTES, compound.receivedTime);
    }

    /** Takes the report blocks of a sender or receiver report. */
    @FunctionalInterface
    public interface BlockVisitor {
        /** Units are RTCP's: 1/65536 seconds. */
        void visit(long ssrc, long lastSenderReport, long delaySinceLastSenderReport);
    }

    public static void forEachBlock(Packet compound, int type, int count, int at, int bytes, BlockVisitor visitor) {
        byte[] b = compound.getBuffer();
        int block = at + (type == SENDER_REPORT ? SENDER_REPORT_BYTES : HEADER_BYTES);
        for (int i = 0; i < count && block + REPORT_BLOCK_BYTES <= at + bytes; i++, block += REPORT_BLOCK_BYTES) {
            visitor.visit(Rtp.uint32(b, block), Rtp.uint32(b, block + 16), Rtp.uint32(b, block + 20));
        }
    }

    /** The middle 32 bits of a sender report's NTP time stamp, as a receiver report echoes it. */
    public static long compactNtp(Packet senderReport) {
        return Rtp.uint32(senderReport.getBuffer(), senderReport.getOffset() + 10);
    }

    /** Puts what was really sent of the stream into a forwarded sender report (JVB's RtcpSrUpdater). */
    public static void setSenderCounts(Packet senderReport, long packets, long octets) {
        ByteBuffer.wrap(senderReport.getBuffer())
                .putInt(senderReport.getOffset() + 20, (int) packets)
                .putInt(senderReport.getOffset() + 24, (int) octets);
    }

    /** Moves the RTP time stamp of a sender report, modulo 2^32. */
    public static void shiftRtpTimestamp(Packet senderReport, long shift) {
        int at = senderReport.getOffset() + 16;
        Rtp.putUint32(senderReport.getBuffer(), at, Rtp.uint32(senderReport.getBuffer(), at) + shift);
    }

    public static boolean isSenderReport(Packet packet) {
        return (packet.getBuffer()[packet.getOffset() + 1] & 0xff) == SENDER_REPORT;
    }

    /** A receiver report of at most 31 blocks. */
    public static Packet receiverReport(long senderSsrc, List<ReportBlock> blocks) {
        int length = HEADER_BYTES + REPORT_BLOCK_BYTES * blocks.size();
        byte[] bytes = BufferPool.get(Packet.HEADROOM_BYTES + length + Packet.TAILROOM_BYTES);
        ByteBuffer out = ByteBuffer.wrap(bytes, Packet.HEADROOM_BYTES, length);
        out.put((byte) (0x80 | blocks.size())).put((byte) RECEIVER_REPORT).putShort((short) (length / 4 - 1));
        out.putInt((int) senderSsrc);
        for (ReportBlock block : blocks) {
            long lost = Math.max(-0x800000, Math.min(0x7fffff, block.cumulativeLost)) & 0xffffff;
            out.putInt((int) block.ssrc);
            out.putInt((int) ((long) (block.fractionLost & 0xff) << 24 | lost));
            out.putInt((int) block.extendedHighestSequence);
            out.putInt((int) block.jitter);
            out.putInt((int) block.lastSenderReport);
            out.putInt((int) block.delaySinceLastSenderReport);
        }
        return new Packet(bytes, Packet.HEADROOM_BYTES, length, null);
    }
}
