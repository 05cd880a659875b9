package jvbtune.bridge.media;

import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtcp;
import org.jitsi.utils.LRUCache;

/** The round-trip time to one endpoint, by its reports on the sender reports it was sent (EndpointConnectionStats.kt). */
final class RoundTrip {
    private static final int HISTORY = 200;
    private static final double MAX_MILLIS = 7000;

    private record Sent(long ssrc, long compactNtp) {}

    private final Map<Sent, Instant> sent = new LRUCache<>(HISTORY);
    private volatile double millis;

    synchronized void senderReportSent(Packet report) {
        sent.put(new Sent(Rtcp.senderSsrc(report), Rtcp.compactNtp(report)), Instant.now());
    }

    /** Takes a report block; times are RTCP's, in 1/65536 seconds. */
    synchronized void reported(long ssrc, long lastSenderReport, long delay, Instant received) {
        Instant time = lastSenderReport == 0 && delay == 0 ? null : sent.get(new Sent(ssrc, lastSenderReport));
        if (time != null) {
            double measured = Duration.between(time, received).toNanos() / 1e6 - delay * 1000.0 / 65536;
            if (measured >= 0 && measured <= MAX_MILLIS) {
                millis = measured;
            }
        }
    }

    /** 0 as long as it is not known. */
    double millis() {
        return millis;
    }
}
