package jvbtune.bridge.media;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.TransportFeedback;
import org.junit.jupiter.api.Test;

class TccGeneratorTest {
    private final List<Packet> sent = new ArrayList<>();
    private final TccGenerator generator = new TccGenerator(1, sent::add);
    private long millis = 1_000_000;

    private void receive(int sequence, boolean marker, int afterMillis) {
        millis += afterMillis;
        generator.received(sequence & 0xffff, Instant.ofEpochMilli(millis), marker, 2, millis * 1_000_000);
    }

    private String reported() {
        StringBuilder text = new StringBuilder();
        Packet packet = sent.remove(0);
        TransportFeedback.forEach(packet, packet.getOffset(), packet.getLength(), (sequence, received, delta) ->
                text.append(sequence).append(received ? "+ " : "- "));
        return text.toString().trim();
    }

    @Test
    void reportsEvery100MillisecondsOrAfter20AtTheEndOfAFrame() {
        receive(65534, false, 0);
        receive(65535, true, 19);
        assertEquals(0, sent.size());
        receive(0, true, 1);
        assertEquals("65534+ 65535+ 0+", reported());
        receive(1, false, 99);
        assertEquals(0, sent.size());
        receive(2, false, 1);
        assertEquals("1+ 2+", reported());
    }

    @Test
    void reportsLossesAlsoBetweenTwoReports() {
        receive(10, false, 0);
        receive(12, true, 30);
        assertEquals("10+ 11- 12+", reported());
        receive(15, true, 30);
        assertEquals("13- 14- 15+", reported());
    }

    @Test
    void reportsAPacketThatComesLate() {
        receive(10, false, 0);
        receive(12, true, 30);
        assertEquals("10+ 11- 12+", reported());
        receive(11, true, 30);
        assertEquals("11+", reported());
        // 12 was reported before: the real bridge forgets that too, and a sender keeps what it heard first.
        receive(13, true, 30);
        assertEquals("12- 13+", reported());
    }
}
