package jvbtune.bridge.rtp;

import static org.junit.jupiter.api.Assertions.assertEquals;

import jvbtune.bridge.Packets;
import org.junit.jupiter.api.Test;

class HeaderExtensionsTest {
    private static final String FIXED = "6f0102" + "00000064" + "deadbeef";
    private static final int[] LEVEL_AND_ORIENTATION = {1, 11};

    private static String replaced(String hex, int[] kept, int id, int bytes, long value) {
        Packet packet = Packets.of(hex);
        HeaderExtensions.replace(packet, kept, id, bytes, value);
        return Packets.hex(packet);
    }

    @Test
    void addsAnExtensionToAPacketThatHasNone() {
        assertEquals(
                "90" + FIXED + "bede0001" + "51123400" + "ffee",
                replaced("80" + FIXED + "ffee", LEVEL_AND_ORIENTATION, 5, 2, 0x1234));
    }

    @Test
    void keepsWhatIsNamedAndLeavesOutTheRest() {
        // abs-send-time 3, audio level 1, orientation 11, transport-cc 5
        String before = "90" + FIXED + "bede0003" + "32aabbcc" + "1085b002" + "5177770000".substring(0, 8) + "ffee";
        assertEquals(
                "90" + FIXED + "bede0002" + "1085b002" + "51000900" + "ffee",
                replaced(before, LEVEL_AND_ORIENTATION, 5, 2, 9));
    }

    @Test
    void leavesNoHeaderWhereNothingStays() {
        assertEquals("80" + FIXED + "ffee", replaced("90" + FIXED + "bede0001" + "32aabbcc" + "ffee", new int[] {1}, 0, 0, 0));
    }

    @Test
    void writesTwoByteHeadersForHighIds() {
        assertEquals(
                "90" + FIXED + "10000002" + "01018514" + "02123400" + "ff",
                replaced("90" + FIXED + "bede0001" + "10850000" + "ff", new int[] {1}, 20, 2, 0x1234));
    }

    @Test
    void readsWhatItWrote() {
        Packet packet = Packets.of("82" + FIXED + "0000000100000002" + "ffee");
        HeaderExtensions.replace(packet, new int[0], 5, 2, 0xfffe);
        assertEquals(0xfffe, HeaderExtensions.uint16(packet, 5));
        assertEquals(-1, HeaderExtensions.uint16(packet, 4));
        assertEquals("ffee", Packets.hex(packet).substring(2 * (Rtp.payloadOffset(packet) - packet.getOffset())));
    }

    @Test
    void movesThePayloadWhereThereIsNoRoomInFront() {
        byte[] bytes = java.util.HexFormat.of().parseHex("80" + FIXED + "ffee");
        Packet packet = new Packet(bytes, 0, bytes.length, null);
        HeaderExtensions.replace(packet, new int[0], 5, 2, 7);
        assertEquals("90" + FIXED + "bede0001" + "51000700" + "ffee", Packets.hex(packet));
    }

    @Test
    void wrapsRetransmissionsAndUnwrapsThem() {
        String original = "90e4f1a2" + "00000064" + "deadbeef" + "bede0001" + "51000900" + "aabbcc";
        Packet packet = Packets.of(original);
        Rtp.wrapRtx(packet, 0x0badcafeL, 96, 3);
        assertEquals(
                "90e00003" + "00000064" + "0badcafe" + "bede0001" + "51000900" + "f1a2" + "aabbcc", Packets.hex(packet));
        assertEquals(true, Rtp.unwrapRtx(packet, 0xdeadbeefL, 100));
        assertEquals(original, Packets.hex(packet));
        assertEquals(false, Rtp.unwrapRtx(Packets.of("80600003" + "00000064" + "0badcafe"), 1, 100), "padding alone");
    }
}
