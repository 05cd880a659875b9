package jvbtune.bridge.video;

import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtp;

/**
 * One source as one receiver gets it: a single stream whose sequence numbers, time stamps, picture ids and TL0PICIDX go on
 * without a break over switches of the encoding and over frames that are left out; what the network lost stays a gap
 * (VP8AdaptiveSourceProjectionContext.java). Not thread-safe: one packet of a source at a time.
 *
 * <p>A VP8 stream without picture ids or temporal layers goes through as well, with all its frames.
 */
final class Projection {
    /** Sequence numbers of which the shift is remembered, for packets that come late; a power of two. */
    private static final int HISTORY = 512;

    /** Frames that are remembered: some seconds' worth. */
    private static final int FRAMES = 64;

    /** A time stamp's step between frames at 30 a second, as the real bridge takes it at a switch. */
    private static final int FRAME_TICKS = 3000;

    private static final int FRAME_MILLIS = 33;

    /** A frame of the projected encoding. */
    private static final class Frame {
        long timestamp;
        int firstSequence;
        int temporalLayer;
        boolean keyFrame;
        boolean accepted;
        int pictureId;
        int tl0PicIdx;

        /** The shift of picture ids behind this frame. */
        int pictureIdShift;
    }

    private final long ssrc;
    private final QualityFilter filter = new QualityFilter();
    private final int[] sequenceShift = new int[HISTORY];
    private final Frame[] frames = new Frame[FRAMES];
    private final int[] highestOfEncoding;
    private int frameCount;

    private int encoding = QualityFilter.SUSPENDED;
    private long encodingSsrc;
    private boolean sentAny;
    private int shift;
    private int highest;
    private int highestSent;
    private boolean sentEndOfFrame;
    private long timestampShift;
    private int pictureIdShift;
    private int tl0Shift;
    private Frame highestFrame;
    private Frame lastSent;
    private Instant lastSentFrameReceived;

    // What the packet that was accepted last is to become.
    private int newSequence;
    private Frame newFrame;

    Projection(VideoSource source) {
        ssrc = source.ssrc();
        highestOfEncoding = new int[source.ssrcs().length];
        Arrays.fill(highestOfEncoding, -1);
        for (int i = 0; i < FRAMES; i++) {
            frames[i] = new Frame();
        }
    }

    /** Whether the sender must be asked for a key frame before what is wanted can be sent. */
    boolean needsKeyFrame() {
        return filter.needsKeyFrame() || !sentAny;
    }

    /**
     * Decides on a packet of the source; if it is accepted, {@link #rewrite} must follow before the next one.
     *
     * @param of the packet's encoding
     * @param targetEncoding what the receiver is to get; {@link QualityFilter#SUSPENDED}: nothing
     */
    boolean accept(Packet packet, Vp8 vp8, int of, int targetEncoding, int targetTemporal) {
        int sequence = Rtp.sequenceNumber(packet);
        boolean late = highestOfEncoding[of] >= 0 && Rtp.sequenceDelta(sequence, highestOfEncoding[of]) < 0;
        if (!late) {
            highestOfEncoding[of] = sequence;
        }
        Frame frame = of == encoding ? find(Rtp.timestamp(packet)) : null;
        if (frame == null) {
            // A key frame behind whose start later frames were already dropped is no place to switch at.
            boolean keyFrame = vp8.keyFrame && vp8.startOfFrame && !(late && of != encoding);
            boolean accepted = filter.accepts(
                    of, keyFrame, vp8.temporalLayer, targetEncoding, targetTemporal, packet.receivedTime);
            if (accepted && of != encoding) {
                switchTo(packet, vp8, of, sequence);
            } else if (targetEncoding < 0 || targetTemporal < 0) {
                encoding = QualityFilter.SUSPENDED;
                return false;
            } else if (of != encoding) {
                return false;
            }
            frame = add(packet, vp8, sequence, keyFrame, accepted);
            if (frame == null) {
                return false;
            }
        }
        return place(packet, sequence, frame);
    }

    private void switchTo(Packet packet, Vp8 vp8, int of, int sequence) {
        int next = !sentAny ? 2 : highestSent + (sentEndOfFrame ? 1 : 2);
        shift = next - sequence;
        highest = sequence - 1;
        Arrays.fill(sequenceShift, shift);
        frameCount = 0;
        encoding = of;
        encodingSsrc = Rtp.ssrc(packet);
        long elapsed = lastSentFrameReceived == null
                ? 1
                : Math.max(1, Duration.between(lastSentFrameReceived, packet.receivedTime).toMillis() / FRAME_MILLIS);
        long timestamp = (sentAny ? lastSent.timestamp + timestampShift : 1) + FRAME_TICKS * elapsed;
        timestampShift = timestamp - Rtp.timestamp(packet);
        pictureIdShift = sentAny ? lastSent.pictureId + 1 - vp8.pictureId : 0;
        tl0Shift = sentAny ? lastSent.tl0PicIdx + 1 - vp8.tl0PicIdx : 0;
    }

    /** The frame of that time stamp; null where it is not known (any more). */
    private Frame find(long timestamp) {
        for (int i = frameCount - 1; i >= Math.max(0, frameCount - FRAMES); i--) {
            Frame frame = frames[i % FRAMES];
            if (frame.timestamp == timestamp) {
                return frame;
            }
        }
        return null;
    }

    /** Takes up a frame; null where it is older than all that is remembered. */
    private Frame add(Packet packet, Vp8 vp8, int sequence, boolean keyFrame, boolean wanted) {
        boolean accepted = wanted && isDecodable(vp8, keyFrame, sequence);
        int before = before(sequence);
        if (before < 0 && frameCount > 0) {
            return null;
        }
        boolean newest = before == frameCount - 1;
        int shiftHere = newest ? pictureIdShift : frames[before % FRAMES].pictureIdShift;
        Frame frame = frames[frameCount % FRAMES];
        if (frame == lastSent) {
            frame = new Frame();
            frames[frameCount % FRAMES] = frame;
        }
        frameCount++;
        frame.timestamp = Rtp.timestamp(packet);
        frame.firstSequence = sequence;
        frame.temporalLayer = vp8.temporalLayer;
        frame.keyFrame = keyFrame;
        frame.accepted = accepted;
        frame.pictureId = vp8.pictureId + shiftHere & Vp8.PICTURE_IDS - 1;
        frame.tl0PicIdx = vp8.tl0PicIdx + tl0Shift & 0xff;
        if (newest) {
            pictureIdShift -= accepted ? 0 : 1;
        }
        frame.pictureIdShift = newest ? pictureIdShift : shiftHere;
        if (accepted && newest) {
            lastSentFrameReceived = packet.receivedTime;
        }
        return frame;
    }

    /** The youngest frame that begins before the sequence number; -1 where there is none. */
    private int before(int sequence) {
        for (int i = frameCount - 1; i >= Math.max(0, frameCount - FRAMES); i--) {
            if (Rtp.sequenceDelta(sequence, frames[i % FRAMES].firstSequence) > 0) {
                return i;
            }
        }
        return -1;
    }

    /** Whether the frame that this one refers to was sent; temporal layers are taken to be nested. */
    private boolean isDecodable(Vp8 vp8, boolean keyFrame, int sequence) {
        if (keyFrame || vp8.temporalLayer <= 0) {
            return true;
        }
        for (int i = before(sequence); i >= Math.max(0, frameCount - FRAMES); i--) {
            Frame frame = frames[i % FRAMES];
            if (frame.keyFrame || frame.temporalLayer <= vp8.temporalLayer) {
                return frame.accepted;
            }
        }
        return true;
    }

    /** Gives the packet its place in the stream; false where its frame is left out or it comes too late. */
    private boolean place(Packet packet, int sequence, Frame frame) {
        int ahead = Rtp.sequenceDelta(sequence, highest);
        if (ahead > 0) {
            for (int i = Math.max(1, ahead - HISTORY + 1); i <= ahead; i++) {
                sequenceShift[highest + i & HISTORY - 1] = shift;
            }
            highest = sequence;
            if (!frame.accepted) {
                // What is missing inside of a frame that is left out leaves no gap.
                shift -= frame == highestFrame ? ahead : 1;
            }
            highestFrame = frame;
        } else if (ahead <= -HISTORY) {
            return false;
        }
        if (!frame.accepted) {
            return false;
        }
        newFrame = frame;
        newSequence = sequence + sequenceShift[sequence & HISTORY - 1] & 0xffff;
        if (!sentAny || Rtp.sequenceDelta(newSequence, highestSent) > 0) {
            highestSent = newSequence;
            sentEndOfFrame = Rtp.marker(packet);
            lastSent = frame;
        }
        sentAny = true;
        return true;
    }

    /** Makes of a copy of the packet that was just accepted what the receiver is to get. */
    void rewrite(Packet packet, Vp8 vp8) {
        Rtp.setSsrc(packet, ssrc);
        Rtp.setSequenceNumber(packet, newSequence);
        Rtp.setTimestamp(packet, Rtp.timestamp(packet) + timestampShift);
        vp8.rewrite(packet, newFrame.pictureId, newFrame.tl0PicIdx);
    }

    /** Whether sender reports of that SSRC speak of what is sent now. */
    boolean isSending(long ofSsrc) {
        return sentAny && encodingSsrc == ofSsrc;
    }

    long ssrc() {
        return ssrc;
    }

    /** What is added to the sender's time stamps, modulo 2^32. */
    long timestampShift() {
        return timestampShift;
    }
}
