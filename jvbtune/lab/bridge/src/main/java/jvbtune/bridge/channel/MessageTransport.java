package jvbtune.bridge.channel;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.math.BigInteger;
import java.security.SecureRandom;
import java.util.List;
import jvbtune.bridge.TaskPools;
import jvbtune.bridge.stats.Metrics;
import jvbtune.bridge.stats.QueueErrors;
import org.eclipse.jetty.websocket.core.CloseStatus;
import org.jitsi.utils.logging2.Logger;
import org.jitsi.utils.queue.PacketQueue;

/**
 * The bridge channel of one endpoint: COLIBRI messages in JSON over its web socket, handled one after the other on the IO
 * pool (EndpointMessageTransport.java, AbstractEndpointMessageTransport.kt).
 */
public final class MessageTransport {
    /** Takes the messages of an endpoint. */
    public interface Handler {
        /** The channel stands: what the endpoint must know at first is to be sent. */
        void onChannelConnected();

        /** @throws IllegalArgumentException where the message is not one that an endpoint may send */
        void onMessage(ObjectNode message);
    }

    /** The id under which JVB's queue statistics know the queue of messages. */
    public static final String QUEUE_ID = "bridge-channel-message-incoming-queue";

    /** AbstractEndpointMessageTransport.INCOMING_MESSAGE_QUEUE_SIZE. */
    public static final int QUEUE_SIZE = 50;

    private static final int PASSWORD_BITS = 130;
    private static final SecureRandom RANDOM = new SecureRandom();
    private static final ObjectMapper MAPPER =
            new ObjectMapper().enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION);

    private final String password = new BigInteger(PASSWORD_BITS, RANDOM).toString(32);
    private final Handler handler;
    private final Logger logger;
    private volatile PacketQueue<ObjectNode> queue;
    private volatile ChannelSocket socket;

    public MessageTransport(Handler handler, Logger logger) {
        this.handler = handler;
        this.logger = logger;
    }

    /** Under which addresses the peer may connect; none where web sockets are off. */
    public List<String> urls(WebSocketUrls of, String conferenceId, String peerId) {
        return of.of(conferenceId, peerId, password);
    }

    boolean accepts(String offeredPassword) {
        return password.equals(offeredPassword);
    }

    public boolean isConnected() {
        return socket != null;
    }

    void connected(ChannelSocket opened) {
        synchronized (this) {
            if (socket != null) {
                socket.close(CloseStatus.NORMAL, "replaced");
            }
            if (queue == null) {
                queue = new PacketQueue<>(QUEUE_SIZE, true, QUEUE_ID, this::handle, TaskPools.IO);
                queue.setErrorHandler(QueueErrors.MESSAGES);
            }
            socket = opened;
        }
        sendHello();
        handler.onChannelConnected();
    }

    private void sendHello() {
        send("{\"colibriClass\":\"ServerHello\"}");
    }

    void received(ChannelSocket from, String text) {
        if (from != socket) {
            logger.warn("Received text from an unknown web socket.");
            return;
        }
        Metrics.WEB_SOCKET_RECEIVED.inc();
        try {
            JsonNode message = MAPPER.readTree(text);
            if (!(message instanceof ObjectNode object) || !message.path("colibriClass").isTextual()) {
                throw new IllegalArgumentException("no object with a colibriClass");
            }
            queue.add(object);
        } catch (JsonProcessingException | IllegalArgumentException e) {
            logger.warn("Invalid message received (" + e.getMessage() + ": " + text);
        }
    }

    private boolean handle(ObjectNode message) {
        try {
            if (message.get("colibriClass").asText().equals("ClientHello")) {
                sendHello();
            } else {
                handler.onMessage(message);
            }
        } catch (IllegalArgumentException e) {
            logger.warn("Failed to handle message: " + e.getMessage() + ": " + message);
        }
        return true;
    }

    void closed(ChannelSocket gone, int status) {
        synchronized (this) {
            if (gone != socket) {
                return;
            }
            socket = null;
        }
        logger.info("Websocket closed, statusCode " + status + ".");
        boolean normal = status == CloseStatus.NORMAL || status == CloseStatus.SHUTDOWN || status == CloseStatus.NO_CODE;
        (normal ? Metrics.WEB_SOCKET_CLOSE_NORMAL : Metrics.WEB_SOCKET_CLOSE_ABNORMAL).inc();
    }

    void failed(Throwable cause) {
        logger.error("Colibri websocket error: " + cause.getMessage());
        Metrics.WEB_SOCKET_ERRORS.inc();
    }

    public void send(JsonNode message) {
        send(message.toString());
    }

    private void send(String text) {
        ChannelSocket to = socket;
        if (to != null) {
            to.send(text);
            Metrics.WEB_SOCKET_SENT.inc();
        }
    }

    /** The peer has expired. */
    public void close(String reason) {
        synchronized (this) {
            ChannelSocket open = socket;
            socket = null;
            if (open != null) {
                open.close(CloseStatus.SHUTDOWN, reason);
            }
            if (queue != null) {
                queue.close();
            }
        }
    }
}
