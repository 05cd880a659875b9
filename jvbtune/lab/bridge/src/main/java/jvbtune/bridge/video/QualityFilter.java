package jvbtune.bridge.video;

import java.time.Duration;
import java.time.Instant;

/**
 * Which frames of a simulcast source a receiver gets: one encoding at a time, changed on key frames alone
 * (VP8QualityFilter.java, whose rules these are). Not thread-safe.
 */
final class QualityFilter {
    static final int SUSPENDED = -1;

    /** Key frames of the other encodings that follow the first within this time belong to the same request. */
    private static final Duration KEY_FRAME_GROUP = Duration.ofMillis(300);

    private Instant keyFrameGroup;
    private boolean needsKeyFrame;
    private int target = SUSPENDED;
    private int current = SUSPENDED;

    boolean needsKeyFrame() {
        return needsKeyFrame;
    }

    /**
     * Decides on a frame by its first packet.
     *
     * @param encoding the frame's
     * @param temporalLayer the frame's; negative: none
     * @param targetEncoding what the receiver is to get; {@link #SUSPENDED}: nothing
     */
    boolean accepts(
            int encoding, boolean keyFrame, int temporalLayer, int targetEncoding, int targetTemporal, Instant received) {
        if (targetEncoding != target) {
            target = targetEncoding;
            needsKeyFrame |= targetEncoding > SUSPENDED;
        }
        if (targetEncoding < 0 || targetTemporal < 0) {
            current = SUSPENDED;
            return false;
        }
        if (keyFrame) {
            return acceptsKeyFrame(encoding, received);
        }
        if (current == SUSPENDED) {
            return false;
        }
        if (isNewGroup(received) && brings(encoding)) {
            needsKeyFrame = true;
        }
        if (encoding != current) {
            return false;
        }
        if (current == target) {
            return temporalLayer <= targetTemporal;
        }
        return current < target || temporalLayer < 1;
    }

    private boolean isNewGroup(Instant received) {
        return keyFrameGroup == null || Duration.between(keyFrameGroup, received).compareTo(KEY_FRAME_GROUP) > 0;
    }

    /** Whether the encoding is on the way from the current one to the target. */
    private boolean brings(int encoding) {
        return (encoding > current && current < target) || (encoding < current && current > target);
    }

    private boolean acceptsKeyFrame(int encoding, Instant received) {
        needsKeyFrame = false;
        boolean accepted;
        if (isNewGroup(received)) {
            keyFrameGroup = received;
            accepted = encoding <= target;
        } else {
            accepted = encoding <= target && (current <= encoding || target < current);
        }
        if (accepted) {
            current = encoding;
        }
        return accepted;
    }
}
