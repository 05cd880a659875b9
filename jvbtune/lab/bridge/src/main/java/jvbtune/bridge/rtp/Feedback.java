package jvbtune.bridge.rtp;

import java.util.Arrays;
import java.util.Collection;
import java.util.function.IntConsumer;
import jvbtune.bridge.BufferPool;

/** RTCP feedback messages: NACK, PLI (RFC 4585 section 6) and FIR (RFC 5104 section 4.3.1). */
public final class Feedback {
    /** Formats of {@link Rtcp#TRANSPORT_FEEDBACK}. */
    public static final int NACK = 1;

    /** Formats of {@link Rtcp#PAYLOAD_FEEDBACK}. */
    public static final int PLI = 1;

    public static final int FIR = 4;

    /** Header, sender's SSRC, media's SSRC. */
    static final int HEADER_BYTES = 12;

    private Feedback() {}

    /** The SSRC of the stream that a NACK or a PLI is about. */
    public static long mediaSsrc(Packet compound, int at) {
        return Rtp.uint32(compound.getBuffer(), at + 8);
    }

    /** The SSRC that a FIR's first entry is about; -1 where it has none. */
    public static long firSsrc(Packet compound, int at, int bytes) {
        return bytes < HEADER_BYTES + 8 ? -1 : Rtp.uint32(compound.getBuffer(), at + HEADER_BYTES);
    }

    /** Gives each sequence number that a NACK asks for. */
    public static void forEachMissing(Packet compound, int at, int bytes, IntConsumer missing) {
        byte[] b = compound.getBuffer();
        for (int item = at + HEADER_BYTES; item + 4 <= at + bytes; item += 4) {
            int first = Rtp.uint16(b, item);
            missing.accept(first);
            int following = Rtp.uint16(b, item + 2);
            for (int i = 0; i < 16; i++) {
                if ((following >> i & 1) != 0) {
                    missing.accept(first + i + 1 & 0xffff);
                }
            }
        }
    }

    public static Packet pli(long senderSsrc, long mediaSsrc) {
        return packet(Rtcp.PAYLOAD_FEEDBACK, PLI, senderSsrc, mediaSsrc, 0);
    }

    /** @param command counted by the requester, one more for each request */
    public static Packet fir(long senderSsrc, long mediaSsrc, int command) {
        Packet fir = packet(Rtcp.PAYLOAD_FEEDBACK, FIR, senderSsrc, 0, 8);
        int at = fir.getOffset() + HEADER_BYTES;
        Rtp.putUint32(fir.getBuffer(), at, mediaSsrc);
        Rtp.putUint32(fir.getBuffer(), at + 4, (long) (command & 0xff) << 24);
        return fir;
    }

    /** @param missing sequence numbers, in order */
    public static Packet nack(long senderSsrc, long mediaSsrc, Collection<Integer> missing) {
        int[] items = new int[missing.size()];
        int count = 0;
        for (int sequence : missing) {
            int behind = count == 0 ? 0 : sequence - (items[count - 1] >>> 16) & 0xffff;
            if (count > 0 && behind >= 1 && behind <= 16) {
                items[count - 1] |= 1 << behind - 1;
            } else {
                items[count++] = sequence << 16;
            }
        }
        Packet nack = packet(Rtcp.TRANSPORT_FEEDBACK, NACK, senderSsrc, mediaSsrc, 4 * count);
        for (int i = 0; i < count; i++) {
            Rtp.putUint32(nack.getBuffer(), nack.getOffset() + HEADER_BYTES + 4 * i, items[i]);
        }
        return nack;
    }

    /** A feedback message with so many zero bytes behind its header. */
    static Packet packet(int type, int format, long senderSsrc, long mediaSsrc, int moreBytes) {
        int length = HEADER_BYTES + moreBytes;
        byte[] b = BufferPool.get(Packet.HEADROOM_BYTES + length + Packet.TAILROOM_BYTES);
        int at = Packet.HEADROOM_BYTES;
        Arrays.fill(b, at, at + length, (byte) 0);
        b[at] = (byte) (0x80 | format);
        b[at + 1] = (byte) type;
        Rtp.putUint16(b, at + 2, length / 4 - 1);
        Rtp.putUint32(b, at + 4, senderSsrc);
        Rtp.putUint32(b, at + 8, mediaSsrc);
        return new Packet(b, at, length, null);
    }
}
