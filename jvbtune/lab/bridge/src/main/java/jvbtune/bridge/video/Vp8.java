package jvbtune.bridge.video;

import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtp;

/**
 * The VP8 payload descriptor of one packet (RFC 7741 section 4.2) and of a key frame its height (section 4.3). Used again
 * for packet after packet of one sender; not thread-safe.
 */
public final class Vp8 {
    static final int ABSENT = -1;

    /** Picture ids of both lengths are counted modulo 2^15 here. */
    static final int PICTURE_IDS = 1 << 15;

    boolean startOfFrame;

    /** Only reliable where {@link #startOfFrame} is true. */
    boolean keyFrame;

    int pictureId;
    int tl0PicIdx;
    int temporalLayer;

    /** Of a key frame, in pixels. */
    int height;

    /** From the packet's first byte to the picture id; 0 where there is none. */
    private int pictureIdOffset;

    private boolean longPictureId;
    private int tl0PicIdxOffset;

    /** @return false where the payload is too short for what it announces; the fields are then undefined */
    public boolean parse(Packet packet) {
        byte[] b = packet.getBuffer();
        int start = packet.getOffset();
        int at = Rtp.payloadOffset(packet);
        int end = start + packet.getLength() - Rtp.paddingBytes(packet);
        clear();
        if (at < 0 || at >= end) {
            return false;
        }
        int first = b[at++] & 0xff;
        startOfFrame = (first & 0x10) != 0 && (first & 0x07) == 0;
        if ((first & 0x80) != 0) {
            if (at >= end) {
                return false;
            }
            int extension = b[at++] & 0xff;
            if ((extension & 0x80) != 0) {
                if (at + 1 >= end) {
                    return false;
                }
                pictureIdOffset = at - start;
                longPictureId = (b[at] & 0x80) != 0;
                pictureId = longPictureId ? (b[at] & 0x7f) << 8 | b[at + 1] & 0xff : b[at] & 0x7f;
                at += longPictureId ? 2 : 1;
            }
            if ((extension & 0x40) != 0) {
                if (at >= end) {
                    return false;
                }
                tl0PicIdxOffset = at - start;
                tl0PicIdx = b[at++] & 0xff;
            }
            if ((extension & 0x30) != 0) {
                if (at >= end) {
                    return false;
                }
                temporalLayer = (extension & 0x20) != 0 ? (b[at] & 0xc0) >> 6 : ABSENT;
                at++;
            }
        }
        if (startOfFrame) {
            parseFrameHeader(b, at, end);
        }
        return true;
    }

    private void parseFrameHeader(byte[] b, int at, int end) {
        keyFrame = at < end && (b[at] & 0x01) == 0;
        boolean hasSize = keyFrame && at + 10 <= end
                && (b[at + 3] & 0xff) == 0x9d && b[at + 4] == 0x01 && b[at + 5] == 0x2a;
        height = hasSize ? (b[at + 9] & 0x3f) << 8 | b[at + 8] & 0xff : ABSENT;
    }

    private void clear() {
        startOfFrame = false;
        keyFrame = false;
        longPictureId = false;
        pictureId = ABSENT;
        tl0PicIdx = ABSENT;
        temporalLayer = ABSENT;
        height = ABSENT;
        pictureIdOffset = 0;
        tl0PicIdxOffset = 0;
    }

    /** Writes picture id and TL0PICIDX into a packet with the header that was parsed; what it has not is left out. */
    void rewrite(Packet packet, int newPictureId, int newTl0PicIdx) {
        byte[] b = packet.getBuffer();
        int start = packet.getOffset();
        if (pictureIdOffset != 0) {
            int at = start + pictureIdOffset;
            if (longPictureId) {
                b[at] = (byte) (0x80 | newPictureId >> 8);
                b[at + 1] = (byte) newPictureId;
            } else {
                b[at] = (byte) (newPictureId & 0x7f);
            }
        }
        if (tl0PicIdxOffset != 0) {
            b[start + tl0PicIdxOffset] = (byte) newTl0PicIdx;
        }
    }
}
