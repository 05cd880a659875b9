package jvbtune.bridge.media;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicReferenceArray;

/** What was negotiated with one endpoint: payload types, feedback and header extensions. Thread-safe. */
public final class MediaFormat {
    /** The media that this bridge tells apart. */
    public enum Kind {
        AUDIO,
        VIDEO
    }

    private static final int PAYLOAD_TYPES = 128;
    private static final int NONE = -1;

    private final boolean relayed;
    private final AtomicReferenceArray<Kind> kinds = new AtomicReferenceArray<>(PAYLOAD_TYPES);
    private final AtomicReferenceArray<Boolean> vp8 = new AtomicReferenceArray<>(PAYLOAD_TYPES);
    private final AtomicIntegerArray rtxOf = filled();
    private final AtomicIntegerArray originalOf = filled();
    private volatile int audioLevelId;
    private volatile int orientationId;
    private volatile int transportCcId;
    private volatile int absSendTimeId;
    private volatile boolean audio;
    private volatile boolean video;
    private volatile boolean transportCc;
    private volatile boolean nack;
    private volatile boolean pli;
    private volatile boolean rtx;

    public MediaFormat() {
        this(false);
    }

    private MediaFormat(boolean relayed) {
        this.relayed = relayed;
    }

    /** Between bridges there is no congestion control, and packets are sent again as they were (Relay.addRtpExtension). */
    public static MediaFormat ofRelay() {
        return new MediaFormat(true);
    }

    private static AtomicIntegerArray filled() {
        int[] none = new int[PAYLOAD_TYPES];
        Arrays.fill(none, NONE);
        return new AtomicIntegerArray(none);
    }

    /** Adds one entry of an endpoint's {@code medias}; types that are neither audio nor video are ignored. */
    public void add(JsonNode media) {
        Kind kind = kind(media.path("type").asText());
        if (kind == null) {
            return;
        }
        for (JsonNode payloadType : media.path("payload-types")) {
            int id = payloadType.path("id").asInt(NONE);
            if (id >= 0 && id < PAYLOAD_TYPES) {
                addPayloadType(id, kind, payloadType);
            }
        }
        for (JsonNode extension : media.path("rtp-hdrexts")) {
            addExtension(extension.path("uri").asText(), extension.path("id").asInt());
        }
    }

    private void addPayloadType(int id, Kind kind, JsonNode payloadType) {
        kinds.set(id, kind);
        audio |= kind == Kind.AUDIO;
        video |= kind == Kind.VIDEO;
        String name = payloadType.path("name").asText();
        vp8.set(id, name.equalsIgnoreCase("VP8"));
        int original = payloadType.path("parameters").path("apt").asInt(NONE);
        if (name.equalsIgnoreCase("rtx") && !relayed && original >= 0 && original < PAYLOAD_TYPES) {
            rtxOf.set(original, id);
            originalOf.set(id, original);
            rtx = true;
        }
        for (JsonNode feedback : payloadType.path("rtcp-fbs")) {
            switch ((feedback.path("type").asText() + " " + feedback.path("subtype").asText()).trim()) {
                case "transport-cc" -> transportCc = true;
                case "nack" -> nack = true;
                case "nack pli" -> pli = true;
                default -> { }
            }
        }
    }

    private void addExtension(String uri, int id) {
        switch (uri) {
            case "urn:ietf:params:rtp-hdrext:ssrc-audio-level" -> audioLevelId = id;
            case "urn:3gpp:video-orientation" -> orientationId = id;
            case "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01" -> transportCcId = id;
            case "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time" -> absSendTimeId = id;
            default -> { }
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

    public boolean isVp8(int payloadType) {
        return Boolean.TRUE.equals(vp8.get(payloadType));
    }

    /** The payload type under which packets of this one are sent again (RFC 4588); negative: none. */
    int rtxOf(int payloadType) {
        return rtxOf.get(payloadType);
    }

    /** The payload type of which this one has the packets that are sent again; negative: it is no such type. */
    int originalOf(int payloadType) {
        return originalOf.get(payloadType);
    }

    int audioLevelId() {
        return audioLevelId;
    }

    int orientationId() {
        return orientationId;
    }

    /** The id of transport-cc's extension; 0 where it was not negotiated, or no payload type asks for its feedback. */
    int transportCcId() {
        return transportCc && !relayed ? transportCcId : 0;
    }

    /** The id of abs-send-time's extension; 0 where transport-cc takes its place. */
    int absSendTimeId() {
        return transportCc || relayed ? 0 : absSendTimeId;
    }

    /** Whether the endpoint may ask for lost packets. */
    boolean supportsNack() {
        return nack || rtx;
    }

    /** Whether the endpoint takes PLI; else it is sent FIR. */
    boolean supportsPli() {
        return pli;
    }

    public boolean supportsRtx() {
        return rtx;
    }

    /** Whether the endpoint wants packets of that kind: it negotiated a payload type for them. */
    public boolean accepts(Kind kind) {
        return kind == Kind.AUDIO ? audio : video;
    }
}
