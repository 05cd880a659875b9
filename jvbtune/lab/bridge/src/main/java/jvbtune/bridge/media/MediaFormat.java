package jvbtune.bridge.media;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.concurrent.atomic.AtomicReferenceArray;

/** What was negotiated with one endpoint: payload types and header extensions. Thread-safe. */
public final class MediaFormat {
    /** The media that this bridge tells apart. */
    public enum Kind {
        AUDIO,
        VIDEO
    }

    private static final String AUDIO_LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

    private final AtomicReferenceArray<Kind> kinds = new AtomicReferenceArray<>(128);
    private volatile int audioLevelId;
    private volatile boolean audio;
    private volatile boolean video;

    /** Adds one entry of an endpoint's {@code medias}; types that are neither audio nor video are ignored. */
    public void add(JsonNode media) {
        Kind kind = kind(media.path("type").asText());
        if (kind == null) {
            return;
        }
        for (JsonNode payloadType : media.path("payload-types")) {
            int id = payloadType.path("id").asInt(-1);
            if (id >= 0 && id < kinds.length()) {
                kinds.set(id, kind);
                audio |= kind == Kind.AUDIO;
                video |= kind == Kind.VIDEO;
            }
        }
        for (JsonNode extension : media.path("rtp-hdrexts")) {
            if (AUDIO_LEVEL_URI.equals(extension.path("uri").asText())) {
                audioLevelId = extension.path("id").asInt();
            }
        }
    }

    static Kind kind(String type) {
        return switch (type) {
            case "audio" -> Kind.AUDIO;
            case "video" -> Kind.VIDEO;
            default -> null;
        };
    }

    /** The kind of a payload type; null where it was not negotiated. */
    Kind kind(int payloadType) {
        return kinds.get(payloadType);
    }

    int audioLevelId() {
        return audioLevelId;
    }

    /** Whether the endpoint wants packets of that kind: it negotiated a payload type for them. */
    public boolean accepts(Kind kind) {
        return kind == Kind.AUDIO ? audio : video;
    }
}
