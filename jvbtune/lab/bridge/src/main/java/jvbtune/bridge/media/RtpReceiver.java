package jvbtune.bridge.media;

import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.TaskPools;
import jvbtune.bridge.rtp.Feedback;
import jvbtune.bridge.rtp.HeaderExtensions;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtcp;
import jvbtune.bridge.rtp.Rtp;
import jvbtune.bridge.stats.QueueErrors;
import jvbtune.bridge.transport.SrtpSession;
import org.jitsi.utils.queue.PacketQueue;

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

        /** The endpoint wants a key frame of a stream that it is sent. */
        void onKeyFrameRequest(long ssrc);

        /** The SSRC of the stream that has the packets sent first of this retransmission stream; negative: none. */
        long rtxPrimary(long ssrc);

        /**
         * @param level 0 (silence) to 127 (loudest)
         * @return whether to discard the packet for want of loudness
         */
        boolean onAudioLevel(long ssrc, int level);
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
    private final OutgoingHop hop;
    private final TccGenerator transportCc;
    private final RetransmissionRequester retransmissions;
    private final PacketQueue<Packet> queue;
    private final PacketStreamStats stats = new PacketStreamStats();
    private final MediaActivity audio = new MediaActivity(5);
    private final MediaActivity video = new MediaActivity(1);
    private final Map<Long, IncomingStream> streams = new ConcurrentHashMap<>();
    private final ArrayDeque<Packet> held = new ArrayDeque<>();
    private int silentPackets;
    private volatile SrtpSession srtp;
    private volatile boolean running = true;

    /**
     * @param hop takes the endpoint's feedback on what it is sent
     * @param feedbackSsrc the SSRC of the bridge's own feedback
     * @param feedback takes over, in the clear, what the bridge has to say on what the endpoint sends
     */
    public RtpReceiver(
            MediaFormat format, Handler handler, OutgoingHop hop, long feedbackSsrc, Consumer<Packet> feedback) {
        this.format = format;
        this.handler = handler;
        this.hop = hop;
        transportCc = new TccGenerator(feedbackSsrc, feedback);
        retransmissions = new RetransmissionRequester(feedbackSsrc, feedback);
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
        int transportCcId = format.transportCcId();
        if (transportCcId != 0) {
            int sequence = HeaderExtensions.uint16(packet, transportCcId);
            if (sequence >= 0) {
                transportCc.received(sequence, packet.receivedTime, Rtp.marker(packet), ssrc, System.nanoTime());
            }
        }
        if (discard) {
            return false;
        }
        if (kind == MediaFormat.Kind.VIDEO) {
            if (!recover(packet, ssrc)) {
                return false;
            }
            ssrc = Rtp.ssrc(packet);
        }
        (kind == MediaFormat.Kind.AUDIO ? audio : video).update();
        handler.onRtp(packet, kind, ssrc);
        return true;
    }

    /** Takes a video packet out of its retransmission; false for padding, and for a packet that came before. */
    private boolean recover(Packet packet, long ssrc) {
        int original = format.originalOf(Rtp.payloadType(packet));
        long primary = original < 0 ? -1 : handler.rtxPrimary(ssrc);
        if (primary >= 0 && !Rtp.unwrapRtx(packet, primary, original)) {
            return false;
        }
        if (!retransmissions.received(Rtp.ssrc(packet), Rtp.sequenceNumber(packet))) {
            return false;
        }
        int payload = Rtp.payloadOffset(packet);
        return payload >= 0 && packet.getOffset() + packet.getLength() - Rtp.paddingBytes(packet) > payload;
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
        return handler.onAudioLevel(Rtp.ssrc(packet), SILENCE - level);
    }

    private void processRtcp(Packet compound) {
        Rtcp.forEach(compound, (type, count, at, bytes) -> {
            switch (type) {
                case Rtcp.SENDER_REPORT -> {
                    processSenderReport(compound, at, bytes);
                    processBlocks(compound, type, count, at, bytes);
                }
                case Rtcp.RECEIVER_REPORT -> processBlocks(compound, type, count, at, bytes);
                case Rtcp.TRANSPORT_FEEDBACK -> hop.onTransportFeedback(compound, count, at, bytes);
                case Rtcp.PAYLOAD_FEEDBACK -> {
                    if (count == Feedback.PLI && bytes >= 12) {
                        handler.onKeyFrameRequest(Feedback.mediaSsrc(compound, at));
                    } else if (count == Feedback.FIR) {
                        handler.onKeyFrameRequest(Feedback.firSsrc(compound, at, bytes));
                    }
                }
                default -> { }
            }
        });
    }

    private void processSenderReport(Packet compound, int at, int bytes) {
        Packet report = Rtcp.senderReport(compound, at, bytes);
        if (report != null) {
            IncomingStream stream = streams.get(Rtcp.senderSsrc(report));
            if (stream != null) {
                stream.senderReport(Rtcp.compactNtp(report), report.receivedTime);
            }
            handler.onSenderReport(report);
        }
    }

    private void processBlocks(Packet compound, int type, int count, int at, int bytes) {
        Rtcp.forEachBlock(compound, type, count, at, bytes, (ssrc, lastSenderReport, delay) ->
                hop.onReportBlock(ssrc, lastSenderReport, delay, compound.receivedTime));
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
        retransmissions.close();
    }
}
