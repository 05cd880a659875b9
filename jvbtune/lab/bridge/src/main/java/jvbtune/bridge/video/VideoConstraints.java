package jvbtune.bridge.video;

import com.fasterxml.jackson.databind.JsonNode;

/**
 * What a receiver allows of one source (VideoConstraints.kt).
 *
 * @param maxHeight in pixels; 0: nothing, -1: any
 * @param maxFrameRate in frames per second; 0: nothing, -1: any. Only 0 has an effect, as in the real bridge.
 */
public record VideoConstraints(int maxHeight, double maxFrameRate) {
    static final int UNLIMITED = -1;

    public static final VideoConstraints NOTHING = ofHeight(0);

    public VideoConstraints {
        if (maxHeight < UNLIMITED || (maxFrameRate < 0 && maxFrameRate != UNLIMITED)) {
            throw new IllegalArgumentException("maxHeight and maxFrameRate must be -1, 0 or positive");
        }
    }

    static VideoConstraints ofHeight(int maxHeight) {
        return new VideoConstraints(maxHeight, UNLIMITED);
    }

    /** @throws IllegalArgumentException where {@code maxHeight} is missing or out of range */
    public static VideoConstraints parse(JsonNode json) {
        JsonNode height = json.path("maxHeight");
        if (!height.isInt()) {
            throw new IllegalArgumentException("maxHeight is missing");
        }
        return new VideoConstraints(height.asInt(), json.path("maxFrameRate").asDouble(UNLIMITED));
    }

    boolean allowsHeight(int height) {
        return maxHeight == UNLIMITED || height <= maxHeight;
    }

    boolean isDisabled() {
        return maxHeight == 0 || maxFrameRate == 0;
    }
}
