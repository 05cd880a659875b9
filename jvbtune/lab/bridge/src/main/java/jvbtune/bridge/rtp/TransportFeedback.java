package jvbtune.bridge.rtp;

import java.util.Arrays;

/**
 * Transport-wide congestion control feedback: which packets came, and when
 * (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).
 */
public final class TransportFeedback {
    /** The format of {@link Rtcp#TRANSPORT_FEEDBACK}. */
    public static final int FORMAT = 15;

    private static final int DELTA_MICROS = 250;
    private static final int REFERENCE_MICROS = 64_000;
    private static final int HEADER_BYTES = Feedback.HEADER_BYTES + 8;
    private static final int MAX_RUN = 0x1fff;
    private static final int MAX_STATUSES = 0xffff;
    private static final int NOT_RECEIVED = 0;
    private static final int SMALL_DELTA = 1;
    private static final int LARGE_DELTA = 2;
    private static final int VECTOR_STATUSES = 7;
    private static final int BIT_VECTOR_STATUSES = 14;

    /** Takes the packets that a feedback message reports. */
    @FunctionalInterface
    public interface Visitor {
        /**
         * @param sequence the transport-wide sequence number
         * @param deltaMicros since the packet received before; undefined where it was not received
         */
        void visit(int sequence, boolean received, long deltaMicros);
    }

    private TransportFeedback() {}

    /**
     * A feedback message on packets that were received.
     *
     * @param count the message's own counter
     * @param sequences transport-wide sequence numbers, not wrapped, in order
     * @param micros when each was received
     * @param from the first of them that is to be reported
     * @param window the first sequence number that is to be reported, received or not
     * @param reported takes at 0 how many of them are in the message: fewer than all where times are too far apart
     */
    public static Packet build(
            long senderSsrc,
            long mediaSsrc,
            int count,
            long[] sequences,
            long[] micros,
            int from,
            long window,
            int[] reported) {
        long base = sequences[from] - window < MAX_STATUSES ? window : sequences[from];
        long reference = Math.floorDiv(micros[from], REFERENCE_MICROS);
        long[] ticks = new long[sequences.length - from];
        long last = reference * (REFERENCE_MICROS / DELTA_MICROS);
        int used = 0;
        while (used < ticks.length) {
            long tick = Math.floorDiv(micros[from + used], DELTA_MICROS);
            long delta = tick - last;
            if ((short) delta != delta || sequences[from + used] - base >= MAX_STATUSES) {
                break;
            }
            ticks[used++] = delta;
            last = tick;
        }
        reported[0] = used;
        int statuses = (int) (sequences[from + used - 1] - base) + 1;
        byte[] status = new byte[statuses];
        int deltaBytes = 0;
        for (int i = 0; i < used; i++) {
            boolean small = ticks[i] >= 0 && ticks[i] <= 0xff;
            status[(int) (sequences[from + i] - base)] = (byte) (small ? SMALL_DELTA : LARGE_DELTA);
            deltaBytes += small ? 1 : 2;
        }
        int[] chunks = new int[statuses];
        int chunkCount = chunks(status, chunks);
        int more = 8 + 2 * chunkCount + deltaBytes;
        // Zeros fill the last word; the real bridge sets no padding bit for them either.
        Packet packet = Feedback.packet(Rtcp.TRANSPORT_FEEDBACK, FORMAT, senderSsrc, mediaSsrc, more + 3 & ~3);
        byte[] b = packet.getBuffer();
        int at = packet.getOffset() + Feedback.HEADER_BYTES;
        Rtp.putUint16(b, at, (int) base);
        Rtp.putUint16(b, at + 2, statuses);
        Rtp.putUint32(b, at + 4, (reference & 0xffffff) << 8 | count & 0xff);
        at += 8;
        for (int i = 0; i < chunkCount; i++, at += 2) {
            Rtp.putUint16(b, at, chunks[i]);
        }
        for (int i = 0; i < used; i++) {
            if (ticks[i] >= 0 && ticks[i] <= 0xff) {
                b[at++] = (byte) ticks[i];
            } else {
                Rtp.putUint16(b, at, (int) ticks[i]);
                at += 2;
            }
        }
        return packet;
    }

    /** Run lengths where they are longer than a vector, else vectors; gives the number of chunks. */
    private static int chunks(byte[] status, int[] chunks) {
        int count = 0;
        int at = 0;
        while (at < status.length) {
            int run = 1;
            while (at + run < status.length && run < MAX_RUN && status[at + run] == status[at]) {
                run++;
            }
            if (run >= BIT_VECTOR_STATUSES || at + run == status.length) {
                chunks[count++] = status[at] << 13 | run;
                at += run;
                continue;
            }
            boolean large = false;
            for (int i = at; i < Math.min(status.length, at + BIT_VECTOR_STATUSES); i++) {
                large |= status[i] == LARGE_DELTA;
            }
            int length = Math.min(large ? VECTOR_STATUSES : BIT_VECTOR_STATUSES, status.length - at);
            int chunk = large ? 0xc000 : 0x8000;
            for (int i = 0; i < length; i++) {
                chunk |= large ? status[at + i] << 2 * (VECTOR_STATUSES - 1 - i) : status[at + i] << 13 - i;
            }
            chunks[count++] = chunk;
            at += length;
        }
        return count;
    }

    /** Visits what a message reports; ends where it is malformed. */
    public static void forEach(Packet compound, int at, int bytes, Visitor visitor) {
        byte[] b = compound.getBuffer();
        int end = at + bytes;
        if (bytes < HEADER_BYTES) {
            return;
        }
        int sequence = Rtp.uint16(b, at + Feedback.HEADER_BYTES);
        int left = Rtp.uint16(b, at + Feedback.HEADER_BYTES + 2);
        byte[] status = new byte[left];
        int chunkAt = at + HEADER_BYTES;
        int known = 0;
        while (known < left && chunkAt + 2 <= end) {
            int chunk = Rtp.uint16(b, chunkAt);
            chunkAt += 2;
            if ((chunk & 0x8000) == 0) {
                int run = Math.min(chunk & MAX_RUN, left - known);
                Arrays.fill(status, known, known + run, (byte) (chunk >> 13 & 3));
                known += run;
            } else if ((chunk & 0x4000) == 0) {
                for (int i = 0; i < BIT_VECTOR_STATUSES && known < left; i++) {
                    status[known++] = (byte) (chunk >> 13 - i & 1);
                }
            } else {
                for (int i = 0; i < VECTOR_STATUSES && known < left; i++) {
                    status[known++] = (byte) (chunk >> 2 * (VECTOR_STATUSES - 1 - i) & 3);
                }
            }
        }
        int deltaAt = chunkAt;
        for (int i = 0; i < known; i++) {
            int size = status[i] == SMALL_DELTA ? 1 : status[i] == LARGE_DELTA ? 2 : 0;
            if (deltaAt + size > end) {
                return;
            }
            long ticks = size == 1 ? b[deltaAt] & 0xff : size == 2 ? (short) Rtp.uint16(b, deltaAt) : 0;
            deltaAt += size;
            visitor.visit(sequence + i & 0xffff, status[i] != NOT_RECEIVED && size > 0, ticks * DELTA_MICROS);
        }
    }
}
