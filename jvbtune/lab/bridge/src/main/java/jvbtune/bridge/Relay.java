package jvbtune.bridge;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import jvbtune.bridge.channel.MessageTransport;
import jvbtune.bridge.channel.WebSocketUrls;
import jvbtune.bridge.media.MediaFormat;
import jvbtune.bridge.media.RtpSender;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtcp;
import jvbtune.bridge.stats.Metrics;
import jvbtune.bridge.video.VideoConstraints;
import jvbtune.bridge.video.VideoSource;
import org.jitsi.utils.logging2.Logger;

/**
 * Another bridge of the conference: its participants' media come by it, and all that this bridge's endpoints send goes to
 * it (Relay.kt, RelayMessageTransport.kt).
 */
public final class Relay extends Peer implements MessageTransport.Handler {
    private final MessageTransport channel;
    private final Map<String, RelayedEndpoint> members = new LinkedHashMap<>();
    private volatile List<RelayedEndpoint> endpoints = List.of();

    /** @param controlling the bridge's ICE role */
    Relay(String id, Conference conference, boolean controlling, Logger parent) throws IOException {
        super(
                id,
                conference,
                controlling,
                MediaFormat.ofRelay(),
                RtpSender.Queue.RELAY,
                parent.createChildLogger(Relay.class.getName(), Map.of("relayId", id)));
        channel = new MessageTransport(this, logger());
        Metrics.RELAYS_CREATED.inc();
    }

    /** Whether this bridge takes relays. */
    public static boolean enabled() {
        return BridgeConfig.bool("videobridge.relay.enabled");
    }

    @Override
    public MessageTransport channel() {
        return channel;
    }

    @Override
    List<String> channelUrls() {
        return channel.urls(WebSocketUrls.RELAY, conference().id(), id());
    }

    /** Between bridges there is no congestion control. */
    @Override
    void onBandwidth(long bps) {}

    @Override
    void tick() {}

    // Signalling, one request of a conference at a time.

    void addMedia(JsonNode media) {
        format().add(media);
    }

    /** Takes an endpoint of the other bridge, or what has changed of it. */
    void setEndpoint(String endpointId, Set<Long> ssrcs, List<VideoSource> videoSources) {
        RelayedEndpoint known = members.get(endpointId);
        SentVideo sent = known != null ? known.sent() : newSentVideo();
        sent.setSources(videoSources);
        members.put(endpointId, new RelayedEndpoint(endpointId, ssrcs, sent));
        endpoints = List.copyOf(members.values());
    }

    private SentVideo newSentVideo() {
        return new SentVideo(format(), conference().localVideoSsrc(), this::sendIfConnected, this::sendAddReceiver);
    }

    void removeEndpoint(String endpointId) {
        members.remove(endpointId);
        endpoints = List.copyOf(members.values());
    }

    /** The participants behind this relay. */
    public List<RelayedEndpoint> endpoints() {
        return endpoints;
    }

    // Transport events.

    @Override
    public void onFailed() {
        super.onFailed();
        Metrics.RELAYS_ICE_FAILED.inc();
    }

    @Override
    void onNoChannel() {
        Metrics.RELAYS_NO_MESSAGE_TRANSPORT.inc();
    }

    // Media.

    private RelayedEndpoint bySsrc(long ssrc) {
        for (RelayedEndpoint endpoint : endpoints) {
            if (endpoint.sources().contains(ssrc)) {
                return endpoint;
            }
        }
        return null;
    }

    @Override
    public void onRtp(Packet packet, MediaFormat.Kind kind, long ssrc) {
        RelayedEndpoint from = bySsrc(ssrc);
        if (from != null) {
            conference().routeRtp(from, packet, kind, ssrc);
        } else {
            packet.release();
        }
    }

    @Override
    public void onSenderReport(Packet packet) {
        RelayedEndpoint from = bySsrc(Rtcp.senderSsrc(packet));
        if (from != null) {
            conference().routeSenderReport(from, packet);
        } else {
            packet.release();
        }
    }

    @Override
    public boolean onAudioLevel(long ssrc, int level) {
        RelayedEndpoint from = bySsrc(ssrc);
        return from != null && conference().tossesByLevel(from, level);
    }

    // The channel.

    /** Tells the other bridge at which height this one's endpoints want a source. */
    private void sendAddReceiver(String sourceName, int maxHeight) {
        ObjectNode message = EndpointVideo.message("AddReceiver");
        message.put("bridgeId", BridgeConfig.string("videobridge.relay.relay-id")).put("sourceName", sourceName);
        message.putObject("videoConstraints").put("maxHeight", maxHeight).put("maxFrameRate", -1.0);
        channel.send(message);
    }

    @Override
    public void onChannelConnected() {
        endpoints.forEach(endpoint -> endpoint.sent().receivers().repeat());
    }

    @Override
    public void onMessage(ObjectNode message) {
        switch (message.get("colibriClass").asText()) {
            case "AddReceiver" -> addReceiver(message);
            case "ServerHello" -> { }
            default -> throw new IllegalArgumentException("a message of this class is not taken from a relay");
        }
    }

    private void addReceiver(ObjectNode message) {
        String sourceName = message.path("sourceName").asText();
        VideoConstraints constraints = VideoConstraints.parse(message.path("videoConstraints"));
        for (Endpoint endpoint : conference().endpoints()) {
            if (endpoint.sent().source(sourceName) != null) {
                endpoint.sent().receivers().put(id(), sourceName, constraints);
            }
        }
    }

    // End.

    /** Frees everything. The totals of the bridge take in what this relay counted, only now, as in JVB. */
    void expire() {
        boolean dtlsFailed = dtlsFailed();
        if (!close()) {
            return;
        }
        if (dtlsFailed) {
            Metrics.RELAYS_DTLS_FAILED.inc();
        }
        channel.close("relay_closed");
        Metrics.RELAY_BYTES_RECEIVED.add(receiver().stats().bytes());
        Metrics.RELAY_BYTES_SENT.add(sender().stats().bytes());
        Metrics.RELAY_PACKETS_RECEIVED.add(receiver().stats().packets());
        Metrics.RELAY_PACKETS_SENT.add(sender().stats().packets());
    }
}
