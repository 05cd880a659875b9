package jvbtune.bridge.video;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.UnaryOperator;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.TaskPools;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtcp;

/** The video that one endpoint receives: what it asked for, what it is allocated, its streams (BitrateController.kt). */
public final class ReceiverVideo {
    /** The conference as this receiver needs it. */
    public interface Host {
        /** The sources of all other endpoints, those of recent speakers first. */
        List<VideoSource> sources();

        void forwardedSourcesChanged(Set<String> names);

        /** Constraints by source name, before and now. */
        void constraintsChanged(Map<String, VideoConstraints> before, Map<String, VideoConstraints> now);

        void keyFrameNeeded(VideoSource source);
    }

    private static final double BANDWIDTH_THRESHOLD = BridgeConfig.number("videobridge.cc.bwe-change-threshold");
    private static final boolean TRUST_BANDWIDTH = BridgeConfig.bool("videobridge.cc.trust-bwe");
    private static final long UPDATE_INTERVAL_NANOS =
            BridgeConfig.duration("videobridge.cc.max-time-between-calculations").toNanos();

    private static final long UNLIMITED_BPS = Long.MAX_VALUE / 2;

    /** A source's stream and the layer that is to be sent in it. */
    private static final class Stream {
        final Projection projection;
        volatile Target target = Target.NOTHING;

        Stream(VideoSource source) {
            projection = new Projection(source);
        }
    }

    private record Target(int encoding, int temporal) {
        static final Target NOTHING = new Target(QualityFilter.SUSPENDED, QualityFilter.SUSPENDED);
    }

    private final Host host;
    private final Map<VideoSource, Stream> streams = new ConcurrentHashMap<>();
    private volatile Allocation allocation = Allocation.NONE;
    private AllocationSettings settings = AllocationSettings.initial();
    private long bandwidthBps = -1;
    private volatile boolean supportsRtx;
    private volatile long lastUpdateNanos = System.nanoTime();
    private volatile boolean expired;

    public ReceiverVideo(Host host) {
        this.host = host;
    }

    // Signalling.

    /** Without retransmissions the estimate of the bandwidth is not trusted, as in the real bridge. */
    public void setSupportsRtx(boolean supports) {
        supportsRtx = supports;
    }

    public void change(UnaryOperator<AllocationSettings> change) {
        synchronized (this) {
            AllocationSettings changed = change.apply(settings);
            boolean same = changed.equals(settings);
            settings = changed;
            if (same) {
                return;
            }
        }
        update();
    }

    /** Takes a new estimate of the bandwidth; only a change of more than 15 % has an effect. */
    public void setBandwidth(long bps) {
        synchronized (this) {
            if (bandwidthBps >= 0 && Math.abs(bps - bandwidthBps) <= bandwidthBps * BANDWIDTH_THRESHOLD) {
                return;
            }
            bandwidthBps = bps;
        }
        update();
    }

    /** Updates, on the CPU pool, what was not updated for five seconds: the measured bit rates change. */
    public void updateIfDue() {
        if (!streams.isEmpty() && System.nanoTime() - lastUpdateNanos > UPDATE_INTERVAL_NANOS) {
            TaskPools.CPU.execute(this::update);
        }
    }

    /** Allocates anew: sources, settings, layers or bandwidth have changed. */
    public synchronized void update() {
        if (expired) {
            return;
        }
        lastUpdateNanos = System.nanoTime();
        List<VideoSource> sources = host.sources();
        Allocation before = allocation;
        if (sources.isEmpty() && before == Allocation.NONE) {
            return;
        }
        long available = TRUST_BANDWIDTH && supportsRtx && bandwidthBps >= 0 ? bandwidthBps : UNLIMITED_BPS;
        Allocation now = Allocation.of(sources, settings, available, System.currentTimeMillis());
        allocation = now;
        streams.keySet().retainAll(Set.copyOf(sources));
        for (VideoSource source : sources) {
            VideoSource.Layer layer = now.targets().get(source);
            streams.computeIfAbsent(source, Stream::new).target =
                    layer == null ? Target.NOTHING : new Target(layer.encoding(), layer.temporal());
        }
        if (!now.forwarded().equals(before.forwarded())) {
            host.forwardedSourcesChanged(now.forwarded());
        }
        if (!now.constraints().equals(before.constraints())) {
            host.constraintsChanged(before.constraints(), now.constraints());
        }
    }

    public synchronized List<String> onStageSources() {
        return settings.onStageSources();
    }

    public Set<String> forwardedSources() {
        return allocation.forwarded();
    }

    public boolean hasSuspendedSources() {
        return !allocation.suspended().isEmpty();
    }

    public boolean isOversending() {
        return allocation.oversending();
    }

    /** Whether the receiver is allowed anything of the source. */
    public boolean wants(VideoSource source) {
        VideoConstraints constraints = allocation.constraints().get(source.name());
        return constraints != null && !constraints.isDisabled();
    }

    public void expire() {
        expired = true;
    }

    // Media, one packet of a source at a time.

    /**
     * Decides on a packet; where it is accepted, {@link #rewrite} must follow for the receiver's own copy.
     *
     * @param vp8 null for another codec: of that the first encoding goes through as it is
     * @param encoding the packet's encoding in its source
     */
    public boolean accept(Packet packet, Vp8 vp8, VideoSource source, int encoding) {
        Stream stream = streams.get(source);
        if (stream == null) {
            return false;
        }
        Target target = stream.target;
        if (vp8 == null) {
            return target.encoding >= 0 && encoding == 0;
        }
        boolean accepted = stream.projection.accept(packet, vp8, encoding, target.encoding, target.temporal);
        if (target.encoding >= 0 && stream.projection.needsKeyFrame()) {
            host.keyFrameNeeded(source);
        }
        return accepted;
    }

    /** @return false where the source has just been taken away: the packet is not to be sent */
    public boolean rewrite(Packet packet, Vp8 vp8, VideoSource source) {
        Stream stream = streams.get(source);
        if (stream != null && vp8 != null) {
            stream.projection.rewrite(packet, vp8);
        }
        return stream != null;
    }

    /**
     * Rewrites a sender report of a video stream to the one that the receiver gets.
     *
     * @return false where it is not for the receiver: only that of the source's first SSRC is forwarded
     */
    public boolean rewriteSenderReport(Packet report, VideoSource source) {
        Stream stream = streams.get(source);
        long ssrc = Rtcp.senderSsrc(report);
        if (stream == null || ssrc != source.ssrc()) {
            return false;
        }
        if (stream.projection.isSending(ssrc)) {
            Rtcp.shiftRtpTimestamp(report, stream.projection.timestampShift());
        }
        return true;
    }
}
