package jvbtune.bridge;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Set;
import jvbtune.bridge.channel.MessageTransport;
import jvbtune.bridge.channel.WebSocketUrls;
import jvbtune.bridge.media.MediaFormat;
import jvbtune.bridge.media.RtpSender;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.stats.Metrics;
import jvbtune.bridge.video.VideoSource;
import org.jitsi.utils.logging2.Logger;

/** A participant of this bridge: its transport, what it sends, what it is sent (Endpoint.kt). */
public final class Endpoint extends Peer implements Participant {
    private final EndpointVideo video;
    private Set<Long> sources = Set.of();

    /** @param controlling the bridge's ICE role */
    Endpoint(String id, Conference conference, boolean controlling, Logger parent) throws IOException {
        super(
                id,
                conference,
                controlling,
                new MediaFormat(),
                RtpSender.Queue.ENDPOINT,
                parent.createChildLogger(Endpoint.class.getName(), Map.of("epId", id)));
        video = new EndpointVideo(id, conference, format(), this::sendIfConnected, logger());
        Metrics.ENDPOINTS_CREATED.inc();
        Metrics.LOCAL_ENDPOINTS.inc();
        logger().info("Created new endpoint, iceControlling=" + controlling);
    }

    public EndpointVideo video() {
        return video;
    }

    @Override
    public SentVideo sent() {
        return video.sent();
    }

    /** The bridge channel. */
    @Override
    public MessageTransport channel() {
        return video.channel();
    }

    @Override
    List<String> channelUrls() {
        return channel().urls(WebSocketUrls.ENDPOINT, conference().id(), id());
    }

    @Override
    void onBandwidth(long bps) {
        video.setBandwidth(bps);
    }

    @Override
    void tick() {
        video.tick();
    }

    // Signalling, one request of a conference at a time.

    void addMedia(JsonNode media) {
        format().add(media);
        video.receiver().setSupportsRtx(format().supportsRtx());
    }

    @Override
    public Set<Long> sources() {
        return sources;
    }

    void setSources(Set<Long> ssrcs) {
        sources = ssrcs;
    }

    // Transport events.

    @Override
    public void onFailed() {
        super.onFailed();
        Metrics.ENDPOINTS_ICE_FAILED.inc();
    }

    @Override
    void onNoChannel() {
        Metrics.NO_MESSAGE_TRANSPORT.inc();
    }

    // Media.

    @Override
    public void onRtp(Packet packet, MediaFormat.Kind kind, long ssrc) {
        conference().routeRtp(this, packet, kind, ssrc);
    }

    @Override
    public void onSenderReport(Packet packet) {
        conference().routeSenderReport(this, packet);
    }

    @Override
    public boolean onAudioLevel(long ssrc, int level) {
        return conference().tossesByLevel(this, level);
    }

    /** Whether this endpoint is to be sent packets of that kind. */
    boolean wants(MediaFormat.Kind kind) {
        return isConnected() && format().accepts(kind);
    }

    // End.

    /** Frees everything. The totals of the bridge take in what this endpoint counted, only now, as in JVB. */
    void expire() {
        boolean dtlsFailed = dtlsFailed();
        if (!close()) {
            return;
        }
        if (dtlsFailed) {
            Metrics.ENDPOINTS_DTLS_FAILED.inc();
        }
        video.expire();
        Metrics.BYTES_RECEIVED.add(receiver().stats().bytes());
        Metrics.BYTES_SENT.add(sender().stats().bytes());
        Metrics.PACKETS_RECEIVED.add(receiver().stats().packets());
        Metrics.PACKETS_SENT.add(sender().stats().packets());
        for (VideoSource source : sent().sources()) {
            Metrics.KEYFRAMES_RECEIVED.add(source.keyFrames());
            Metrics.LAYERING_CHANGES.add(source.layeringChanges());
        }
        Metrics.LOCAL_ENDPOINTS.dec();
    }
}
