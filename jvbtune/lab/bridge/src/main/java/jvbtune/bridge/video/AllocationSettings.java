package jvbtune.bridge.video;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import jvbtune.bridge.BridgeConfig;

/**
 * What one receiver asked for over the bridge channel (AllocationSettings.kt, doc/constraints.md).
 *
 * @param lastN how many sources at most; -1: any number
 * @param bySource constraints of sources by name, over the default ones
 */
public record AllocationSettings(
        int lastN,
        List<String> selectedSources,
        List<String> onStageSources,
        VideoConstraints defaultConstraints,
        Map<String, VideoConstraints> bySource,
        boolean everSet) {

    private static final VideoConstraints MISSING_DEFAULT =
            VideoConstraints.ofHeight(BridgeConfig.integer("videobridge.cc.default-max-height-px"));

    /** Before the receiver said anything. */
    public static AllocationSettings initial() {
        return new AllocationSettings(
                BridgeConfig.integer("videobridge.cc.initial-last-n"),
                List.of(),
                List.of(),
                VideoConstraints.ofHeight(BridgeConfig.integer("videobridge.cc.initial-max-height-px")),
                Map.of(),
                false);
    }

    /**
     * These settings with what a ReceiverVideoConstraints message sets; a field that it leaves out stays.
     *
     * @throws IllegalArgumentException where a field has not the type or range that it must have
     */
    public AllocationSettings with(JsonNode message) {
        VideoConstraints defaults = defaultConstraints;
        if (message.path("defaultConstraints").isObject()) {
            defaults = VideoConstraints.parse(message.get("defaultConstraints"));
        } else if (!everSet) {
            defaults = MISSING_DEFAULT;
        }
        Map<String, VideoConstraints> constraints = bySource;
        if (message.path("constraints").isObject()) {
            Map<String, VideoConstraints> read = new HashMap<>();
            message.get("constraints")
                    .properties()
                    .forEach(entry -> read.put(entry.getKey(), VideoConstraints.parse(entry.getValue())));
            constraints = Map.copyOf(read);
        }
        return new AllocationSettings(
                message.path("lastN").asInt(lastN),
                strings(message.path("selectedSources"), selectedSources),
                strings(message.path("onStageSources"), onStageSources),
                defaults,
                constraints,
                true);
    }

    public AllocationSettings withLastN(int newLastN) {
        return new AllocationSettings(
                newLastN, selectedSources, onStageSources, defaultConstraints, bySource, everSet);
    }

    private static List<String> strings(JsonNode array, List<String> otherwise) {
        if (!array.isArray()) {
            return otherwise;
        }
        List<String> strings = new ArrayList<>();
        array.forEach(item -> strings.add(item.asText()));
        return List.copyOf(strings);
    }

    VideoConstraints constraints(String sourceName) {
        return bySource.getOrDefault(sourceName, defaultConstraints);
    }

    /** The sources that come first, those on stage before the others. */
    List<String> wantedFirst() {
        List<String> wanted = new ArrayList<>(onStageSources);
        selectedSources.stream().filter(name -> !wanted.contains(name)).forEach(wanted::add);
        return wanted;
    }
}
