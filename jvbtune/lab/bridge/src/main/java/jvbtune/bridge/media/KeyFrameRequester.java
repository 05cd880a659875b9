package jvbtune.bridge.media;

import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.rtp.Feedback;
import jvbtune.bridge.rtp.Packet;
import org.jitsi.utils.RateLimit;

/** Decides whether a sender is asked for a key frame, and how (KeyframeRequester.kt). Thread-safe. */
public final class KeyFrameRequester {
    private static final Duration MIN_INTERVAL = BridgeConfig.duration("jmt.keyframe.min-interval");
    private static final int MAX_REQUESTS = BridgeConfig.integer("jmt.keyframe.max-requests");
    private static final Duration MAX_REQUEST_INTERVAL = BridgeConfig.duration("jmt.keyframe.max-request-interval");
    private static final Duration SOURCE_INTERVAL = BridgeConfig.duration("jmt.keyframe.source-wide-min-interval");

    private record Requester(String endpointId, long ssrc) {}

    private final MediaFormat format;
    private final long senderSsrc;
    private final Map<Requester, RateLimit> byRequester = new HashMap<>();
    private final Map<Long, RateLimit> bySource = new HashMap<>();
    private int command;

    public KeyFrameRequester(MediaFormat format, long senderSsrc) {
        this.format = format;
        this.senderSsrc = senderSsrc;
    }

    /**
     * A request for a key frame of a stream; null where there were too many.
     *
     * @param requester the receiver that wants it; null: the bridge itself, without a limit
     */
    public synchronized Packet request(String requester, long ssrc) {
        if (requester != null && !accepts(requester, ssrc)) {
            return null;
        }
        return format.supportsPli()
                ? Feedback.pli(senderSsrc, ssrc)
                : Feedback.fir(senderSsrc, ssrc, ++command);
    }

    private boolean accepts(String requester, long ssrc) {
        Instant now = Instant.now();
        return byRequester
                        .computeIfAbsent(
                                new Requester(requester, ssrc),
                                key -> new RateLimit(MIN_INTERVAL, MAX_REQUESTS, MAX_REQUEST_INTERVAL, Clock.systemUTC()))
                        .accept(now, MIN_INTERVAL)
                && bySource
                        .computeIfAbsent(
                                ssrc, key -> new RateLimit(SOURCE_INTERVAL, 1, SOURCE_INTERVAL, Clock.systemUTC()))
                        .accept(now, MIN_INTERVAL);
    }
}
