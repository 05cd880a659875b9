package jvbtune.bridge.video;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import jvbtune.bridge.Packets;
import org.junit.jupiter.api.Test;

class AllocationTest {
    private static final long UNLIMITED = Long.MAX_VALUE / 2;
    private static final long NOW = 1_000_000_000L;

    private static JsonNode json(String text) {
        try {
            return new ObjectMapper().readTree(text.replace('\'', '"'));
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private static VideoSource source(String owner, int ssrc) {
        return VideoSource.parse(owner, json("{'type': 'video', 'id': '" + owner + "-v0', 'sources': [{'ssrc': " + ssrc
                + ", 'name': 'x'}], 'ssrc-groups': [{'semantics': 'SIM', 'sources': [" + ssrc + ", " + (ssrc + 1) + ", "
                + (ssrc + 2) + "]}]}"));
    }

    /** A source of which all layers come: 100, 200 and 400 kbit/s a temporal layer, a second long. */
    private static VideoSource active(String owner, int ssrc) {
        VideoSource source = source(owner, ssrc);
        for (int encoding = 0; encoding < 3; encoding++) {
            for (int temporal = 0; temporal < 3; temporal++) {
                Vp8 vp8 = new Vp8();
                vp8.parse(Packets.of("80640001" + "00000000" + "00000001" + "90e08001" + "01" + "00c08000".substring(2 * temporal, 2 * temporal + 2) + "0100"));
                vp8.temporalLayer = temporal;
                for (int i = 0; i < 50; i++) {
                    source.measure(encoding, vp8, (100_000 << encoding) / 8 / 50, NOW - 1000 + 20 * i);
                }
            }
        }
        return source;
    }

    private static AllocationSettings settings(String message) {
        return AllocationSettings.initial().with(json(message));
    }

    private static Map<String, Integer> heights(Allocation allocation) {
        Map<String, Integer> heights = new TreeMap<>();
        allocation.targets().forEach((source, layer) -> heights.put(source.owner(), layer.height()));
        return heights;
    }

    private static Allocation allocate(List<VideoSource> sources, String message, long bps) {
        return Allocation.of(sources, settings(message), bps, NOW);
    }

    @Test
    void forwardsNothingBeforeItIsAskedFor() {
        Allocation allocation = Allocation.of(List.of(active("a", 1)), AllocationSettings.initial(), UNLIMITED, NOW);
        assertEquals(Map.of(), heights(allocation));
        assertEquals(Map.of("a-v0", VideoConstraints.NOTHING), allocation.constraints());
        assertEquals(List.of(), allocation.suspended());
    }

    @Test
    void givesEachSourceTheLayerThatItsHeightAllows() {
        List<VideoSource> sources = List.of(active("a", 1), active("b", 11), active("c", 21), active("d", 31), active("e", 41));
        Allocation allocation = allocate(
                sources,
                "{'lastN': -1, 'defaultConstraints': {'maxHeight': 180}, 'constraints': {'b-v0': {'maxHeight': 720},"
                        + " 'c-v0': {'maxHeight': 360}, 'd-v0': {'maxHeight': 0}, 'e-v0': {'maxHeight': 90}}}",
                UNLIMITED);
        assertEquals(Map.of("a", 180, "b", 720, "c", 360, "e", 180), heights(allocation), "90 is rounded up to the lowest");
        assertEquals(Set.of("a-v0", "b-v0", "c-v0", "e-v0"), allocation.forwarded());
    }

    @Test
    void asksForTheDefaultOf180WhereTheFirstMessageNamesNone() {
        AllocationSettings first = settings("{'lastN': 5}");
        assertEquals(180, first.defaultConstraints().maxHeight());
        AllocationSettings second = first.with(json("{'defaultConstraints': {'maxHeight': 720}}")).with(json("{'lastN': 3}"));
        assertEquals(720, second.defaultConstraints().maxHeight());
        assertEquals(3, second.lastN());
    }

    @Test
    void lastNTakesSelectedSourcesThenSpeakersInOrder() {
        List<VideoSource> sources = List.of(active("a", 1), active("b", 11), active("c", 21), active("d", 31));
        String constraints = "'defaultConstraints': {'maxHeight': 180}}";
        assertEquals(Set.of("a-v0", "b-v0"), allocate(sources, "{'lastN': 2, " + constraints, UNLIMITED).forwarded());
        assertEquals(
                Set.of("d-v0", "c-v0"),
                allocate(sources, "{'lastN': 2, 'selectedSources': ['c-v0'], 'onStageSources': ['d-v0'], " + constraints, UNLIMITED)
                        .forwarded());
        assertEquals(Set.of(), allocate(sources, "{'lastN': 0, " + constraints, UNLIMITED).forwarded());
        sources.get(0).setType(VideoSource.Type.NONE);
        assertEquals(Set.of("b-v0"), allocate(sources, "{'lastN': 1, " + constraints, UNLIMITED).forwarded());
    }

    @Test
    void sharesOutTheBandwidthStepByStepInTileView() {
        List<VideoSource> sources = List.of(active("a", 1), active("b", 11));
        String all = "{'defaultConstraints': {'maxHeight': 720}}";
        Allocation little = allocate(sources, all, 700_000);
        assertEquals(Map.of("a", 180, "b", 180), heights(little));
        assertEquals(List.of(), little.suspended());
        Allocation less = allocate(sources, all, 150_000);
        assertEquals(Map.of("a", 180), heights(less));
        assertEquals(List.of("b-v0"), less.suspended());
        Allocation staged = allocate(sources, "{'onStageSources': ['b-v0'], 'defaultConstraints': {'maxHeight': 720}}", 700_000);
        assertEquals(360, heights(staged).get("b"));
    }

    @Test
    void aNewSourceIsAllocatedBeforeItsFirstPacket() {
        assertEquals(Map.of("a", 720), heights(allocate(List.of(source("a", 1)), "{'defaultConstraints': {'maxHeight': 720}}", UNLIMITED)));
    }

    @Test
    void refusesConstraintsThatMakeNoSense() {
        for (String wrong : List.of(
                "{'defaultConstraints': {'maxHeight': -2}}",
                "{'defaultConstraints': {}}",
                "{'constraints': {'a-v0': {'maxHeight': 'high'}}}")) {
            assertThrows(IllegalArgumentException.class, () -> settings(wrong), wrong);
        }
    }

    @Test
    void theSenderIsToldTheHighestHeightOfAllReceivers() {
        List<String> told = new ArrayList<>();
        SourceReceivers receivers = new SourceReceivers((name, height) -> told.add(name + " " + height));
        receivers.put("r1", "s", VideoConstraints.ofHeight(180));
        receivers.put("r2", "s", VideoConstraints.ofHeight(720));
        receivers.put("r3", "s", VideoConstraints.ofHeight(360));
        receivers.put("r4", "s", VideoConstraints.ofHeight(-1));
        receivers.remove("r4");
        receivers.remove("r2", "s");
        receivers.remove("r1");
        receivers.remove("r3");
        assertEquals(List.of("s 180", "s 720", "s -1", "s 720", "s 360", "s 0"), told);
        told.clear();
        receivers.repeat();
        assertEquals(List.of("s 0"), told);
        assertTrue(told.size() == 1);
    }
}
