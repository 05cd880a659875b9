package jvbtune.bridge.channel;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.TaskPools;
import org.eclipse.jetty.util.BufferUtil;
import org.eclipse.jetty.util.Callback;
import org.eclipse.jetty.websocket.core.CloseStatus;
import org.eclipse.jetty.websocket.core.CoreSession;
import org.eclipse.jetty.websocket.core.Frame;
import org.eclipse.jetty.websocket.core.FrameHandler;
import org.eclipse.jetty.websocket.core.OpCode;

/** One web socket of an endpoint: text messages in and out, and keep-alive pings (ColibriWebSocket.java). */
final class ChannelSocket implements FrameHandler {
    /** Jetty's limit for a text message. */
    private static final int MAX_MESSAGE_BYTES = 65536;

    private static final boolean PINGS = BridgeConfig.bool("videobridge.websockets.send-keepalive-pings");
    private static final Duration PING_INTERVAL = BridgeConfig.duration("videobridge.websockets.keepalive-ping-interval");

    private final MessageTransport transport;
    private final ByteArrayOutputStream message = new ByteArrayOutputStream();
    private volatile CoreSession session;
    private volatile long lastSentNanos = System.nanoTime();
    private ScheduledFuture<?> pinger;

    ChannelSocket(MessageTransport transport) {
        this.transport = transport;
    }

    @Override
    public void onOpen(CoreSession opened, Callback callback) {
        session = opened;
        if (PINGS) {
            long millis = PING_INTERVAL.toMillis();
            pinger = TaskPools.SCHEDULED.scheduleAtFixedRate(this::maybePing, millis, millis, TimeUnit.MILLISECONDS);
        }
        callback.succeeded();
        transport.connected(this);
        opened.demand();
    }

    @Override
    public void onFrame(Frame frame, Callback callback) {
        CoreSession current = session;
        switch (frame.getOpCode()) {
            case OpCode.TEXT, OpCode.CONTINUATION -> onText(frame);
            case OpCode.PING -> send(current, new Frame(OpCode.PONG, BufferUtil.copy(frame.getPayload())));
            default -> { }
        }
        callback.succeeded();
        if (frame.getOpCode() != OpCode.CLOSE) {
            current.demand();
        }
    }

    private void onText(Frame frame) {
        ByteBuffer payload = frame.getPayload();
        if (message.size() + payload.remaining() > MAX_MESSAGE_BYTES) {
            close(CloseStatus.MESSAGE_TOO_LARGE, "Text message too large");
            return;
        }
        message.writeBytes(BufferUtil.toArray(payload));
        if (frame.isFin()) {
            String text = message.toString(StandardCharsets.UTF_8);
            message.reset();
            transport.received(this, text);
        }
    }

    @Override
    public void onError(Throwable cause, Callback callback) {
        transport.failed(cause);
        callback.succeeded();
    }

    @Override
    public void onClosed(CloseStatus status, Callback callback) {
        session = null;
        if (pinger != null) {
            pinger.cancel(false);
        }
        transport.closed(this, status.getCode());
        callback.succeeded();
    }

    /** Queues a message; the order of the calls is kept. Nothing happens where the socket is closed. */
    void send(String text) {
        CoreSession current = session;
        if (current != null) {
            lastSentNanos = System.nanoTime();
            send(current, new Frame(OpCode.TEXT, text));
        }
    }

    /** Jetty takes the frames of one session one after the other. */
    private synchronized void send(CoreSession to, Frame frame) {
        to.sendFrame(frame, Callback.NOOP, false);
    }

    void close(int status, String reason) {
        CoreSession current = session;
        if (current != null) {
            current.close(status, reason, Callback.NOOP);
        }
    }

    private void maybePing() {
        CoreSession current = session;
        // As in the real bridge, which pings a socket that was just written to and never an idle one: a client that
        // sends nothing for `idle-timeout` loses its channel.
        if (current != null && System.nanoTime() - lastSentNanos < PING_INTERVAL.toNanos()) {
            lastSentNanos = System.nanoTime();
            send(current, new Frame(OpCode.PING));
        }
    }
}
