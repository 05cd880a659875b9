package jvbtune.bridge.rtp;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import org.junit.jupiter.api.Test;

class RtpTest {
    private static final String HEADER = "906f0102" + "00000064" + "deadbeef";

    private static Packet packet(String hex) {
        byte[] bytes = HexFormat.of().parseHex(hex);
        byte[] buffer = new byte[Packet.HEADROOM_BYTES + bytes.length + Packet.TAILROOM_BYTES];
        System.arraycopy(bytes, 0, buffer, Packet.HEADROOM_BYTES, bytes.length);
        return new Packet(buffer, Packet.HEADROOM_BYTES, bytes.length, Instant.EPOCH);
    }

    @Test
    void readsTheFixedHeader() {
        Packet packet = packet(HEADER);
        assertEquals(111, Rtp.payloadType(packet));
        assertEquals(0x0102, Rtp.sequenceNumber(packet));
        assertEquals(100, Rtp.timestamp(packet));
        assertEquals(0xdeadbeefL, Rtp.ssrc(packet));
    }

    @Test
    void tellsProtocolsApartByTheFirstBytes() {
        assertTrue(Rtp.looksLikeRtp(packet(HEADER)));
        assertFalse(Rtp.looksLikeRtcp(packet(HEADER)));
        assertTrue(Rtp.looksLikeRtcp(packet("80c80006" + "00000001" + "00000000")));
        assertFalse(Rtp.looksLikeRtp(packet("80c80006" + "00000001" + "00000000")));
        assertTrue(Rtp.looksLikeDtls(new byte[] {22}, 0, 1));
        assertFalse(Rtp.looksLikeDtls(new byte[] {0}, 0, 1));
    }

    @Test
    void findsTheAudioLevelInOneByteExtensions() {
        // id 3 of two bytes, padding, then id 1 with level 20 and the voice bit
        assertEquals(20, Rtp.audioLevel(packet(HEADER + "bede0002" + "31aabb00" + "10940000" + "ff"), 1));
    }

    @Test
    void findsTheAudioLevelInTwoByteExtensions() {
        assertEquals(127, Rtp.audioLevel(packet(HEADER + "10000001" + "01017f00"), 1));
    }

    @Test
    void hasNoAudioLevelWhereThereIsNone() {
        assertEquals(Rtp.NO_AUDIO_LEVEL, Rtp.audioLevel(packet(HEADER + "bede0001" + "10940000"), 2));
        assertEquals(Rtp.NO_AUDIO_LEVEL, Rtp.audioLevel(packet(HEADER + "bede0001" + "10940000"), 0));
        assertEquals(Rtp.NO_AUDIO_LEVEL, Rtp.audioLevel(packet("80" + HEADER.substring(2)), 1));
        assertEquals(Rtp.NO_AUDIO_LEVEL, Rtp.audioLevel(packet(HEADER + "bede00ff" + "20"), 1));
        // What stands behind the extensions is payload.
        assertEquals(Rtp.NO_AUDIO_LEVEL, Rtp.audioLevel(packet(HEADER + "bede0000" + "10940000"), 1));
    }

    private static Packet senderReport(Packet compound) {
        Packet[] found = new Packet[1];
        Rtcp.forEach(compound, (type, count, at, bytes) -> {
            if (type == Rtcp.SENDER_REPORT) {
                found[0] = Rtcp.senderReport(compound, at, bytes);
            }
        });
        return found[0];
    }

    @Test
    void takesTheSenderReportOutOfACompound() {
        String report = "81c8000c" + "deadbeef" + "1122334455667788" + "00000064" + "00000001" + "00000002" + "00".repeat(24);
        Packet found = senderReport(packet("80ca0001" + "deadbeef" + report));
        assertEquals(28, found.getLength());
        assertEquals(0xdeadbeefL, Rtcp.senderSsrc(found));
        assertEquals(0x33445566L, Rtcp.compactNtp(found));
        Rtcp.setSenderCounts(found, 7, 8);
        byte[] bytes = new byte[28];
        found.readRegionToBuff(0, 28, bytes);
        assertEquals(
                "80c80006" + "deadbeef" + "1122334455667788" + "00000064" + "00000007" + "00000008",
                HexFormat.of().formatHex(bytes));
    }

    @Test
    void givesNoSenderReportOfAMalformedCompound() {
        assertNull(senderReport(packet("80c800ff" + "deadbeef" + "00".repeat(20))));
        assertNull(senderReport(packet("80c90001" + "deadbeef")));
    }

    @Test
    void writesReceiverReportsAsTheRfcHasThem() {
        Packet report = Rtcp.receiverReport(1, List.of(new Rtcp.ReportBlock(2, 64, -1, 0x10005, 3, 4, 5)));
        byte[] bytes = new byte[report.getLength()];
        report.readRegionToBuff(0, bytes.length, bytes);
        assertEquals(
                "81c90007" + "00000001" + "00000002" + "40ffffff" + "00010005" + "00000003" + "00000004" + "00000005",
                HexFormat.of().formatHex(bytes));
    }
}
