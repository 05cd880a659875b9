package jvbtune.bridge.rtp;

/** RTP header extensions (RFC 8285), found and replaced in place. */
public final class HeaderExtensions {
    private static final int ONE_BYTE_PROFILE = 0xbede;
    private static final int TWO_BYTE_PROFILE = 0x1000;

    /** The highest id of a one-byte header. */
    private static final int MAX_ONE_BYTE_ID = 14;

    private HeaderExtensions() {}

    /**
     * Where the data of an extension begins in the packet's buffer.
     *
     * @param id the extension's negotiated id; 0: none was negotiated
     * @param minBytes what the data must have at least
     * @return -1 where the packet has no such extension
     */
    public static int find(Packet packet, int id, int minBytes) {
        byte[] b = packet.getBuffer();
        int start = packet.getOffset();
        if (id == 0 || (b[start] & 0x10) == 0) {
            return -1;
        }
        int at = start + Rtp.HEADER_BYTES + 4 * (b[start] & 0x0f);
        int end = start + packet.getLength();
        if (at + 4 > end) {
            return -1;
        }
        int profile = Rtp.uint16(b, at);
        int last = Math.min(end, at + 4 + 4 * Rtp.uint16(b, at + 2));
        at += 4;
        boolean oneByte = profile == ONE_BYTE_PROFILE;
        if (!oneByte && (profile & 0xfff0) != TWO_BYTE_PROFILE) {
            return -1;
        }
        while (at < last) {
            if (b[at] == 0) { // padding
                at++;
                continue;
            }
            int elementId;
            int elementBytes;
            if (oneByte) {
                elementId = (b[at] & 0xf0) >> 4;
                elementBytes = (b[at] & 0x0f) + 1;
                at += 1;
            } else {
                if (at + 1 >= last) {
                    return -1;
                }
                elementId = b[at] & 0xff;
                elementBytes = b[at + 1] & 0xff;
                at += 2;
            }
            if (elementId == id && elementBytes >= minBytes && at + minBytes <= last) {
                return at;
            }
            at += elementBytes;
        }
        return -1;
    }

    /** The unsigned 16 bits of an extension, {@code transport-cc}'s sequence number; -1 where the packet has none. */
    public static int uint16(Packet packet, int id) {
        int at = find(packet, id, 2);
        return at < 0 ? -1 : Rtp.uint16(packet.getBuffer(), at);
    }

    /**
     * Leaves of the packet's extensions those of one byte that are named, and adds one, before the payload, which stays
     * where it is if the packet has room in front.
     *
     * @param kept ids of one-byte extensions to be kept; 0: none
     * @param id of the one to be added; 0: none
     * @param bytes its length, at most 4
     * @param value its data, in the lower bytes
     */
    public static void replace(Packet packet, int[] kept, int id, int bytes, long value) {
        int elements = 0;
        int headerBytes = id > MAX_ONE_BYTE_ID ? 2 : 1;
        for (int keep : kept) {
            headerBytes = Math.max(headerBytes, keep > MAX_ONE_BYTE_ID ? 2 : 1);
        }
        byte[] data = new byte[kept.length];
        boolean[] has = new boolean[kept.length];
        for (int i = 0; i < kept.length; i++) {
            int at = find(packet, kept[i], 1);
            has[i] = at >= 0;
            data[i] = has[i] ? packet.getBuffer()[at] : 0;
            elements += has[i] ? headerBytes + 1 : 0;
        }
        elements += id == 0 ? 0 : headerBytes + bytes;
        int words = (elements + 3) / 4;
        int at = resize(packet, elements == 0 ? 0 : 4 + 4 * words);
        if (elements == 0) {
            return;
        }
        byte[] b = packet.getBuffer();
        Rtp.putUint16(b, at, headerBytes == 1 ? ONE_BYTE_PROFILE : TWO_BYTE_PROFILE);
        Rtp.putUint16(b, at + 2, words);
        at += 4;
        int end = at + 4 * words;
        for (int i = 0; i < kept.length; i++) {
            if (has[i]) {
                at = putHeader(b, at, headerBytes, kept[i], 1);
                b[at++] = data[i];
            }
        }
        if (id != 0) {
            at = putHeader(b, at, headerBytes, id, bytes);
            for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
                b[at++] = (byte) (value >> shift);
            }
        }
        while (at < end) {
            b[at++] = 0;
        }
    }

    private static int putHeader(byte[] b, int at, int headerBytes, int id, int bytes) {
        if (headerBytes == 1) {
            b[at] = (byte) (id << 4 | bytes - 1);
            return at + 1;
        }
        b[at] = (byte) id;
        b[at + 1] = (byte) bytes;
        return at + 2;
    }

    /** Makes room for extensions of so many bytes, their header included; gives where they begin. */
    private static int resize(Packet packet, int newBytes) {
        byte[] b = packet.getBuffer();
        int start = packet.getOffset();
        int fixed = Rtp.HEADER_BYTES + 4 * (b[start] & 0x0f);
        int oldBytes = Math.max(0, Rtp.payloadOffset(packet) - start - fixed);
        int growth = newBytes - oldBytes;
        if (growth > start) {
            // No room in front: the payload moves back.
            packet.grow(growth);
            b = packet.getBuffer();
            int payload = start + fixed + oldBytes;
            System.arraycopy(b, payload, b, payload + growth, start + packet.getLength() - payload);
        } else {
            System.arraycopy(b, start, b, start - growth, fixed);
            packet.setOffset(start - growth);
        }
        packet.setLength(packet.getLength() + growth);
        start = packet.getOffset();
        b[start] = (byte) (newBytes == 0 ? b[start] & ~0x10 : b[start] | 0x10);
        return start + fixed;
    }
}
