package jvbtune.bridge.video;

import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.ObjIntConsumer;

/**
 * Who receives an endpoint's sources at which height: the sender is told the highest one of each
 * (AbstractEndpoint.addReceiver, ReceiverConstraintsMap.kt). Thread-safe.
 */
public final class SourceReceivers {
    private static final class Receivers {
        final Map<String, Integer> heights = new HashMap<>();
        Integer announced;

        int highest() {
            int highest = 0;
            for (int height : heights.values()) {
                highest = height == VideoConstraints.UNLIMITED || highest == VideoConstraints.UNLIMITED
                        ? VideoConstraints.UNLIMITED
                        : Math.max(highest, height);
            }
            return highest;
        }
    }

    private final ObjIntConsumer<String> onChange;
    private final Map<String, Receivers> bySource = new TreeMap<>();

    /** @param onChange takes a source's name and its new highest height */
    public SourceReceivers(ObjIntConsumer<String> onChange) {
        this.onChange = onChange;
    }

    public synchronized void put(String receiverId, String sourceName, VideoConstraints constraints) {
        Receivers receivers = bySource.computeIfAbsent(sourceName, name -> new Receivers());
        receivers.heights.put(receiverId, constraints.maxHeight());
        announce(sourceName, receivers);
    }

    public synchronized void remove(String receiverId, String sourceName) {
        Receivers receivers = bySource.get(sourceName);
        if (receivers != null && receivers.heights.remove(receiverId) != null) {
            announce(sourceName, receivers);
        }
    }

    public synchronized void remove(String receiverId) {
        bySource.keySet().forEach(sourceName -> remove(receiverId, sourceName));
    }

    private void announce(String sourceName, Receivers receivers) {
        int highest = receivers.highest();
        if (receivers.announced == null || receivers.announced != highest) {
            receivers.announced = highest;
            onChange.accept(sourceName, highest);
        }
    }

    /** Announces all heights once more. */
    public synchronized void repeat() {
        bySource.forEach((sourceName, receivers) -> {
            if (receivers.announced != null) {
                onChange.accept(sourceName, receivers.announced);
            }
        });
    }
}
