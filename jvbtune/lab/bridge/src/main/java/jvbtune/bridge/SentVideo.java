package jvbtune.bridge;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.ObjIntConsumer;
import jvbtune.bridge.media.KeyFrameRequester;
import jvbtune.bridge.media.MediaFormat;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtp;
import jvbtune.bridge.video.SourceReceivers;
import jvbtune.bridge.video.VideoSource;
import jvbtune.bridge.video.Vp8;

/** The video sources of one participant: who receives them at which height, and requests for key frames. */
final class SentVideo {
    private final MediaFormat format;
    private final Consumer<Packet> out;
    private final KeyFrameRequester keyFrames;
    private final SourceReceivers receivers;
    private final Vp8 vp8 = new Vp8();
    private volatile List<VideoSource> sources = List.of();

    /**
     * @param out takes over RTCP towards the participant, in the clear
     * @param onHeight takes the name of a source and the height that its receivers want at most
     */
    SentVideo(MediaFormat format, long feedbackSsrc, Consumer<Packet> out, ObjIntConsumer<String> onHeight) {
        this.format = format;
        this.out = out;
        keyFrames = new KeyFrameRequester(format, feedbackSsrc);
        receivers = new SourceReceivers(onHeight);
    }

    List<VideoSource> sources() {
        return sources;
    }

    SourceReceivers receivers() {
        return receivers;
    }

    /** Takes what was signalled; a source whose streams stay the same goes on. */
    void setSources(List<VideoSource> signalled) {
        List<VideoSource> before = sources;
        List<VideoSource> now = new ArrayList<>();
        for (VideoSource source : signalled) {
            now.add(before.stream().filter(source::hasSameStreams).findFirst().orElse(source));
        }
        sources = List.copyOf(now);
        if (before.isEmpty()) {
            receivers.repeat();
        }
    }

    /** Null where the participant has no such source. */
    VideoSource source(String name) {
        return sources.stream().filter(source -> source.name().equals(name)).findFirst().orElse(null);
    }

    boolean isVp8(Packet packet) {
        return format.isVp8(Rtp.payloadType(packet));
    }

    /** Reads a VP8 packet of this participant; null where it is malformed. Valid until the next one. */
    Vp8 parse(Packet packet) {
        return vp8.parse(packet) ? vp8 : null;
    }

    /**
     * Asks the participant for a key frame, unless it was asked too often.
     *
     * @param requesterId the receiver that wants it; null: the bridge itself
     * @param ssrc negative: of its first source
     */
    void requestKeyFrame(String requesterId, long ssrc) {
        List<VideoSource> own = sources;
        if (ssrc >= 0 || !own.isEmpty()) {
            Packet request = keyFrames.request(requesterId, ssrc >= 0 ? ssrc : own.get(0).ssrc());
            if (request != null) {
                out.accept(request);
            }
        }
    }
}
