package jvbtune.bridge;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import jvbtune.bridge.media.MediaFormat.Kind;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtcp;
import jvbtune.bridge.stats.Metrics;
import jvbtune.bridge.video.ReceiverVideo;
import jvbtune.bridge.video.VideoSource;
import jvbtune.bridge.video.Vp8;

/** The video of a conference: its sources in the order of their speakers, and the way of packets to the receivers. */
final class ConferenceVideo {
    /** What the real bridge waits longer with a key frame of a new speaker, in milliseconds. */
    private static final double KEY_FRAME_DELAY_MILLIS = 10;

    private final Conference conference;
    private final SpeechActivity speech;
    private volatile VideoSources videoSources = VideoSources.NONE;
    private volatile boolean hadVideo;

    ConferenceVideo(Conference conference, SpeechActivity speech) {
        this.conference = conference;
        this.speech = speech;
    }

    void setSources(VideoSources sources) {
        videoSources = sources;
        hadVideo |= sources != VideoSources.NONE;
    }

    /** Allocates for all receivers again, on the IO pool: sources, their types or the speakers have changed. */
    void changed() {
        if (hadVideo) {
            TaskPools.IO.execute(() -> {
                for (Endpoint endpoint : conference.endpoints()) {
                    endpoint.video().receiver().update();
                }
            });
        }
    }

    /** The video sources of all endpoints but one, those of the last speakers first. */
    List<VideoSource> ordered(String exceptId) {
        List<Participant> ordered = new ArrayList<>(conference.participants());
        if (videoSources == VideoSources.NONE) {
            return List.of();
        }
        List<String> speakers = speech.speakers();
        ordered.sort(Comparator.comparingInt(participant -> {
            int index = speakers.indexOf(participant.id());
            return index < 0 ? speakers.size() : index;
        }));
        return ordered.stream()
                .filter(participant -> !participant.id().equals(exceptId))
                .flatMap(participant -> participant.sent().sources().stream())
                .toList();
    }

    void withSourceOwner(String sourceName, Consumer<SentVideo> action) {
        for (Participant participant : conference.participants()) {
            if (participant.sent().source(sourceName) != null) {
                action.accept(participant.sent());
                return;
            }
        }
    }

    // Media, on the CPU pool.

    /** Sends a packet to every receiver that is allocated its layer. Takes it over. */
    void route(Participant from, Packet packet, long ssrc) {
        VideoSource source = videoSources.bySsrc(ssrc);
        if (source == null) {
            packet.release();
            return;
        }
        int encoding = source.encoding(ssrc);
        boolean isVp8 = from.sent().isVp8(packet);
        Vp8 vp8 = isVp8 ? from.sent().parse(packet) : null;
        if (isVp8 && vp8 == null) {
            packet.release();
            return;
        }
        boolean layeringChanged = vp8 != null
                && source.measure(encoding, vp8, packet.getLength(), System.currentTimeMillis());
        Endpoint last = null;
        for (Endpoint endpoint : conference.endpoints()) {
            if (endpoint == from || !endpoint.wants(Kind.VIDEO)) {
                continue;
            }
            ReceiverVideo receiver = endpoint.video().receiver();
            if (layeringChanged) {
                receiver.update();
            }
            if (receiver.accept(packet, vp8, source, encoding)) {
                if (last != null) {
                    sendVideo(last, packet.copy(), vp8, source);
                }
                last = endpoint;
            }
        }
        if (last != null) {
            sendVideo(last, packet, vp8, source);
        } else {
            packet.release();
        }
    }

    private static void sendVideo(Endpoint to, Packet packet, Vp8 vp8, VideoSource source) {
        if (to.video().receiver().rewrite(packet, vp8, source)) {
            to.sender().enqueue(packet);
        } else {
            packet.release();
        }
    }

    /** Sends a sender report of a video stream to its receivers, and takes it over; false where it is of another one. */
    boolean routeSenderReport(Participant from, Packet packet) {
        VideoSource source = videoSources.bySsrc(Rtcp.senderSsrc(packet));
        if (source == null) {
            return false;
        }
        for (Endpoint endpoint : conference.endpoints()) {
            if (endpoint != from && endpoint.isConnected()) {
                Packet copy = packet.copy();
                if (endpoint.video().receiver().rewriteSenderReport(copy, source)) {
                    endpoint.sender().enqueue(copy);
                } else {
                    copy.release();
                }
            }
        }
        packet.release();
        return true;
    }

    /**
     * Asks the sender of a stream for a key frame.
     *
     * @param requesterId the receiver that wants it
     */
    void requestKeyFrame(String requesterId, long ssrc) {
        VideoSource source = videoSources.bySsrc(ssrc);
        Participant owner = source == null ? null : conference.participant(source.owner());
        if (owner != null) {
            owner.sent().requestKeyFrame(requesterId, ssrc);
        }
    }

    /** The SSRC of retransmissions of a stream; -1: none. */
    long rtxSsrc(long ssrc) {
        return videoSources.rtxSsrc(ssrc);
    }

    /** The SSRC whose retransmissions a stream has; -1: none's. */
    long rtxPrimary(long ssrc) {
        return videoSources.rtxPrimary(ssrc);
    }

    /** Another endpoint has become the dominant speaker: its sources come first. */
    void speakerChanged() {
        List<String> recent = speech.recentSpeakers();
        if (!recent.isEmpty()) {
            requestSpeakersKeyFrame(conference.endpoint(recent.get(0)), conference.endpoints());
            changed();
        }
    }

    /** Asks a new speaker for a key frame before the receivers do, where one of them has a camera on stage. */
    private void requestSpeakersKeyFrame(Endpoint speaker, Endpoint[] endpoints) {
        if (speaker == null || endpoints.length <= 2) {
            return;
        }
        double receiversRtt = 0;
        boolean onStage = false;
        for (Endpoint endpoint : endpoints) {
            if (endpoint != speaker) {
                onStage |= endpoint.video().receiver().onStageSources().stream().anyMatch(videoSources::isCamera);
                receiversRtt = Math.max(receiversRtt, endpoint.hop().roundTripMillis());
            }
        }
        if (!onStage) {
            Metrics.KEYFRAME_REQUESTS_SUPPRESSED.inc();
            return;
        }
        Metrics.KEYFRAME_REQUESTS_SENT.inc();
        double delay = receiversRtt - speaker.hop().roundTripMillis() + KEY_FRAME_DELAY_MILLIS;
        TaskPools.SCHEDULED.schedule(() -> speaker.sent().requestKeyFrame(null, -1), (long) delay, TimeUnit.MILLISECONDS);
    }
}
