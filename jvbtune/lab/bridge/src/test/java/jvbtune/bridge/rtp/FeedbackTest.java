package jvbtune.bridge.rtp;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.TreeMap;
import jvbtune.bridge.Packets;
import org.junit.jupiter.api.Test;

class FeedbackTest {
    @Test
    void writesPliAndFirAsTheRfcsHaveThem() {
        assertEquals("81ce0002" + "00000001" + "deadbeef", Packets.hex(Feedback.pli(1, 0xdeadbeefL)));
        Packet fir = Feedback.fir(1, 0xdeadbeefL, 7);
        assertEquals("84ce0004" + "00000001" + "00000000" + "deadbeef" + "07000000", Packets.hex(fir));
        assertEquals(0xdeadbeefL, Feedback.firSsrc(fir, fir.getOffset(), fir.getLength()));
    }

    @Test
    void asksForWhatIsMissingAndReadsItBack() {
        List<Integer> missing = List.of(65534, 65535, 0, 14, 15, 40);
        Packet nack = Feedback.nack(1, 2, missing);
        assertEquals("81cd0005" + "00000001" + "00000002" + "fffe8003" + "000f0000" + "00280000", Packets.hex(nack));
        List<Integer> read = new ArrayList<>();
        Feedback.forEachMissing(nack, nack.getOffset(), nack.getLength(), read::add);
        assertEquals(missing, read);
    }

    private static TreeMap<Long, Long> read(Packet packet, long base) {
        TreeMap<Long, Long> received = new TreeMap<>();
        long[] time = {0};
        TransportFeedback.forEach(packet, packet.getOffset(), packet.getLength(), (sequence, came, delta) -> {
            time[0] += delta;
            if (came) {
                received.put(base + (sequence - (int) base & 0xffff), time[0]);
            }
        });
        return received;
    }

    @Test
    void writesTransportFeedbackAsTheDraftHasIt() {
        // 10, 11 and 13 came, 0, 1 and 71 ms after the reference time of 64 ms; 9 and 12 did not.
        Packet packet = TransportFeedback.build(
                1, 2, 5, new long[] {10, 11, 13}, new long[] {64_000, 65_000, 135_000}, 0, 9, new int[1]);
        assertEquals(
                "8fcd0006" + "00000001" + "00000002" + "00090005" + "00000105" + "c520" + "00" + "04" + "0118" + "0000",
                Packets.hex(packet));
    }

    @Test
    void readsBackAnyPatternOfLossAndDelay() {
        Random random = new Random(13);
        for (int round = 0; round < 300; round++) {
            int count = 1 + random.nextInt(400);
            double loss = random.nextDouble();
            double late = random.nextDouble() * random.nextDouble();
            TreeMap<Long, Long> came = new TreeMap<>();
            long micros = 1_000_000_000L + random.nextInt(1_000_000);
            for (long sequence = 65_400; sequence < 65_400 + count; sequence++) {
                micros += random.nextInt(random.nextDouble() < late ? 20_000 : 2_000);
                if (random.nextDouble() >= loss || came.isEmpty()) {
                    // Packets that overtook others have a negative delta.
                    came.put(sequence, micros - random.nextInt(1_000));
                }
            }
            long[] sequences = came.keySet().stream().mapToLong(Long::longValue).toArray();
            long[] times = came.values().stream().mapToLong(Long::longValue).toArray();
            int[] reported = new int[1];
            Packet packet = TransportFeedback.build(1, 2, 0, sequences, times, 0, 65_390, reported);
            assertEquals(sequences.length, reported[0]);
            assertEquals(0, packet.getLength() % 4);
            TreeMap<Long, Long> read = read(packet, 65_390);
            assertEquals(came.keySet(), read.keySet());
            long reference = times[0] / 64_000 * 64_000;
            for (int i = 0; i < sequences.length; i++) {
                assertEquals(times[i] / 250 * 250 - reference, read.get(sequences[i]), "time of " + sequences[i]);
            }
        }
    }

    @Test
    void splitsFeedbackWhereTimesAreTooFarApart() {
        int[] reported = new int[1];
        long[] sequences = {1, 2, 3};
        long[] times = {0, 9_000_000, 9_000_250};
        TransportFeedback.build(1, 2, 0, sequences, times, 0, 1, reported);
        assertEquals(1, reported[0]);
        Packet rest = TransportFeedback.build(1, 2, 1, sequences, times, 1, 2, reported);
        assertEquals(2, reported[0]);
        assertEquals(2, read(rest, 2).size());
    }

    @Test
    void leavesMalformedFeedbackAlone() {
        Packet cut = Packets.of("8fcd0004" + "00000001" + "00000002" + "00090005" + "00000105");
        assertEquals(0, read(cut, 9).size());
    }
}
