package jvbtune.bridge.rtp;

import java.time.Instant;
import jvbtune.bridge.BufferPool;
import org.jitsi.utils.ByteArrayBuffer;

/** One packet in a pooled buffer, with the time at which the socket's reader took it. Not thread-safe; one owner. */
public final class Packet implements ByteArrayBuffer {
    /** Room before the packet, as JVB leaves it (RtpPacket.BYTES_TO_LEAVE_AT_START_OF_PACKET). */
    public static final int HEADROOM_BYTES = 10;

    /** Room after the packet for the SRTP and SRTCP trailers (Packet.BYTES_TO_LEAVE_AT_END_OF_PACKET). */
    public static final int TAILROOM_BYTES = 40;

    private byte[] buffer;
    private int offset;
    private int length;

    /** When the reader of the socket got it; null for a packet that the bridge made. */
    public final Instant receivedTime;

    public Packet(byte[] buffer, int offset, int length, Instant receivedTime) {
        this.buffer = buffer;
        this.offset = offset;
        this.length = length;
        this.receivedTime = receivedTime;
    }

    /** A packet of its own with the same bytes. */
    public Packet copy() {
        byte[] bytes = BufferPool.get(HEADROOM_BYTES + length + TAILROOM_BYTES);
        System.arraycopy(buffer, offset, bytes, HEADROOM_BYTES, length);
        return new Packet(bytes, HEADROOM_BYTES, length, receivedTime);
    }

    /** Gives the buffer back. The packet must not be used afterwards. */
    public void release() {
        byte[] bytes = buffer;
        buffer = null;
        if (bytes != null) {
            BufferPool.put(bytes);
        }
    }

    @Override
    public byte[] getBuffer() {
        return buffer;
    }

    @Override
    public int getOffset() {
        return offset;
    }

    @Override
    public int getLength() {
        return length;
    }

    @Override
    public void setLength(int length) {
        this.length = length;
    }

    @Override
    public void setOffset(int offset) {
        this.offset = offset;
    }

    @Override
    public boolean isInvalid() {
        return buffer == null || length < 0 || offset < 0 || offset + length > buffer.length;
    }

    @Override
    public void readRegionToBuff(int off, int len, byte[] out) {
        System.arraycopy(buffer, offset + off, out, 0, len);
    }

    @Override
    public void grow(int bytes) {
        if (offset + length + bytes > buffer.length) {
            byte[] larger = new byte[offset + length + bytes];
            System.arraycopy(buffer, offset, larger, offset, length);
            buffer = larger;
        }
    }

    @Override
    public void append(byte[] data, int bytes) {
        grow(bytes);
        System.arraycopy(data, 0, buffer, offset + length, bytes);
        length += bytes;
    }

    @Override
    public void shrink(int bytes) {
        length -= bytes;
    }
}
