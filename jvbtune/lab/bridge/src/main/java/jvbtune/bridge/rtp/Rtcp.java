package jvbtune.bridge.rtp;

import java.nio.ByteBuffer;
import java.util.List;
import jvbtune.bridge.BufferPool;

/** The RTCP that this bridge understands (RFC 3550 section 6): sender reports in, receiver reports out. */
public final class Rtcp {
    static final int HEADER_BYTES = 8;
    private static final int SENDER_REPORT = 200;
    private static final int RECEIVER_REPORT = 201;
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

    /**
     * The first sender report of a compound packet, without its report blocks (they speak to the bridge alone).
     *
     * @return null where there is none, or the compound is malformed
     */
    public static Packet senderReport(Packet compound) {
        byte[] b = compound.getBuffer();
        int at = compound.getOffset();
        int end = at + compound.getLength();
        while (at + 4 <= end) {
            int bytes = 4 * (Rtp.uint16(b, at + 2) + 1);
            if (at + bytes > end) {
                return null;
            }
            if ((b[at + 1] & 0xff) == SENDER_REPORT && bytes >= SENDER_REPORT_BYTES) {
                byte[] own = BufferPool.get(Packet.HEADROOM_BYTES + SENDER_REPORT_BYTES + Packet.TAILROOM_BYTES);
                System.arraycopy(b, at, own, Packet.HEADROOM_BYTES, SENDER_REPORT_BYTES);
                own[Packet.HEADROOM_BYTES] = (byte) 0x80;
                own[Packet.HEADROOM_BYTES + 2] = 0;
                own[Packet.HEADROOM_BYTES + 3] = SENDER_REPORT_BYTES / 4 - 1;
                return new Packet(own, Packet.HEADROOM_BYTES, SENDER_REPORT_BYTES, compound.receivedTime);
            }
            at += bytes;
        }
        return null;
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
