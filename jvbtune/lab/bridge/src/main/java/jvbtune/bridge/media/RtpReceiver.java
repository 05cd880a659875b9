package jvbtune.bridge.media;

import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.TaskPools;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtcp;
import jvbtune.bridge.rtp.Rtp;
import jvbtune.bridge.stats.QueueErrors;
import jvbtune.bridge.transport.SrtpSession;
import org.jitsi.utils.queue.PacketQueue;
import org.jitsi.utils.stats.RateTracker;

/**
 * What one endpoint sends: queue, audio level, SRTP, statistics; what passes goes to the handler (RtpReceiverImpl.kt).
 *
 * <p>The queue's handler runs on the CPU pool, for one endpoint one packet at a time.
 */
public final class RtpReceiver {
    /** Where packets go that are decrypted and to be routed; it takes the packet over. */
    public interface Handler {
        void onRtp(Packet packet, MediaFormat.Kind kind, long ssrc);

        void onSenderReport(Packet packet);

        /**
         * @param level 0 (silence) to 127 (loudest)
         * @return whether to discard the packet for want of loudness
         */
        boolean onAudioLevel(int level);
    }

    /** The id under which JVB's queue statistics know this queue. */
    public static final String QUEUE_ID = "rtp-receiver-incoming-packet-queue";

    /** RFC 6464: the level of digital silence. */
    private static final int SILENCE = 127;

    /** Packets kept until DTLS has keyed SRTP, as in JVB's SrtpTransformerNode.kt. */
    private static final int HELD_PACKETS = 1024;

    private static final int REPORT_BLOCKS = 31;

    private final int silenceLimit = BridgeConfig.integer("jmt.audio.level.forwarded-silence-packets-limit");
    private final boolean discardSilence = BridgeConfig.bool("jmt.audio.level.discard-silence");

    private final MediaFormat format;
    private final Handler handler;
    private final PacketQueue<Packet> queue;
    private final PacketStreamStats stats = new PacketStreamStats();
    private final Activity audio = new Activity(5);
    private final Activity video = new Activity(1);
    private final Map<Long, IncomingStream> streams = new ConcurrentHashMap<>();
    private final ArrayDeque<Packet> held = new ArrayDeque<>();
    private int silentPackets;
    private volatile SrtpSession srtp;
    private volatile boolean running = true;

    public RtpReceiver(MediaFormat format, Handler handler) {
        this.format = format;
        this.handler = handler;
        int capacity = BridgeConfig.integer("jmt.transceiver.recv.queue-size");
        queue = new PacketQueue<>(capacity, null, QUEUE_ID, this::handle, TaskPools.CPU) {
            @Override
            protected void releasePacket(Packet packet) {
                packet.release();
            }
        };
        queue.setErrorHandler(QueueErrors.RTP_RECEIVER);
    }

    /** Takes a packet from the socket's reader. */
    public void enqueue(Packet packet) {
        if (running) {
            queue.add(packet);
        } else {
            packet.release();
        }
    }

    public void setSrtp(SrtpSession session) {
        srtp = session;
    }

    private boolean handle(Packet packet) {
        stats.update(packet.getLength());
        SrtpSession session = srtp;
        if (session == null) {
            held.add(packet);
            if (held.size() > HELD_PACKETS) {
                held.remove().release();
            }
            return true;
        }
        while (!held.isEmpty()) {
            process(held.remove(), session);
        }
        process(packet, session);
        return true;
    }

    private void process(Packet packet, SrtpSession session) {
        boolean passed = false;
        try {
            if (Rtp.looksLikeRtp(packet)) {
                passed = processRtp(packet, session);
            } else if (Rtp.looksLikeRtcp(packet) && session.decryptRtcp(packet)) {
                processRtcp(packet);
            }
        } catch (RuntimeException e) {
            throw e;
        } catch (Exception e) {
            throw new IllegalStateException(e);
        } finally {
            if (!passed) {
                packet.release();
            }
        }
    }

    /** Whether the packet was handed on. */
    private boolean processRtp(Packet packet, SrtpSession session) throws Exception {
        MediaFormat.Kind kind = format.kind(Rtp.payloadType(packet));
        if (kind == null) {
            return false;
        }
        boolean discard = kind == MediaFormat.Kind.AUDIO && discardsByLevel(packet);
        if (!session.decryptRtp(packet, discard)) {
            return false;
        }
        long ssrc = Rtp.ssrc(packet);
        IncomingStream stream = streams.get(ssrc);
        if (stream == null) {
            stream = new IncomingStream(ssrc, kind, Rtp.sequenceNumber(packet));
            streams.put(ssrc, stream);
        }
        stream.received(packet);
        if (discard) {
            return false;
        }
        (kind == MediaFormat.Kind.AUDIO ? audio : video).update();
        handler.onRtp(packet, kind, ssrc);
        return true;
    }

    /** AudioLevelReader.kt: silence beyond a few packets is discarded, and what the loudest-only routing rejects. */
    private boolean discardsByLevel(Packet packet) {
        int level = Rtp.audioLevel(packet, format.audioLevelId());
        if (level == Rtp.NO_AUDIO_LEVEL) {
            return false;
        }
        boolean silence = level == SILENCE;
        if (silence && discardSilence && silentPackets > silenceLimit) {
            return true;
        }
        silentPackets = silence ? silentPackets + 1 : 0;
        return handler.onAudioLevel(SILENCE - level);
    }

    private void processRtcp(Packet compound) {
        Packet report = Rtcp.senderReport(compound);
        if (report != null) {
            IncomingStream stream = streams.get(Rtcp.senderSsrc(report));
            if (stream != null) {
                stream.senderReport(Rtcp.compactNtp(report), report.receivedTime);
            }
            handler.onSenderReport(report);
        }
    }

    /** Receiver reports on the streams that sent since the last call. */
    public List<Packet> receiverReports(long senderSsrc) {
        Instant now = Instant.now();
        List<Packet> reports = new ArrayList<>(1);
        List<Rtcp.ReportBlock> blocks = new ArrayList<>(2);
        for (IncomingStream stream : streams.values()) {
            Rtcp.ReportBlock block = stream.report(now);
            if (block != null) {
                blocks.add(block);
                if (blocks.size() == REPORT_BLOCKS) {
                    reports.add(Rtcp.receiverReport(senderSsrc, blocks));
                    blocks.clear();
                }
            }
        }
        if (!blocks.isEmpty()) {
            reports.add(Rtcp.receiverReport(senderSsrc, blocks));
        }
        return reports;
    }

    public PacketStreamStats stats() {
        return stats;
    }

    public boolean isReceiving(MediaFormat.Kind kind) {
        return (kind == MediaFormat.Kind.AUDIO ? audio : video).isActive();
    }

    /** Packets received and lost, over all streams. */
    public long[] receivedAndLost() {
        Collection<IncomingStream> all = streams.values();
        long received = 0;
        long lost = 0;
        for (IncomingStream stream : all) {
            long[] counts = stream.receivedAndLost();
            received += counts[0];
            lost += counts[1];
        }
        return new long[] {received, lost};
    }

    public void close() {
        running = false;
        queue.close();
    }

    /** Whether a kind of media flows (BitrateCalculator.kt). */
    private static final class Activity {
        private static final long GRACE_MILLIS = 10_000;

        private final RateTracker rate = PacketStreamStats.newRateTracker();
        private final long startMillis = System.currentTimeMillis();
        private final int thresholdPps;

        Activity(int thresholdPps) {
            this.thresholdPps = thresholdPps;
        }

        void update() {
            rate.update(1, System.currentTimeMillis());
        }

        boolean isActive() {
            long now = System.currentTimeMillis();
            return rate.getRate(now) >= (now - startMillis <= GRACE_MILLIS ? 1 : thresholdPps);
        }
    }
}
