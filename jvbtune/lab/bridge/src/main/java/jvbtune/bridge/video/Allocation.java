package jvbtune.bridge.video;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.video.VideoSource.Layer;

/**
 * Which layer of which source a receiver gets (BandwidthAllocator.kt, SingleSourceAllocation.kt, Prioritize.kt).
 *
 * @param constraints the constraints in force, by the source's name, the most wanted first
 * @param targets what is sent of each source; no entry: nothing
 * @param suspended the sources that the bandwidth is too small for
 * @param oversending whether more is sent than the bandwidth allows
 */
record Allocation(
        Map<String, VideoConstraints> constraints,
        Map<VideoSource, Layer> targets,
        List<String> suspended,
        boolean oversending) {

    static final Allocation NONE = new Allocation(Map.of(), Map.of(), List.of(), false);

    private static final int JVB_LAST_N = BridgeConfig.integer("videobridge.cc.jvb-last-n");
    private static final int MAX_VIDEO_SSRCS = BridgeConfig.integer("videobridge.ssrc-limit.video");
    private static final int PREFERRED_HEIGHT = BridgeConfig.integer("videobridge.cc.onstage-preferred-height-px");
    private static final double PREFERRED_FPS = BridgeConfig.number("videobridge.cc.onstage-preferred-framerate");
    private static final boolean OVERSEND_ON_STAGE = BridgeConfig.bool("videobridge.cc.allow-oversend-onstage");
    private static final long MAX_OVERSEND_BPS = BridgeConfig.bandwidthBps("videobridge.cc.max-oversend-bitrate");

    /** Up to this height a receiver shows thumbnails, for which every layer is preferred. */
    private static final int THUMBNAIL_HEIGHT = 180;

    /** The names of the sources of which something is sent. */
    Set<String> forwarded() {
        Set<String> names = new HashSet<>();
        targets.keySet().forEach(source -> names.add(source.name()));
        return names;
    }

    /**
     * Allocates anew.
     *
     * @param sources of all other endpoints, those of recent speakers first
     * @param bandwidthBps what there is to share out
     */
    static Allocation of(List<VideoSource> sources, AllocationSettings settings, long bandwidthBps, long nowMillis) {
        List<VideoSource> ordered = prioritize(sources, settings.wantedFirst());
        Map<String, VideoConstraints> constraints = effectiveConstraints(ordered, settings);
        List<Single> singles = new ArrayList<>(ordered.size());
        for (VideoSource source : ordered) {
            boolean onStage = settings.onStageSources().contains(source.name());
            singles.add(new Single(source, constraints.get(source.name()), onStage, nowMillis));
        }
        boolean oversending = share(singles, bandwidthBps);
        Map<VideoSource, Layer> targets = new HashMap<>();
        List<String> suspended = new ArrayList<>();
        for (Single single : singles) {
            if (single.target >= 0) {
                targets.put(single.source, single.layers.get(single.target));
            } else if (!single.layers.isEmpty() && single.layers.get(0).bitrateBps() > 0) {
                suspended.add(single.source.name());
            }
        }
        return new Allocation(constraints, targets, suspended, oversending);
    }

    private static boolean share(List<Single> singles, long bandwidthBps) {
        long remaining = bandwidthBps;
        long before = -1;
        boolean oversending = false;
        while (before != remaining) {
            before = remaining;
            for (int i = 0; i < singles.size(); i++) {
                Single single = singles.get(i);
                if (single.constraints.isDisabled()) {
                    continue;
                }
                remaining -= single.improve(remaining, i == 0);
                oversending |= remaining < 0;
                if (single.onStage && single.target < single.preferred) {
                    break;
                }
            }
        }
        return oversending;
    }

    private static List<VideoSource> prioritize(List<VideoSource> sources, List<String> wanted) {
        List<VideoSource> selected = new ArrayList<>();
        List<VideoSource> others = new ArrayList<>();
        List<VideoSource> disabled = new ArrayList<>();
        for (VideoSource source : sources) {
            (!source.isEnabled() ? disabled : wanted.contains(source.name()) ? selected : others).add(source);
        }
        selected.sort((a, b) -> Integer.compare(wanted.indexOf(a.name()), wanted.indexOf(b.name())));
        selected.addAll(others);
        selected.addAll(disabled);
        return selected;
    }

    private static Map<String, VideoConstraints> effectiveConstraints(
            List<VideoSource> ordered, AllocationSettings settings) {
        int lastN = MAX_VIDEO_SSRCS;
        for (int limit : new int[] {settings.lastN(), JVB_LAST_N}) {
            lastN = limit < 0 ? lastN : Math.min(lastN, limit);
        }
        Map<String, VideoConstraints> constraints = new LinkedHashMap<>();
        int enabled = 0;
        for (VideoSource source : ordered) {
            VideoConstraints asked = settings.constraints(source.name());
            boolean allowed = source.isEnabled() && enabled < lastN;
            constraints.put(source.name(), allowed ? asked : VideoConstraints.NOTHING);
            enabled += allowed && !asked.isDisabled() ? 1 : 0;
        }
        return constraints;
    }

    /** One source while bandwidth is shared out. */
    private static final class Single {
        final VideoSource source;
        final VideoConstraints constraints;
        final boolean onStage;
        List<Layer> layers = List.of();

        /** The layer up to which bandwidth is given at once. */
        int preferred = -1;

        /** The layer that may be sent although bandwidth is missing. */
        int oversend = -1;

        int target = -1;

        Single(VideoSource source, VideoConstraints constraints, boolean onStage, long nowMillis) {
            this.source = source;
            this.constraints = constraints;
            this.onStage = onStage;
            if (constraints.maxHeight() == 0) {
                return;
            }
            List<Layer> all = source.layers(nowMillis);
            switch (source.type()) {
                case CAMERA -> selectForCamera(all);
                case DESKTOP, DESKTOP_HIGH_FPS -> selectForDesktop(all);
                default -> { }
            }
        }

        private void selectForCamera(List<Layer> all) {
            boolean noneActive = all.stream().allMatch(layer -> layer.bitrateBps() == 0);
            boolean thumbnail = constraints.allowsHeight(THUMBNAIL_HEIGHT + 1);
            int preferredHeight = thumbnail ? PREFERRED_HEIGHT : VideoConstraints.UNLIMITED;
            double preferredFps = thumbnail ? PREFERRED_FPS : VideoConstraints.UNLIMITED;
            int lowest = all.stream().mapToInt(Layer::height).min().orElse(0);
            double maxFps = all.stream().mapToDouble(Layer::frameRate).max().orElse(0);
            double enoughFps = Math.min(maxFps, preferredFps);
            List<Layer> chosen = new ArrayList<>();
            for (Layer layer : all) {
                boolean fits = layer.height() < preferredHeight
                        || (constraints.allowsHeight(layer.height()) && layer.frameRate() >= enoughFps)
                        || layer.height() == lowest;
                // A source that has just been signalled has no active layers: all count, so that forwarding starts.
                if (fits && (noneActive || layer.bitrateBps() > 0)) {
                    chosen.add(layer);
                }
            }
            layers = chosen;
            for (int i = 0; i < chosen.size(); i++) {
                if (chosen.get(i).height() <= Math.max(preferredHeight, lowest)) {
                    preferred = i;
                }
            }
        }

        private void selectForDesktop(List<Layer> all) {
            List<Layer> active = all.stream().filter(layer -> layer.bitrateBps() > 0).toList();
            List<Layer> candidates = active.isEmpty() ? all : active;
            layers = candidates.stream().filter(layer -> constraints.allowsHeight(layer.height())).toList();
            if (layers.isEmpty()) {
                int lowest = candidates.stream().mapToInt(Layer::height).min().orElse(0);
                layers = candidates.stream().filter(layer -> layer.height() == lowest).toList();
            }
            preferred = layers.size() - 1;
            if (onStage && OVERSEND_ON_STAGE) {
                int highest = layers.stream().mapToInt(Layer::height).max().orElse(0);
                for (int i = 0; i < layers.size(); i++) {
                    boolean cheaper = oversend < 0 || layers.get(i).bitrateBps() < layers.get(oversend).bitrateBps();
                    oversend = layers.get(i).height() == highest && cheaper ? i : oversend;
                }
            }
        }

        private long targetBps() {
            return target < 0 ? 0 : layers.get(target).bitrateBps();
        }

        /** Takes the next better layer that there is bandwidth for; gives what it costs more than the one before. */
        long improve(long remainingBps, boolean allowOversending) {
            if (layers.isEmpty()) {
                return 0;
            }
            long initial = targetBps();
            long most = remainingBps + initial;
            if (target == -1 && preferred > -1 && onStage) {
                for (int i = 0; i <= preferred && most >= layers.get(i).bitrateBps(); i++) {
                    target = i;
                }
            } else if (target + 1 < layers.size() && layers.get(target + 1).bitrateBps() < most) {
                target++;
            }
            for (int i = layers.size() - 1; target > -1 && i > target; i--) {
                if (layers.get(i).bitrateBps() <= layers.get(target).bitrateBps()) {
                    target = i;
                }
            }
            if (allowOversending && target < oversend) {
                for (int i = oversend; i > target; i--) {
                    if (layers.get(i).bitrateBps() <= most + MAX_OVERSEND_BPS) {
                        target = i;
                    }
                }
            }
            return targetBps() - initial;
        }
    }
}
