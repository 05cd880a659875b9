package jvbtune.bridge.media;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import jvbtune.bridge.TaskPools;
import jvbtune.bridge.rtp.Feedback;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtp;

/** Asks a sender for what is missing of its video streams: at once, then every 150 ms (RetransmissionRequester.kt). */
final class RetransmissionRequester {
    private static final int MAX_GAP = 100;
    private static final int MAX_REQUESTS = 10;
    private static final long INTERVAL_MILLIS = 150;

    private static final class Stream {
        int highest;

        /** How often each missing packet was asked for. */
        final Map<Integer, Integer> missing = new TreeMap<>();
    }

    private final long senderSsrc;
    private final Consumer<Packet> out;
    private final Map<Long, Stream> streams = new HashMap<>();
    private ScheduledFuture<?> repeating;

    /** @param out takes the requests over, in the clear */
    RetransmissionRequester(long senderSsrc, Consumer<Packet> out) {
        this.senderSsrc = senderSsrc;
        this.out = out;
    }

    /** @return false for a packet that came before */
    synchronized boolean received(long ssrc, int sequence) {
        Stream stream = streams.get(ssrc);
        if (stream == null) {
            stream = new Stream();
            stream.highest = sequence;
            streams.put(ssrc, stream);
            return true;
        }
        int ahead = Rtp.sequenceDelta(sequence, stream.highest);
        if (ahead == 0) {
            return false;
        }
        if (ahead < 0) {
            // One that is not missing has come already, or is given up; the latter is late, and may still be of use.
            return stream.missing.remove(sequence) != null || -ahead > MAX_GAP;
        }
        if (ahead > MAX_GAP) {
            stream.missing.clear();
        } else if (ahead > 1) {
            List<Integer> gap = new ArrayList<>(ahead - 1);
            for (int i = 1; i < ahead; i++) {
                gap.add(stream.highest + i & 0xffff);
            }
            request(ssrc, stream, gap);
            if (repeating == null) {
                repeating = TaskPools.SCHEDULED.scheduleAtFixedRate(
                        this::repeat, INTERVAL_MILLIS, INTERVAL_MILLIS, TimeUnit.MILLISECONDS);
            }
        }
        stream.highest = sequence;
        return true;
    }

    private void request(long ssrc, Stream stream, Collection<Integer> missing) {
        out.accept(Feedback.nack(senderSsrc, ssrc, missing));
        missing.forEach(sequence -> stream.missing.merge(sequence, 1, Integer::sum));
        stream.missing.values().removeIf(times -> times >= MAX_REQUESTS);
    }

    private synchronized void repeat() {
        boolean any = false;
        for (Map.Entry<Long, Stream> entry : streams.entrySet()) {
            Stream stream = entry.getValue();
            if (!stream.missing.isEmpty()) {
                request(entry.getKey(), stream, List.copyOf(stream.missing.keySet()));
                any = true;
            }
        }
        if (!any) {
            close();
        }
    }

    synchronized void close() {
        if (repeating != null) {
            repeating.cancel(false);
            repeating = null;
        }
    }
}
