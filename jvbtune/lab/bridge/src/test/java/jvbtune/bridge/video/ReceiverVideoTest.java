package jvbtune.bridge.video;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import jvbtune.bridge.Packets;
import jvbtune.bridge.rtp.Packet;
import org.junit.jupiter.api.Test;

class ReceiverVideoTest implements ReceiverVideo.Host {
    private static final String KEY_FRAME = "80e40001" + "00000bb8" + "00000001" + "90e08001" + "0100" + "0000009d012a0005d002";
    private static final String FRAME = "80e40002" + "00001770" + "00000001" + "90e08002" + "0200" + "010000";

    private final VideoSource source = VideoSource.parse("aa", json(
            "{'id':'aa-v0','sources':[1,2,3],'ssrc-groups':[{'semantics':'SIM','sources':[1,2,3]}]}"));
    private final ReceiverVideo receiver = new ReceiverVideo(this);
    private final Vp8 vp8 = new Vp8();
    private final List<String> events = new ArrayList<>();
    private List<VideoSource> sources = List.of(source);

    private static JsonNode json(String text) {
        try {
            return new ObjectMapper().readTree(text.replace('\'', '"'));
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private void ask(String message) {
        receiver.change(settings -> settings.with(json(message)));
    }

    private boolean accepts(String hex) {
        Packet packet = Packets.of(hex);
        assertTrue(vp8.parse(packet));
        return receiver.accept(packet, vp8, source, 0);
    }

    @Override
    public List<VideoSource> sources() {
        return sources;
    }

    @Override
    public void forwardedSourcesChanged(Set<String> names) {
        events.add("forwarded " + names);
    }

    @Override
    public void constraintsChanged(Map<String, VideoConstraints> before, Map<String, VideoConstraints> now) {
        now.forEach((name, constraints) -> events.add(name + " " + constraints.maxHeight()));
    }

    @Override
    public void keyFrameNeeded(VideoSource of) {
        events.add("key frame");
    }

    @Test
    void asksForAKeyFrameOnlyWhileItWaitsForOne() {
        receiver.update();
        assertFalse(accepts(KEY_FRAME));
        ask("{'defaultConstraints': {'maxHeight': 180}}");
        assertEquals(List.of("aa-v0 0", "forwarded [aa-v0]", "aa-v0 180"), events);
        events.clear();
        assertFalse(accepts(FRAME));
        assertEquals(List.of("key frame"), events);
        assertTrue(accepts(KEY_FRAME.replace("80e40001" + "00000bb8", "80e40003" + "00002328")));
        assertTrue(accepts(FRAME.replace("80e40002" + "00001770", "80e40004" + "00002ee0")));
        assertEquals(1, events.size(), "one request, until the key frame came");
    }

    @Test
    void tellsNothingThatHasNotChanged() {
        ask("{'defaultConstraints': {'maxHeight': 180}}");
        events.clear();
        ask("{'defaultConstraints': {'maxHeight': 180}}");
        receiver.update();
        assertEquals(List.of(), events);
        sources = List.of();
        receiver.update();
        assertEquals(List.of("forwarded []"), events);
        assertFalse(accepts(KEY_FRAME), "the source has gone");
    }

    @Test
    void ofAnotherCodecTheFirstEncodingGoesThroughAsItIs() {
        Packet packet = Packets.of(FRAME);
        receiver.update();
        assertFalse(receiver.accept(packet, null, source, 0));
        ask("{'defaultConstraints': {'maxHeight': 720}}");
        assertTrue(receiver.accept(packet, null, source, 0));
        assertFalse(receiver.accept(packet, null, source, 1));
        assertTrue(receiver.rewrite(packet, null, source));
        assertEquals(FRAME, Packets.hex(packet));
    }

    @Test
    void theBandwidthCountsOnlyWithRetransmissions() {
        long begin = System.currentTimeMillis() - 800;
        for (int temporal = 0; temporal < 3; temporal++) {
            Packet packet = Packets.of(KEY_FRAME);
            vp8.parse(packet);
            vp8.temporalLayer = temporal;
            for (int i = 0; i < 20; i++) {
                source.measure(0, vp8, 5000, begin + 40 * i);
            }
        }
        ask("{'defaultConstraints': {'maxHeight': 720}}");
        receiver.setBandwidth(30_000);
        assertEquals(Set.of("aa-v0"), receiver.forwardedSources());
        receiver.setSupportsRtx(true);
        receiver.update();
        assertEquals(Set.of(), receiver.forwardedSources());
        assertTrue(receiver.hasSuspendedSources());
        receiver.setBandwidth(33_000);
        receiver.setBandwidth(20_000_000);
        assertEquals(Set.of("aa-v0"), receiver.forwardedSources());
    }
}
