package jvbtune.bridge.stats;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.concurrent.atomic.AtomicBoolean;
import jvbtune.bridge.TaskPools;
import jvbtune.bridge.channel.MessageTransport;
import jvbtune.bridge.media.RtpReceiver;
import jvbtune.bridge.media.RtpSender;
import org.jitsi.utils.queue.CountingErrorHandler;
import org.jitsi.utils.queue.PacketQueue;
import org.jitsi.utils.queue.QueueStatistics;

/** The answer of {@code /debug/stats/jvb/queue-stats}, with the keys and the nesting of QueueStats.kt. */
public final class QueueStats {
    private static final String COLIBRI_QUEUE_ID = "colibri-queue";
    private static final AtomicBoolean UNUSED_QUEUES_MADE = new AtomicBoolean();

    private QueueStats() {}

    /**
     * Makes the two queues that the real bridge has from its first conference on and that this one never uses (COLIBRI
     * over XMPP) or only with web sockets (the bridge channel), so that their keys appear when the real ones do.
     */
    public static void makeUnusedQueues() {
        if (UNUSED_QUEUES_MADE.compareAndSet(false, true)) {
            new PacketQueue<Object>(Integer.MAX_VALUE, true, COLIBRI_QUEUE_ID, o -> true, TaskPools.IO);
            new PacketQueue<Object>(MessageTransport.QUEUE_SIZE, true, MessageTransport.QUEUE_ID, o -> true, TaskPools.IO);
        }
    }

    public static ObjectNode json() {
        ObjectNode all = QueueStatistics.Companion.getStatistics();
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.set("srtp_send_queue", withErrors(all, RtpSender.Queue.ENDPOINT.id, QueueErrors.SRTP_SEND));
        // What the real bridge sends to a relay for no endpoint has a queue of its own; here it goes with the rest.
        json.set("relay_srtp_send_queue", noQueue());
        json.set(
                "relay_endpoint_sender_srtp_send_queue",
                withErrors(all, RtpSender.Queue.RELAY.id, QueueErrors.RELAY_ENDPOINT_SRTP_SEND));
        json.set("rtp_receiver_queue", withErrors(all, RtpReceiver.QUEUE_ID, QueueErrors.RTP_RECEIVER));
        json.set("rtp_sender_queue", withErrors(all, RtpSender.SENDER_QUEUE_ID, QueueErrors.RTP_SENDER));
        copy(all, COLIBRI_QUEUE_ID, json, "colibri_queue");
        copy(all, MessageTransport.QUEUE_ID, json, MessageTransport.QUEUE_ID);
        return json;
    }

    private static ObjectNode withErrors(ObjectNode all, String id, CountingErrorHandler errors) {
        ObjectNode json = all.get(id) instanceof ObjectNode found
                ? found
                : JsonNodeFactory.instance.objectNode().put("dropped_packets", errors.getNumPacketsDropped());
        return json.put("exceptions", errors.getNumExceptions());
    }

    private static ObjectNode noQueue() {
        return JsonNodeFactory.instance.objectNode().put("dropped_packets", 0).put("exceptions", 0);
    }

    private static void copy(ObjectNode from, String id, ObjectNode to, String key) {
        JsonNode found = from.get(id);
        if (found != null) {
            to.set(key, found);
        }
    }
}
