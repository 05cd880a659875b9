package jvbtune.bridge.media;

import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.LongConsumer;
import java.util.function.LongUnaryOperator;
import jvbtune.bridge.media.MediaFormat.Kind;
import jvbtune.bridge.rtp.Feedback;
import jvbtune.bridge.rtp.HeaderExtensions;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtcp;
import jvbtune.bridge.rtp.Rtp;
import jvbtune.bridge.rtp.TransportFeedback;

/**
 * The hop from the bridge to one receiver: header extensions and transport-wide sequence numbers, and what the receiver's
 * reports and feedback say (RtpSenderImpl.kt and its nodes).
 */
public final class OutgoingHop {
    private static final double NANOS_PER_MILLI = 1e6;

    private final MediaFormat format;
    private final LongUnaryOperator rtxSsrcs;
    private final Consumer<Packet> retransmit;
    private final LongConsumer onBandwidth;
    private final RoundTrip roundTrip = new RoundTrip();
    private final PacketCache cache = new PacketCache();
    private final SendHistory history = new SendHistory();
    private final int[] kept = new int[2];

    /** How many were sent again on each RTX SSRC. */
    private final Map<Long, Integer> rtxSequences = new HashMap<>();

    /**
     * @param rtxSsrcs the SSRC under which packets of an SSRC are sent again; negative: none
     * @param retransmit takes a packet over that is to be sent again
     * @param onBandwidth takes a new estimate, in bit/s
     */
    public OutgoingHop(
            MediaFormat format, LongUnaryOperator rtxSsrcs, Consumer<Packet> retransmit, LongConsumer onBandwidth) {
        this.format = format;
        this.rtxSsrcs = rtxSsrcs;
        this.retransmit = retransmit;
        this.onBandwidth = onBandwidth;
    }

    /** Makes an RTP packet ready for SRTP. Called for one packet at a time. */
    void prepare(Packet packet) {
        int payloadType = Rtp.payloadType(packet);
        boolean video = format.kind(payloadType) == Kind.VIDEO;
        int transportCc = format.transportCcId();
        int absSendTime = format.absSendTimeId();
        if (video && transportCc != 0) {
            replaceExtensions(packet, transportCc, 2, history.nextSequence());
        } else if (absSendTime != 0) {
            // 6 bits of seconds, 18 of their fraction
            replaceExtensions(packet, absSendTime, 3, (long) (System.nanoTime() / 1e9 * (1 << 18)) & 0xffffff);
        } else if (video || HeaderExtensions.find(packet, transportCc, 1) >= 0) {
            replaceExtensions(packet, 0, 0, 0);
        }
        // What is sent again has no payload type that could be asked for once more.
        if (video && format.supportsNack() && format.originalOf(payloadType) < 0) {
            cache.add(packet, System.nanoTime());
        }
    }

    /** Of a sender's extensions the bridge passes on two alone (HeaderExtStripper.kt). */
    private void replaceExtensions(Packet packet, int id, int bytes, long value) {
        kept[0] = format.audioLevelId();
        kept[1] = format.orientationId();
        HeaderExtensions.replace(packet, kept, id, bytes, value);
    }

    void senderReportSent(Packet report) {
        roundTrip.senderReportSent(report);
    }

    /** Takes a report block on what the receiver was sent. */
    void onReportBlock(long ssrc, long lastSenderReport, long delay, Instant received) {
        roundTrip.reported(ssrc, lastSenderReport, delay, received);
    }

    /** Takes a feedback message of type {@link Rtcp#TRANSPORT_FEEDBACK}. */
    void onTransportFeedback(Packet compound, int feedbackFormat, int at, int bytes) {
        if (feedbackFormat == Feedback.NACK && bytes >= 12) {
            long ssrc = Feedback.mediaSsrc(compound, at);
            Feedback.forEachMissing(compound, at, bytes, sequence -> sendAgain(ssrc, sequence));
        } else if (feedbackFormat == TransportFeedback.FORMAT) {
            TransportFeedback.forEach(
                    compound, at, bytes, (sequence, received, delta) -> history.reported(sequence, received));
            onBandwidth.accept(history.estimateBps(System.nanoTime()));
        }
    }

    private void sendAgain(long ssrc, int sequence) {
        double rtt = roundTrip.millis();
        long minAgeNanos = rtt == 0 ? 0 : (long) (NANOS_PER_MILLI * Math.min(rtt * 0.9, rtt - 5));
        Packet packet = cache.get(ssrc, sequence, System.nanoTime(), minAgeNanos);
        if (packet == null) {
            return;
        }
        int rtxType = format.rtxOf(Rtp.payloadType(packet));
        long rtxSsrc = rtxSsrcs.applyAsLong(ssrc);
        if (rtxType >= 0 && rtxSsrc >= 0) {
            Rtp.wrapRtx(packet, rtxSsrc, rtxType, rtxSequences.merge(rtxSsrc, 1, Integer::sum) & 0xffff);
        }
        retransmit.accept(packet);
    }

    /** In milliseconds; 0 as long as it is not known. */
    public double roundTripMillis() {
        return roundTrip.millis();
    }

    /** Packets that the receiver got and did not get, by its feedback. */
    public long[] receivedAndLost() {
        return history.receivedAndLost();
    }

    /** Packets in the receiver's feedback that were not sent, or too long ago. */
    public long unmatchedFeedback() {
        return history.unmatched();
    }

    void close() {
        cache.close();
    }
}
