package jvbtune.bridge;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import jvbtune.bridge.video.VideoSource;

/** The video streams of a conference at one moment, by SSRC. */
final class VideoSources {
    static final VideoSources NONE = new VideoSources();

    private final Map<Long, VideoSource> sources = new HashMap<>();
    private final Map<Long, Long> rtxPrimaries = new HashMap<>();

    private VideoSources() {}

    /** {@link #NONE} where the participants have none. */
    static VideoSources of(List<Participant> participants) {
        VideoSources all = new VideoSources();
        for (Participant participant : participants) {
            for (VideoSource source : participant.sent().sources()) {
                for (long ssrc : source.ssrcs()) {
                    all.sources.put(ssrc, source);
                }
                source.rtx().forEach((primary, rtx) -> all.rtxPrimaries.put(rtx, primary));
            }
        }
        return all.sources.isEmpty() ? NONE : all;
    }

    /** The source that has the stream as one of its encodings; null where there is none. */
    VideoSource bySsrc(long ssrc) {
        return sources.get(ssrc);
    }

    long rtxSsrc(long ssrc) {
        VideoSource source = sources.get(ssrc);
        return source == null ? -1 : source.rtx().getOrDefault(ssrc, -1L);
    }

    long rtxPrimary(long ssrc) {
        return rtxPrimaries.getOrDefault(ssrc, -1L);
    }

    boolean isCamera(String sourceName) {
        return sources.values().stream()
                .anyMatch(source -> source.name().equals(sourceName) && source.type() == VideoSource.Type.CAMERA);
    }
}
