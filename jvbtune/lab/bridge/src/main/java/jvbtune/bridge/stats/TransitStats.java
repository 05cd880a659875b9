package jvbtune.bridge.stats;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.atomic.LongAdder;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtp;
import org.jitsi.metrics.CounterMetric;
import org.jitsi.metrics.HistogramMetric;
import org.jitsi.utils.stats.BucketStats;

/** How long packets took from the socket's reader to the send call (PacketTransitStats.kt). Thread-safe. */
public final class TransitStats {
    private static final boolean JSON = BridgeConfig.bool("videobridge.stats.transit-time.enable-json");
    private static final boolean PROMETHEUS = BridgeConfig.bool("videobridge.stats.transit-time.enable-prometheus");
    private static final boolean JITTER = BridgeConfig.bool("videobridge.stats.transit-time.enable-jitter");

    private static final TransitStats RTP = new TransitStats("rtp_transit_time");
    private static final TransitStats RTCP = new TransitStats("rtcp_transit_time");
    private static final Jitter BRIDGE_JITTER = new Jitter();

    private final BucketStats delays = new BucketStats(List.of(0L, 5L, 50L, 500L, Long.MAX_VALUE), "_delay_ms", "_ms");
    private final LongAdder withoutTimestamps = new LongAdder();
    private final HistogramMetric histogram;
    private final CounterMetric unknown;

    private TransitStats(String name) {
        histogram = PROMETHEUS ? Metrics.histogram(name, "Packet delay stats for " + name, 0, 5, 50, 500) : null;
        unknown = PROMETHEUS
                ? Metrics.counter(name + "_unknown_delay", "Number of packets without an unknown delay (" + name + ")")
                : null;
    }

    /** Makes the metrics appear before the first packet. */
    public static void register() {
        // The class is initialised by now.
    }

    /** Counts a packet that was handed to the kernel just now. */
    public static void packetSent(Packet packet) {
        if (!JSON && !PROMETHEUS && !JITTER) {
            return;
        }
        TransitStats stats = Rtp.looksLikeRtp(packet) ? RTP : RTCP;
        Instant received = packet.receivedTime;
        if (received == null) {
            stats.withoutTimestamps.increment();
            if (stats.unknown != null) {
                stats.unknown.inc();
            }
            return;
        }
        Instant now = Instant.now();
        long delay = Duration.between(received, now).toMillis();
        if (JSON) {
            stats.delays.addValue(delay);
        }
        if (stats.histogram != null) {
            stats.histogram.getHistogram().observe(delay);
        }
        if (JITTER && stats == RTP) {
            BRIDGE_JITTER.add(delay);
        }
    }

    /** The answer of {@code /debug/stats/jvb/transit-stats}. */
    public static ObjectNode json() {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        ObjectNode delays = json.putObject("e2e_packet_delay");
        if (JSON) {
            delays.set("rtp", RTP.delaysJson());
            delays.set("rtcp", RTCP.delaysJson());
        }
        if (JITTER) {
            json.put("overall_bridge_jitter", BRIDGE_JITTER.value());
        }
        return json;
    }

    private ObjectNode delaysJson() {
        return delays.toJson(BucketStats.Format.CumulativeRight)
                .put("packets_without_timestamps", withoutTimestamps.sum());
    }

    /** Jitter of the delay inside the bridge, smoothed as in RFC 3550 section 6.4.1; milliseconds. */
    private static final class Jitter {
        private double jitter;
        private long last = -1;

        synchronized void add(long delayMillis) {
            if (last >= 0) {
                jitter += (Math.abs(delayMillis - last) - jitter) / 16;
            }
            last = delayMillis;
        }

        synchronized double value() {
            return jitter;
        }
    }
}
