package jvbtune.bridge.media;

import java.util.HashMap;
import java.util.Map;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtp;

/**
 * What was sent lately of each video stream, for NACKs (PacketCache.kt): 500 packets of a stream as in the real bridge,
 * but not more than 2000 of a receiver. Thread-safe.
 */
final class PacketCache {
    private static final int STREAM_PACKETS = 500;
    private static final int ALL_PACKETS = 2000;

    private static final class Stream {
        final Packet[] packets = new Packet[STREAM_PACKETS];
        final long[] sentNanos = new long[STREAM_PACKETS];
        int newest = -1;
    }

    private final Map<Long, Stream> streams = new HashMap<>();
    private int size;
    private boolean closed;

    /** Keeps a copy. */
    synchronized void add(Packet packet, long nowNanos) {
        if (closed) {
            return;
        }
        Stream stream = streams.computeIfAbsent(Rtp.ssrc(packet), ssrc -> new Stream());
        int sequence = Rtp.sequenceNumber(packet);
        int slot = sequence % STREAM_PACKETS;
        drop(stream, slot);
        if (size >= ALL_PACKETS) {
            // The oldest of this stream; another stream's, where this one is new.
            for (int i = 1; i < STREAM_PACKETS && size >= ALL_PACKETS; i++) {
                drop(stream, (slot + i) % STREAM_PACKETS);
            }
        }
        if (size < ALL_PACKETS) {
            stream.packets[slot] = packet.copy();
            stream.sentNanos[slot] = nowNanos;
            size++;
        }
    }

    private void drop(Stream stream, int slot) {
        Packet old = stream.packets[slot];
        if (old != null) {
            stream.packets[slot] = null;
            old.release();
            size--;
        }
    }

    /**
     * A copy of a packet, and now as its time of sending.
     *
     * @param minAgeNanos a packet that was sent later is on its way: none is given
     * @return null where there is none
     */
    synchronized Packet get(long ssrc, int sequence, long nowNanos, long minAgeNanos) {
        Stream stream = streams.get(ssrc);
        int slot = sequence % STREAM_PACKETS;
        Packet found = stream == null ? null : stream.packets[slot];
        if (found == null
                || Rtp.sequenceNumber(found) != sequence
                || nowNanos - stream.sentNanos[slot] < minAgeNanos) {
            return null;
        }
        stream.sentNanos[slot] = nowNanos;
        return found.copy();
    }

    synchronized void close() {
        closed = true;
        for (Stream stream : streams.values()) {
            for (int slot = 0; slot < STREAM_PACKETS; slot++) {
                drop(stream, slot);
            }
        }
        streams.clear();
    }
}
