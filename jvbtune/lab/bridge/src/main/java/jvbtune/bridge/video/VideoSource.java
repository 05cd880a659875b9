package jvbtune.bridge.video;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.atomic.LongAdder;
import jvbtune.bridge.media.PacketStreamStats;
import org.jitsi.utils.stats.RateTracker;

/** A signalled video source: its simulcast encodings and what is measured of them (MediaSourceDesc.kt). Thread-safe. */
public final class VideoSource {
    /** Whether and as what a source sends; only these two are forwarded. */
    public enum Type {
        CAMERA,
        DESKTOP,
        DESKTOP_HIGH_FPS,
        NONE;

        /** @return null where the name is none of them */
        public static Type parse(String name) {
            for (Type type : values()) {
                if (type.name().equalsIgnoreCase(name)) {
                    return type;
                }
            }
            return null;
        }
    }

    /** MediaSourceFactory.VP8_SIMULCAST_BASE_LAYER_HEIGHT; what is true comes with the first key frame. */
    private static final int BASE_HEIGHT = 180;

    /** Temporal layers of a VP8 encoding, and their frame rates. */
    static final int TEMPORAL_LAYERS = 3;

    private static final double[] FRAME_RATES = {7.5, 15, 30};

    /** One encoding: a stream of its own SSRC. */
    private static final class Encoding {
        final long ssrc;
        volatile int height;
        final RateTracker[] bytes = new RateTracker[TEMPORAL_LAYERS];

        Encoding(long ssrc, int height) {
            this.ssrc = ssrc;
            this.height = height;
            for (int i = 0; i < TEMPORAL_LAYERS; i++) {
                bytes[i] = PacketStreamStats.newRateTracker();
            }
        }
    }

    /**
     * A layer that may be chosen.
     *
     * @param bitrateBps of the layer with the lower temporal layers it needs
     */
    record Layer(int encoding, int temporal, int height, double frameRate, long bitrateBps) {}

    private final String owner;
    private final String name;
    private final Encoding[] encodings;
    private final Map<Long, Long> rtx;
    private final LongAdder keyFrames = new LongAdder();
    private final LongAdder layeringChanges = new LongAdder();
    private volatile Type type;
    private boolean seen;

    private VideoSource(String owner, String name, List<Long> ssrcs, Map<Long, Long> rtx, Type type) {
        this.owner = owner;
        this.name = name;
        this.rtx = Map.copyOf(rtx);
        this.type = type;
        encodings = new Encoding[ssrcs.size()];
        for (int i = 0; i < encodings.length; i++) {
            encodings[i] = new Encoding(ssrcs.get(i), BASE_HEIGHT << i);
        }
    }

    /** One entry of COLIBRI's {@code sources} of type video; null where it names no SSRC (MediaSourceFactory.java). */
    public static VideoSource parse(String owner, JsonNode mediaSource) {
        List<Long> ssrcs = new ArrayList<>();
        Type type = Type.CAMERA;
        for (JsonNode source : mediaSource.path("sources")) {
            ssrcs.add(ssrc(source));
            Type named = Type.parse(source.path("videoType").asText());
            type = named == null ? type : named;
        }
        List<Long> primary = null;
        Map<Long, Long> rtx = new HashMap<>();
        for (JsonNode group : mediaSource.path("ssrc-groups")) {
            List<Long> members = new ArrayList<>();
            group.path("sources").forEach(source -> members.add(ssrc(source)));
            switch (group.path("semantics").asText().toUpperCase(Locale.ROOT)) {
                case "SIM" -> primary = members.isEmpty() ? primary : members;
                case "FID" -> {
                    if (members.size() > 1) {
                        rtx.put(members.get(0), members.get(1));
                    }
                }
                default -> { }
            }
        }
        if (primary == null) {
            // Without simulcast: the first SSRC that is no retransmission's.
            primary = ssrcs.stream().filter(ssrc -> !rtx.containsValue(ssrc)).limit(1).toList();
        }
        return primary.isEmpty() ? null : new VideoSource(owner, mediaSource.path("id").asText(), primary, rtx, type);
    }

    /** An SSRC as COLIBRI's JSON writes it: a number, or an object with more about it. */
    public static long ssrc(JsonNode source) {
        return source.isObject() ? source.path("ssrc").asLong() : source.asLong();
    }

    /** Whether the other one describes the same streams, so that what is known of this one stays true. */
    public boolean hasSameStreams(VideoSource other) {
        return name.equals(other.name) && rtx.equals(other.rtx) && Arrays.equals(ssrcs(), other.ssrcs());
    }

    public String owner() {
        return owner;
    }

    public String name() {
        return name;
    }

    /** The SSRC under which receivers get the source, whichever encoding they are sent. */
    public long ssrc() {
        return encodings[0].ssrc;
    }

    public long[] ssrcs() {
        long[] ssrcs = new long[encodings.length];
        for (int i = 0; i < ssrcs.length; i++) {
            ssrcs[i] = encodings[i].ssrc;
        }
        return ssrcs;
    }

    /** The SSRC of retransmissions of each SSRC. */
    public Map<Long, Long> rtx() {
        return rtx;
    }

    public Type type() {
        return type;
    }

    /** @return whether it has changed */
    public boolean setType(Type newType) {
        boolean changed = type != newType;
        type = newType;
        return changed;
    }

    boolean isEnabled() {
        return type != Type.NONE;
    }

    /** The encoding of an SSRC; -1 where it is none of this source. */
    public int encoding(long ssrc) {
        for (int i = 0; i < encodings.length; i++) {
            if (encodings[i].ssrc == ssrc) {
                return i;
            }
        }
        return -1;
    }

    /**
     * Takes a packet into the measurements, on the CPU pool, for one source one packet at a time.
     *
     * @return whether a layer has appeared, so that receivers have to be allocated again
     */
    public boolean measure(int encoding, Vp8 vp8, int bytes, long nowMillis) {
        Encoding of = encodings[encoding];
        if (vp8.keyFrame && vp8.startOfFrame) {
            keyFrames.increment();
            of.height = vp8.height > 0 ? vp8.height : of.height;
        }
        int temporal = Math.max(0, Math.min(TEMPORAL_LAYERS - 1, vp8.temporalLayer));
        boolean appeared = true;
        for (int t = 0; appeared && t <= temporal; t++) {
            appeared = of.bytes[t].getAccumulatedCount(nowMillis) == 0;
        }
        of.bytes[temporal].update(bytes, nowMillis);
        if (!seen) {
            seen = true;
            layeringChanges.increment();
        }
        return appeared;
    }

    /** All layers, the worst first. */
    List<Layer> layers(long nowMillis) {
        List<Layer> layers = new ArrayList<>(TEMPORAL_LAYERS * encodings.length);
        for (int i = 0; i < encodings.length; i++) {
            long bitrateBps = 0;
            for (int t = 0; t < TEMPORAL_LAYERS; t++) {
                bitrateBps += 8 * encodings[i].bytes[t].getRate(nowMillis);
                layers.add(new Layer(i, t, encodings[i].height, FRAME_RATES[t], bitrateBps));
            }
        }
        return layers;
    }

    public long keyFrames() {
        return keyFrames.sum();
    }

    public long layeringChanges() {
        return layeringChanges.sum();
    }
}
