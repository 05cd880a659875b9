package jvbtune.bridge.stats;

import org.jitsi.metrics.CounterMetric;
import org.jitsi.utils.queue.CountingErrorHandler;

/** Drops and exceptions of one kind of packet queue, for {@code /metrics} and queue-stats (QueueMetrics.kt). */
public final class QueueErrors extends CountingErrorHandler {
    public static final QueueErrors RTP_RECEIVER = new QueueErrors("rtp_receiver", "the RTP receiver queue");
    public static final QueueErrors RTP_SENDER = new QueueErrors("rtp_sender", "the RTP sender queue");
    public static final QueueErrors SRTP_SEND = new QueueErrors("srtp_send_queue", "the Endpoint SRTP send queue");

    public static final QueueErrors RELAY_ENDPOINT_SRTP_SEND =
            new QueueErrors("relay_endpoint_srtp_send_queue", "the Relay SRTP send queue");

    public static final QueueErrors MESSAGES =
            new QueueErrors("endpoint_receive_message_queue", "the Endpoint receive message queue");

    private final CounterMetric dropped;
    private final CounterMetric exceptions;

    private QueueErrors(String name, String what) {
        dropped = Metrics.counter(name + "_dropped_packets", "Number of packets dropped out of " + what + ".");
        exceptions = Metrics.counter(name + "_exceptions", "Number of exceptions from " + what + ".");
    }

    /** Makes the metrics of all queues appear before the first packet. */
    public static void register() {
        // The class is initialised by now.
    }

    @Override
    public void packetDropped() {
        super.packetDropped();
        dropped.inc();
        Metrics.QUEUE_DROPPED_PACKETS.inc();
    }

    @Override
    public void packetHandlingFailed(Throwable cause) {
        super.packetHandlingFailed(cause);
        exceptions.inc();
        Metrics.QUEUE_EXCEPTIONS.inc();
    }
}
