package jvbtune.bridge;

import java.time.Instant;
import java.util.HexFormat;
import jvbtune.bridge.rtp.Packet;

/** Packets for tests, with the room around them that the bridge's own have. */
public final class Packets {
    private Packets() {}

    public static Packet of(String hex) {
        return of(HexFormat.of().parseHex(hex), Instant.EPOCH);
    }

    public static Packet of(byte[] bytes, Instant received) {
        byte[] buffer = new byte[Packet.HEADROOM_BYTES + bytes.length + Packet.TAILROOM_BYTES];
        System.arraycopy(bytes, 0, buffer, Packet.HEADROOM_BYTES, bytes.length);
        return new Packet(buffer, Packet.HEADROOM_BYTES, bytes.length, received);
    }

    public static String hex(Packet packet) {
        byte[] bytes = new byte[packet.getLength()];
        packet.readRegionToBuff(0, bytes.length, bytes);
        return HexFormat.of().formatHex(bytes);
    }
}
