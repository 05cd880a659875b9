package jvbtune.bridge.media;

import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.TaskPools;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtcp;
import jvbtune.bridge.rtp.Rtp;
import jvbtune.bridge.stats.QueueErrors;
import jvbtune.bridge.stats.TransitStats;
import jvbtune.bridge.transport.SrtpSession;
import org.jitsi.utils.queue.PacketQueue;

/**
 * What one endpoint is sent, through the two queues of the real bridge: SRTP on the CPU pool (RtpSenderImpl.kt), the
 * socket on the IO pool (Endpoint.kt).
 */
public final class RtpSender {
    /** Puts a packet on the wire. */
    @FunctionalInterface
    public interface Wire {
        void send(byte[] buffer, int offset, int length) throws IOException;
    }

    /** The id under which JVB's queue statistics know the queue before SRTP. */
    public static final String SENDER_QUEUE_ID = "rtp-sender-incoming-packet-queue";

    /** The queue behind SRTP by the kind of receiver, with the id under which JVB's queue statistics know it. */
    public enum Queue {
        ENDPOINT("Endpoint-outgoing-packet-queue", QueueErrors.SRTP_SEND),
        /** Of the real bridge's relays each endpoint has such a queue; here a relay has one. */
        RELAY("RelayEndpointSender-outgoing-packet-queue", QueueErrors.RELAY_ENDPOINT_SRTP_SEND);

        public final String id;
        final QueueErrors errors;

        Queue(String id, QueueErrors errors) {
            this.id = id;
            this.errors = errors;
        }
    }

    private final PacketQueue<Packet> senderQueue;
    private final PacketQueue<Packet> srtpQueue;
    private final PacketStreamStats stats = new PacketStreamStats();
    private final Map<Long, Sent> sent = new HashMap<>();
    private final Wire wire;
    private final OutgoingHop hop;
    private volatile SrtpSession srtp;
    private volatile boolean running = true;

    public RtpSender(Wire wire, OutgoingHop hop, Queue queue) {
        this.wire = wire;
        this.hop = hop;
        senderQueue = newQueue(
                "jmt.transceiver.send.queue-size",
                SENDER_QUEUE_ID,
                this::protect,
                TaskPools.CPU,
                QueueErrors.RTP_SENDER);
        srtpQueue = newQueue(
                "videobridge.transport.send.queue-size", queue.id, this::send, TaskPools.IO, queue.errors);
    }

    private static PacketQueue<Packet> newQueue(
            String sizeKey,
            String id,
            PacketQueue.PacketHandler<Packet> handler,
            java.util.concurrent.ExecutorService executor,
            QueueErrors errors) {
        PacketQueue<Packet> queue = new PacketQueue<>(BridgeConfig.integer(sizeKey), null, id, handler, executor) {
            @Override
            protected void releasePacket(Packet packet) {
                packet.release();
            }
        };
        queue.setErrorHandler(errors);
        return queue;
    }

    /** Takes a packet over, in the clear. */
    public void enqueue(Packet packet) {
        if (running) {
            senderQueue.add(packet);
        } else {
            packet.release();
        }
    }

    public void setSrtp(SrtpSession session) {
        srtp = session;
    }

    private boolean protect(Packet packet) {
        boolean passed = false;
        try {
            SrtpSession session = srtp;
            passed = running && session != null && (Rtp.looksLikeRtp(packet) ? protectRtp(packet, session) : protectRtcp(packet, session));
        } catch (RuntimeException e) {
            throw e;
        } catch (Exception e) {
            throw new IllegalStateException(e);
        } finally {
            if (!passed) {
                packet.release();
            }
        }
        if (passed) {
            stats.update(packet.getLength());
            srtpQueue.add(packet);
        }
        return passed;
    }

    private boolean protectRtp(Packet packet, SrtpSession session) throws Exception {
        hop.prepare(packet);
        Sent counts = sent.computeIfAbsent(Rtp.ssrc(packet), ssrc -> new Sent());
        counts.packets++;
        counts.octets += packet.getLength();
        return session.encryptRtp(packet);
    }

    /** A sender report is forwarded only for a stream of which the receiver has got packets (RtcpSrUpdater.kt). */
    private boolean protectRtcp(Packet packet, SrtpSession session) throws Exception {
        if (Rtcp.isSenderReport(packet)) {
            Sent counts = sent.get(Rtcp.senderSsrc(packet));
            if (counts == null) {
                return false;
            }
            Rtcp.setSenderCounts(packet, counts.packets, counts.octets);
            hop.senderReportSent(packet);
        }
        return session.encryptRtcp(packet);
    }

    private boolean send(Packet packet) {
        try {
            wire.send(packet.getBuffer(), packet.getOffset(), packet.getLength());
            TransitStats.packetSent(packet);
        } catch (IOException e) {
            throw new IllegalStateException(e);
        } finally {
            packet.release();
        }
        return true;
    }

    public PacketStreamStats stats() {
        return stats;
    }

    public void close() {
        running = false;
        senderQueue.close();
        srtpQueue.close();
        hop.close();
    }

    /** What was sent of one SSRC. Guarded by the sender queue: one packet at a time. */
    private static final class Sent {
        long packets;
        long octets;
    }
}
