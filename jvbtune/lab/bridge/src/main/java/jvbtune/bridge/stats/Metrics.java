package jvbtune.bridge.stats;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import org.jitsi.metrics.BooleanMetric;
import org.jitsi.metrics.CounterMetric;
import org.jitsi.metrics.DoubleGaugeMetric;
import org.jitsi.metrics.HistogramMetric;
import org.jitsi.metrics.LongGaugeMetric;
import org.jitsi.metrics.Metric;
import org.jitsi.metrics.MetricsContainer;

/**
 * All metrics of {@code /metrics}, by the real bridge's names (VideobridgeMetrics.kt and its neighbours); the container
 * and its formats are the real one's, jicoco-metrics.
 */
public final class Metrics {
    private static final MetricsContainer CONTAINER =
            new MetricsContainer(io.prometheus.client.CollectorRegistry.defaultRegistry, "jitsi_jvb");
    private static final Map<String, Metric<?>> UNMOVED = new HashMap<>();
    private static final double[] SIZES = IntStream.rangeClosed(0, 20).asDoubleStream().toArray();

    public static final CounterMetric QUEUE_DROPPED_PACKETS =
            counter("queue_dropped_packets", "Number of packets dropped from any of the queues.");
    public static final CounterMetric QUEUE_EXCEPTIONS =
            counter("queue_exceptions", "Number of exceptions from any of the queues.");
    public static final BooleanMetric HEALTHY =
            flag("healthy", "Whether the Videobridge instance is healthy or not.", true);
    public static final BooleanMetric GRACEFUL_SHUTDOWN = flag(
            "graceful_shutdown",
            "Whether the bridge is in graceful shutdown mode (not accepting new conferences).",
            false);
    public static final BooleanMetric SHUTTING_DOWN =
            flag("shutting_down", "Whether the bridge is shutting down.", false);
    public static final BooleanMetric DRAIN_MODE =
            flag("drain_mode", "Whether the bridge is in drain shutdown mode.", false);
    public static final CounterMetric CONFERENCES_COMPLETED = counter(
            "conferences_completed", "The total number of conferences completed/expired on the Videobridge.");
    public static final CounterMetric CONFERENCES_CREATED =
            counter("conferences_created", "The total number of conferences created on the Videobridge.");
    public static final CounterMetric CONFERENCE_SECONDS =
            counter("conference_seconds", "The total duration in seconds of all completed conferences.");
    public static final CounterMetric PACKETS_RECEIVED =
            counter("packets_received", "Number of RTP packets received in conferences on this videobridge.");
    public static final CounterMetric PACKETS_SENT =
            counter("packets_sent", "Number of RTP packets sent in conferences on this videobridge.");
    public static final CounterMetric BYTES_RECEIVED =
            counter("bytes_received", "The total number of bytes received in RTP packets.");
    public static final CounterMetric BYTES_SENT =
            counter("bytes_sent", "The total number of bytes sent in RTP packets.");
    public static final CounterMetric ENDPOINTS_CREATED =
            counter("endpoints", "The total number of endpoints created.");
    public static final CounterMetric DOMINANT_SPEAKER_CHANGES = counter(
            "dominant_speaker_changes", "Number of times the dominant speaker in any conference changed.");
    public static final CounterMetric KEYFRAME_REQUESTS_SUPPRESSED = counter(
            "preemptive_keyframe_requests_suppressed",
            "Number of preemptive keyframe requests that were not sent because no endpoints were in stage view.");
    public static final CounterMetric KEYFRAME_REQUESTS_SENT = counter(
            "preemptive_keyframe_requests_sent", "Number of preemptive keyframe requests that were sent.");
    public static final CounterMetric KEYFRAMES_RECEIVED = counter(
            "keyframes_received", "Number of keyframes that were received (updated on endpoint expiration).");
    public static final CounterMetric LAYERING_CHANGES = counter(
            "layering_changes_received",
            "Number of times the layering of an incoming video stream changed (updated on endpoint expiration).");
    public static final CounterMetric WEB_SOCKET_RECEIVED = counter(
            "colibri_web_socket_messages_received",
            "Number of messages received from the data channels of the endpoints of this conference.");
    public static final CounterMetric WEB_SOCKET_SENT = counter(
            "colibri_web_socket_messages_sent",
            "Number of messages sent via the data channels of the endpoints of this conference.");
    public static final CounterMetric WEB_SOCKET_CLOSE_NORMAL =
            counter("colibri_web_socket_close_normal", "Number of times a colibri web socket was closed normally.");
    public static final CounterMetric WEB_SOCKET_CLOSE_ABNORMAL =
            counter("colibri_web_socket_close_abnormal", "Number of times a colibri web socket was closed abnormally.");
    public static final CounterMetric WEB_SOCKET_ERRORS =
            counter("colibri_web_socket_error", "Number of times a colibri web socket reported an error.");
    public static final CounterMetric ENDPOINTS_ICE_FAILED =
            counter("endpoints_ice_failed", "Number of endpoints for which ICE failed to establish.");
    public static final CounterMetric NO_MESSAGE_TRANSPORT = counter(
            "endpoints_no_message_transport_after_delay",
            "Number of endpoints which had not established a relay message transport even after some delay.");
    public static final CounterMetric ENDPOINTS_DTLS_FAILED = counter(
            "endpoints_dtls_failed",
            "Number of endpoints whose ICE connection was established, but DTLS wasn't (at time of expiration).");
    public static final CounterMetric RELAY_PACKETS_RECEIVED = counter(
            "relay_packets_received",
            "Number of RTP packets received by relays in conferences on this videobridge.");
    public static final CounterMetric RELAY_PACKETS_SENT =
            counter("relay_packets_sent", "Number of RTP packets sent by relays in conferences on this videobridge.");
    public static final CounterMetric RELAYS_CREATED = counter("relays", "The total number of relays created.");
    public static final CounterMetric RELAYS_NO_MESSAGE_TRANSPORT = counter(
            "relays_no_message_transport_after_delay",
            "Number of relays which had not established a relay message transport even after some delay.");
    public static final CounterMetric RELAYS_ICE_FAILED =
            counter("relays_ice_failed", "Number of relays for which ICE failed to establish.");
    public static final CounterMetric RELAYS_DTLS_FAILED = counter(
            "relays_dtls_failed",
            "Number of relays whose ICE connection was established, but DTLS wasn't (at time of expiration).");
    public static final CounterMetric RELAY_BYTES_RECEIVED =
            counter("relay_bytes_received", "The total number of bytes received by relays in RTP packets.");
    public static final CounterMetric RELAY_BYTES_SENT =
            counter("relay_bytes_sent", "The total number of bytes sent to relays in RTP packets.");
    public static final CounterMetric ICE_FAILED =
            counter("ice_failed", "Number of times an ICE Agent failed to establish connectivity.");
    public static final CounterMetric ICE_SUCCEEDED =
            counter("ice_succeeded", "Number of times an ICE Agent succeeded.");
    public static final DoubleGaugeMetric STRESS = CONTAINER.registerDoubleGauge("stress", "Current stress (between 0 and 1).");
    public static final DoubleGaugeMetric CPU_STEAL =
            CONTAINER.registerDoubleGauge("cpu_steal", "CPU steal fraction (from 0 to 1)");
    public static final LongGaugeMetric LOCAL_ENDPOINTS =
            gauge("local_endpoints", "Number of local endpoints that exist currently.");
    public static final LongGaugeMetric CONFERENCES = gauge("conferences", "Current number of conferences.");
    public static final HistogramMetric TOSSED_PACKETS_ENERGY = histogram(
            "tossed_packets_energy",
            "Distribution of energy scores for discarded audio packets.",
            DoubleStream.concat(DoubleStream.of(0), IntStream.rangeClosed(0, 15).mapToDouble(i -> 7 + 8 * i))
                    .toArray());

    public static final DoubleGaugeMetric INCOMING_LOSS = CONTAINER.registerDoubleGauge(
            "incoming_loss_fraction", "Fraction of incoming RTP packets that are lost.");
    public static final DoubleGaugeMetric LOSS = CONTAINER.registerDoubleGauge(
            "loss_fraction", "Fraction of RTP packets that are lost (incoming and outgoing combined).");
    public static final DoubleGaugeMetric OUTGOING_LOSS = CONTAINER.registerDoubleGauge(
            "outgoing_loss_fraction", "Fraction of outgoing RTP packets that are lost.");
    public static final DoubleGaugeMetric AVERAGE_RTT =
            CONTAINER.registerDoubleGauge("average_rtt", "Average RTT across all local endpoints in ms.");
    public static final LongGaugeMetric UNMATCHED_FEEDBACK = gauge(
            "tcc_unmatched_feedback",
            "Total transport-cc feedback reports that could not be matched to the send-time history. A sustained flood"
                    + " of these is the marker of a feedback-starvation saturation lock.");
    public static final LongGaugeMetric HIGH_OUTGOING_LOSS = gauge(
            "endpoints_with_high_outgoing_loss", "Number of endpoints that have high outgoing loss (>10%).");
    public static final LongGaugeMetric OVERSENDING =
            gauge("endpoints_oversending", "Number of endpoints that we are oversending to.");
    public static final LongGaugeMetric SUSPENDED_SOURCES = gauge(
            "endpoints_with_suspended_sources",
            "Number of endpoints that that we have suspended sending some video streams to because of bwe.");
    public static final LongGaugeMetric INCOMING_BITRATE =
            gauge("incoming_bitrate", "Incoming RTP/RTCP bitrate in bps.");
    public static final LongGaugeMetric OUTGOING_BITRATE =
            gauge("outgoing_bitrate", "Outgoing RTP/RTCP bitrate in bps.");
    public static final LongGaugeMetric INCOMING_PACKET_RATE =
            gauge("incoming_packet_rate", "Incoming RTP/RTCP packet rate in pps.");
    public static final LongGaugeMetric OUTGOING_PACKET_RATE =
            gauge("outgoing_packet_rate", "Outgoing RTP/RTCP packet rate in pps.");
    public static final LongGaugeMetric RELAY_INCOMING_BITRATE =
            gauge("relay_incoming_bitrate", "Incoming RTP/RTCP bitrate from relays in bps.");
    public static final LongGaugeMetric RELAY_OUTGOING_BITRATE =
            gauge("relay_outgoing_bitrate", "Outgoing RTP/RTCP bitrate to relays in bps.");
    public static final LongGaugeMetric RELAY_INCOMING_PACKET_RATE =
            gauge("relay_incoming_packet_rate", "Incoming RTP/RTCP packet rate from relays in pps.");
    public static final LongGaugeMetric RELAY_OUTGOING_PACKET_RATE =
            gauge("relay_outgoing_packet_rate", "Outgoing RTP/RTCP packet rate to relays in pps.");
    public static final LongGaugeMetric ENDPOINTS_RELAYED = gauge("endpoints_relayed", "Number of relayed endpoints.");
    public static final LongGaugeMetric CONFERENCES_WITH_RELAY =
            gauge("conferences_with_relay", "Number of conferences with one or more relays.");
    public static final LongGaugeMetric LARGEST_CONFERENCE =
            gauge("largest_conference", "The size of the largest conference (number of endpoints).");
    public static final LongGaugeMetric CURRENT_ENDPOINTS =
            gauge("current_endpoints", "Number of current endpoints (local and relayed).");
    public static final LongGaugeMetric ACTIVE_ENDPOINTS = gauge(
            "active_endpoints",
            "The number of active local endpoints (in a conference where at least one endpoint sends audio or video).");
    public static final LongGaugeMetric ENDPOINTS_SENDING_AUDIO =
            gauge("endpoints_sending_audio", "The number of local endpoints sending audio.");
    public static final LongGaugeMetric ENDPOINTS_SENDING_VIDEO =
            gauge("endpoints_sending_video", "The number of local endpoints sending video.");
    public static final LongGaugeMetric ENDPOINTS_RECVONLY = gauge(
            "endpoints_recvonly",
            "Number of endpoints that are not sending audio or video (but are receiveing).");
    public static final LongGaugeMetric ENDPOINTS_INACTIVE = gauge(
            "endpoints_inactive",
            "Number of endpoints in inactive conferences (where no endpoint sends audio or video).");
    public static final LongGaugeMetric CONFERENCES_INACTIVE =
            gauge("conferences_inactive", "Number of inactive conferences (no endpoint is sending audio or video).");
    public static final LongGaugeMetric CONFERENCES_P2P =
            gauge("conferences_p2p", "Number of p2p conferences (inactive with 2 endpoints).");
    public static final HistogramMetric CONFERENCES_BY_SIZE =
            histogram("conferences_by_size", "Histogram of conferences by total number of endpoints.", SIZES);
    public static final HistogramMetric CONFERENCES_BY_AUDIO_SENDER = histogram(
            "conferences_by_audio_sender", "Histogram of conferences by number of local endpoints sending audio.", SIZES);
    public static final HistogramMetric CONFERENCES_BY_VIDEO_SENDER = histogram(
            "conferences_by_video_sender", "Histogram of conferences by number of local endpoints sending video.", SIZES);

    static {
        CONTAINER.registerLongGauge("startup_time", "The startup time of the service.", System.currentTimeMillis());
        registerUnmoved();
    }

    private Metrics() {}

    private static void registerUnmoved() {
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(
                Metrics.class.getResourceAsStream("unmoved-metrics.tsv"), StandardCharsets.UTF_8))) {
            for (String line : lines.lines().filter(l -> !l.startsWith("#")).toList()) {
                String[] field = line.split("\t");
                UNMOVED.put(field[1], switch (field[0]) {
                    case "counter" -> counter(field[1], field[2]);
                    case "long" -> gauge(field[1], field[2]);
                    case "double" -> CONTAINER.registerDoubleGauge(field[1], field[2]);
                    default -> throw new IllegalStateException("unmoved-metrics.tsv: no type " + field[0]);
                });
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static CounterMetric counter(String name, String help) {
        return CONTAINER.registerCounter(name, help);
    }

    static LongGaugeMetric gauge(String name, String help) {
        return CONTAINER.registerLongGauge(name, help);
    }

    static BooleanMetric flag(String name, String help, boolean value) {
        return CONTAINER.registerBooleanMetric(name, help, value);
    }

    static HistogramMetric histogram(String name, String help, double... buckets) {
        return CONTAINER.registerHistogram(name, help, buckets);
    }

    /** The value of a metric that this bridge never moves. */
    static Object unmoved(String name) {
        return UNMOVED.get(name).get();
    }

    /**
     * The answer of {@code /metrics}: body and content type.
     *
     * @param accepted media types in order of preference
     * @throws IllegalArgumentException where none of them is offered
     */
    public static Map.Entry<String, String> answer(List<String> accepted) {
        synchronized (MetricsUpdate.LOCK) {
            try {
                kotlin.Pair<String, String> answer = CONTAINER.getMetrics(accepted);
                return Map.entry(answer.getFirst(), answer.getSecond());
            } catch (Exception e) {
                if (e instanceof MetricsContainer.NoSupportedMediaTypeException) {
                    throw new IllegalArgumentException(e.getMessage());
                }
                throw e;
            }
        }
    }
}
