package jvbtune.bridge.video;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.TreeMap;
import jvbtune.bridge.Packets;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtp;
import org.junit.jupiter.api.Test;

class ProjectionTest {
    private static final int[] TEMPORAL = {0, 2, 1, 2};

    /** One encoding of the sender: two packets a frame, picture ids and sequence numbers that will wrap. */
    private static final class Layer {
        final int index;
        int sequence;
        int picture;
        int tl0 = 250;
        long timestamp;
        int frames;

        Layer(int index) {
            this.index = index;
            sequence = 65_500 + 7 * index;
            picture = 32_750 + index;
            timestamp = 0xffff_0000L + index;
        }

        List<byte[]> frame(boolean key, int packets) {
            int temporal = key ? 0 : TEMPORAL[frames % 4];
            frames = key ? 1 : frames + 1;
            picture = picture + 1 & 0x7fff;
            tl0 = tl0 + (temporal == 0 ? 1 : 0) & 0xff;
            timestamp = timestamp + 3000 & 0xffff_ffffL;
            List<byte[]> all = new ArrayList<>();
            for (int i = 0; i < packets; i++) {
                sequence = sequence + 1 & 0xffff;
                ByteBuffer packet = ByteBuffer.allocate(40);
                packet.put((byte) 0x80).put((byte) (100 | (i == packets - 1 ? 0x80 : 0))).putShort((short) sequence);
                packet.putInt((int) timestamp).putInt(1 + index);
                packet.put((byte) (0x80 | (i == 0 ? 0x10 : 0))).put((byte) 0xe0).putShort((short) (0x8000 | picture));
                packet.put((byte) tl0).put((byte) (temporal << 6));
                packet.put((byte) (key ? 0 : 1)).put((byte) 0).put((byte) 0);
                packet.put((byte) 0x9d).put((byte) 1).put((byte) 0x2a).putShort((short) 0).put((byte) (180 << index)).put(
                        (byte) (180 << index >> 8));
                packet.put((byte) index);
                all.add(packet.array());
            }
            return all;
        }
    }

    /** What a receiver gets of a packet. */
    private record Got(int sequence, long timestamp, int picture, int tl0, int temporal, boolean start, boolean key, int layer) {}

    private final VideoSource source = source();
    private final Projection projection = new Projection(source);
    private final Vp8 vp8 = new Vp8();
    private final Layer[] layers = {new Layer(0), new Layer(1), new Layer(2)};
    private final List<Got> got = new ArrayList<>();
    private Instant now = Instant.ofEpochSecond(1_000_000);
    private int encoding = QualityFilter.SUSPENDED;
    private int temporal = 2;

    private static VideoSource source() {
        try {
            return VideoSource.parse("aa", new ObjectMapper().readTree(
                    "{\"id\":\"aa-v0\",\"sources\":[1,2,3,11,12,13],\"ssrc-groups\":["
                            + "{\"semantics\":\"SIM\",\"sources\":[1,2,3]},{\"semantics\":\"FID\",\"sources\":[1,11]}]}"));
        } catch (java.io.IOException e) {
            throw new AssertionError(e);
        }
    }

    private boolean deliver(byte[] bytes) {
        Packet packet = Packets.of(bytes.clone(), now);
        assertTrue(vp8.parse(packet));
        boolean accepted =
                projection.accept(packet, vp8, source.encoding(Rtp.ssrc(packet)), encoding, encoding < 0 ? -1 : temporal);
        if (accepted) {
            projection.rewrite(packet, vp8);
            assertEquals(1, Rtp.ssrc(packet), "one SSRC, that of the first encoding");
            Vp8 read = new Vp8();
            assertTrue(read.parse(packet));
            got.add(new Got(
                    Rtp.sequenceNumber(packet),
                    Rtp.timestamp(packet),
                    read.pictureId,
                    read.tl0PicIdx,
                    read.temporalLayer,
                    read.startOfFrame,
                    read.startOfFrame && read.keyFrame,
                    packet.getBuffer()[packet.getOffset() + 28]));
        }
        return accepted;
    }

    /** Frames of all encodings, 33 ms each; the first one is a key frame where that is wanted. */
    private void send(int frames, boolean key) {
        for (int i = 0; i < frames; i++) {
            now = now.plusMillis(33);
            for (Layer layer : layers) {
                layer.frame(key && i == 0, 2).forEach(this::deliver);
            }
        }
    }

    private void assertContinuous() {
        for (int i = 1; i < got.size(); i++) {
            Got before = got.get(i - 1);
            Got after = got.get(i);
            String where = i + ": " + before + " " + after;
            assertEquals(1, after.sequence - before.sequence & 0xffff, where);
            assertEquals(after.start ? 1 : 0, after.picture - before.picture & 0x7fff, where);
            assertEquals(after.start && after.temporal == 0 ? 1 : 0, after.tl0 - before.tl0 & 0xff, where);
            assertTrue(after.start == (after.timestamp - before.timestamp & 0xffff_ffffL) > 0, where);
            assertTrue((after.timestamp - before.timestamp & 0xffff_ffffL) < 90_000, where);
            assertTrue(after.layer == before.layer || after.key, where);
        }
    }

    @Test
    void sendsNothingUntilSomethingIsWantedAndBeginsWithAKeyFrame() {
        send(4, true);
        assertEquals(0, got.size());
        encoding = 0;
        send(4, false);
        assertEquals(0, got.size());
        assertTrue(projection.needsKeyFrame());
        send(4, true);
        assertTrue(got.get(0).key);
        assertEquals(8, got.size());
        assertFalse(projection.needsKeyFrame());
        assertContinuous();
    }

    @Test
    void switchesOnKeyFramesAloneAndGoesOnWithoutABreak() {
        encoding = 0;
        send(10, true);
        assertTrue(got.stream().allMatch(packet -> packet.layer == 0));
        encoding = 2;
        send(20, false);
        assertTrue(got.stream().allMatch(packet -> packet.layer == 0), "no key frame, no switch");
        assertTrue(projection.needsKeyFrame());
        send(20, true);
        assertEquals(2, got.get(got.size() - 1).layer);
        encoding = 1;
        send(20, true);
        assertEquals(1, got.get(got.size() - 1).layer);
        assertFalse(projection.needsKeyFrame());
        assertContinuous();
    }

    @Test
    void leavesOutTemporalLayersWithoutAGap() {
        encoding = 1;
        temporal = 0;
        send(41, true);
        assertEquals(20, got.stream().filter(packet -> packet.layer == 1).count() - 2, "one frame of four");
        assertContinuous();
        temporal = 1;
        send(40, false);
        temporal = 2;
        send(40, false);
        assertContinuous();
        assertTrue(got.stream().skip(got.size() - 40).anyMatch(packet -> packet.temporal == 2));
    }

    @Test
    void goesOnWithoutABreakWhereItWasSuspended() {
        encoding = 1;
        send(10, true);
        encoding = QualityFilter.SUSPENDED;
        int before = got.size();
        send(30, true);
        assertEquals(before, got.size());
        encoding = 1;
        send(5, false);
        assertEquals(before, got.size(), "begins with a key frame again");
        send(10, true);
        assertTrue(got.size() > before);
        assertTrue(got.get(before).key);
        for (int i = 1; i < got.size(); i++) {
            assertEquals(1, got.get(i).sequence - got.get(i - 1).sequence & 0xffff);
            assertTrue((got.get(i).timestamp - got.get(i - 1).timestamp & 0xffff_ffffL) < 3000 * 60);
        }
    }

    @Test
    void leavesAGapForWhatTheNetworkLost() {
        encoding = 0;
        send(3, true);
        List<byte[]> frame = layers[0].frame(false, 4);
        deliver(frame.get(0));
        deliver(frame.get(3));
        assertEquals(3, got.get(7).sequence - got.get(6).sequence & 0xffff);
        assertTrue(deliver(frame.get(1)), "what comes late finds its place");
        assertEquals(1, got.get(8).sequence - got.get(6).sequence & 0xffff);
    }

    @Test
    void leavesAGapWhereAFrameWasCutOffByASwitch() {
        encoding = 0;
        send(3, true);
        now = now.plusMillis(400);
        deliver(layers[0].frame(false, 3).get(0));
        encoding = 2;
        int before = got.size();
        layers[2].frame(true, 2).forEach(this::deliver);
        assertEquals(2, got.get(before).sequence - got.get(before - 1).sequence & 0xffff);
    }

    @Test
    void doesNotSwitchAtAKeyFrameBehindWhichFramesWereDropped() {
        encoding = 0;
        send(3, true);
        encoding = 2;
        now = now.plusMillis(400);
        List<byte[]> key = layers[2].frame(true, 1);
        layers[2].frame(false, 1).forEach(this::deliver);
        assertFalse(deliver(key.get(0)));
    }

    /** Against an oracle that knows all packets: whatever is lost or overtaken, each place is given once, in order. */
    @Test
    void keepsTheOrderOfWhatIsSentUnderLossAndReordering() {
        for (int round = 0; round < 200; round++) {
            ProjectionTest test = new ProjectionTest();
            test.underLossAndReordering(new Random(round));
        }
    }

    private void underLossAndReordering(Random random) {
        encoding = 0;
        temporal = random.nextInt(3);
        send(1, true);
        List<byte[]> stream = new ArrayList<>();
        for (int i = 0; i < 60; i++) {
            stream.addAll(layers[0].frame(false, 1 + random.nextInt(4)));
        }
        for (int i = 0; i < stream.size() - 3; i++) {
            if (random.nextInt(10) == 0) {
                stream.add(i + 1 + random.nextInt(3), stream.remove(i));
            }
        }
        stream.removeIf(packet -> random.nextInt(12) == 0);
        TreeMap<Integer, Integer> places = new TreeMap<>();
        int first = 0;
        for (byte[] packet : stream) {
            now = now.plusMillis(5);
            if (deliver(packet)) {
                int original = ByteBuffer.wrap(packet).getShort(2) & 0xffff;
                first = places.isEmpty() ? original : first;
                Integer taken = places.put((int) (short) (original - first), got.get(got.size() - 1).sequence);
                assertEquals(null, taken);
            }
        }
        int before = -1;
        for (int place : places.values()) {
            assertTrue(before < 0 || (short) (place - before) > 0, "two packets in one place, or out of order");
            before = place;
        }
    }
}
