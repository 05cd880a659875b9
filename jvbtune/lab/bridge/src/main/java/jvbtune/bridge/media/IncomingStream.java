package jvbtune.bridge.media;

import java.time.Duration;
import java.time.Instant;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtcp;
import jvbtune.bridge.rtp.Rtp;

/** Reception statistics of one SSRC for receiver reports (RFC 3550 appendix A.1, A.3, A.8). Thread-safe. */
final class IncomingStream {
    private static final int OPUS_CLOCK_HZ = 48000;
    private static final int VIDEO_CLOCK_HZ = 90000;

    private final long ssrc;
    private final int clockHz;
    private final int baseSequence;
    private int maxSequence;
    private long cycles;
    private long received;
    private double jitter;
    private double lastTransit = Double.NaN;
    private long reportedExpected;
    private long reportedReceived;
    private long lastSenderReport;
    private Instant lastSenderReportTime;

    IncomingStream(long ssrc, MediaFormat.Kind kind, int sequence) {
        this.ssrc = ssrc;
        this.clockHz = kind == MediaFormat.Kind.AUDIO ? OPUS_CLOCK_HZ : VIDEO_CLOCK_HZ;
        this.baseSequence = sequence;
        this.maxSequence = sequence;
    }

    synchronized void received(Packet packet) {
        int sequence = Rtp.sequenceNumber(packet);
        int ahead = (sequence - maxSequence) & 0xffff;
        if (ahead < 0x8000) {
            if (sequence < maxSequence) {
                cycles += 0x10000;
            }
            maxSequence = sequence;
        }
        received++;
        Instant time = packet.receivedTime;
        double arrival = time.getEpochSecond() % 86400 * (double) clockHz + time.getNano() * 1e-9 * clockHz;
        double transit = arrival - Rtp.timestamp(packet);
        if (!Double.isNaN(lastTransit)) {
            double difference = Math.abs(transit - lastTransit);
            if (difference < clockHz) { // not over a wrap of the time stamp or of the day
                jitter += (difference - jitter) / 16;
            }
        }
        lastTransit = transit;
    }

    synchronized void senderReport(long compactNtp, Instant time) {
        lastSenderReport = compactNtp;
        lastSenderReportTime = time;
    }

    /** The next report block, null where nothing came since the last one. */
    synchronized Rtcp.ReportBlock report(Instant now) {
        if (received == reportedReceived) {
            return null;
        }
        long highest = cycles + maxSequence;
        long expected = highest - baseSequence + 1;
        long expectedNow = expected - reportedExpected;
        long lostNow = expectedNow - (received - reportedReceived);
        int fraction = expectedNow <= 0 || lostNow <= 0 ? 0 : (int) (256 * lostNow / expectedNow);
        reportedExpected = expected;
        reportedReceived = received;
        long delay = lastSenderReportTime == null
                ? 0
                : Duration.between(lastSenderReportTime, now).toMillis() * 65536 / 1000;
        return new Rtcp.ReportBlock(
                ssrc, Math.min(255, fraction), expected - received, highest, (long) jitter, lastSenderReport, delay);
    }

    /** Packets received and lost so far. */
    synchronized long[] receivedAndLost() {
        return new long[] {received, Math.max(0, cycles + maxSequence - baseSequence + 1 - received)};
    }
}
