package jvbtune.bridge.media;

import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.TransportFeedback;

/**
 * Tells a sender which of its packets came, and when (TccGeneratorNode.kt): every 100 ms, or after 20 ms with the last
 * packet of a frame. Not thread-safe.
 */
final class TccGenerator {
    private static final long INTERVAL_NANOS = 100_000_000;
    private static final long FRAME_INTERVAL_NANOS = 20_000_000;

    private final long senderSsrc;
    private final Consumer<Packet> out;
    private final TreeMap<Long, Long> arrivals = new TreeMap<>();
    private long highest = -1;
    private long windowStart = -1;
    private long lastSentNanos;
    private boolean started;
    private int count;

    /** @param out takes the feedback over, in the clear */
    TccGenerator(long senderSsrc, Consumer<Packet> out) {
        this.senderSsrc = senderSsrc;
        this.out = out;
    }

    /**
     * @param sequence the packet's transport-wide sequence number
     * @param marker whether it ends a frame
     */
    void received(int sequence, Instant time, boolean marker, long ssrc, long nowNanos) {
        long index = unwrap(sequence);
        if (windowStart < 0 || index < windowStart) {
            windowStart = index;
        }
        arrivals.putIfAbsent(index, ChronoUnit.MICROS.between(Instant.EPOCH, time));
        if (!started) {
            started = true;
            lastSentNanos = nowNanos;
            return;
        }
        long since = nowNanos - lastSentNanos;
        if (since >= INTERVAL_NANOS || (since >= FRAME_INTERVAL_NANOS && marker)) {
            lastSentNanos = nowNanos;
            send(ssrc);
        }
    }

    private void send(long ssrc) {
        long[] sequences = new long[arrivals.size()];
        long[] micros = new long[arrivals.size()];
        int n = 0;
        for (Map.Entry<Long, Long> arrival : arrivals.entrySet()) {
            sequences[n] = arrival.getKey();
            micros[n++] = arrival.getValue();
        }
        int[] reported = new int[1];
        for (int from = 0; from < n; from += reported[0]) {
            long window = from == 0 ? windowStart : sequences[from];
            out.accept(TransportFeedback.build(senderSsrc, ssrc, count++, sequences, micros, from, window, reported));
        }
        windowStart = sequences[n - 1] + 1;
        arrivals.clear();
    }

    /** The sequence number without its wrap at 2^16; starts above 2^16, so that earlier ones stay positive. */
    private long unwrap(int sequence) {
        if (highest < 0) {
            highest = 0x10000L + sequence;
            return highest;
        }
        long index = highest + (short) (sequence - (int) highest);
        highest = Math.max(highest, index);
        return index;
    }
}
