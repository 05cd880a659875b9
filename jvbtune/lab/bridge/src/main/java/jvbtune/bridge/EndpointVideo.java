package jvbtune.bridge;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import jvbtune.bridge.channel.MessageTransport;
import jvbtune.bridge.media.MediaFormat;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.video.ReceiverVideo;
import jvbtune.bridge.video.VideoConstraints;
import jvbtune.bridge.video.VideoSource;
import org.jitsi.utils.logging2.Logger;

/** An endpoint's video sources, the video that it receives, and its bridge channel, on which both are agreed. */
public final class EndpointVideo implements ReceiverVideo.Host, MessageTransport.Handler {
    /** What ReceiverVideoConstraints may have; the real bridge refuses a message with more. */
    private static final Set<String> CONSTRAINT_FIELDS = Set.of(
            "colibriClass",
            "lastN",
            "selectedSources",
            "onStageSources",
            "defaultConstraints",
            "constraints",
            "assumedBandwidthBps");

    private static final boolean CONNECTION_STATS = BridgeConfig.bool("videobridge.connection-stats.enabled");
    private static final long CONNECTION_STATS_NANOS =
            BridgeConfig.duration("videobridge.connection-stats.interval").toNanos();

    private final String id;
    private final Conference conference;
    private final MessageTransport channel;
    private final ReceiverVideo receiver = new ReceiverVideo(this);
    private final SentVideo sent;
    private volatile long bandwidthBps = -1;
    private long connectionStatsNanos = System.nanoTime();

    /** @param out takes over RTCP for the endpoint, in the clear */
    EndpointVideo(String id, Conference conference, MediaFormat format, Consumer<Packet> out, Logger logger) {
        this.id = id;
        this.conference = conference;
        sent = new SentVideo(format, conference.localVideoSsrc(), out, this::sendSenderConstraints);
        channel = new MessageTransport(this, logger);
    }

    public MessageTransport channel() {
        return channel;
    }

    public ReceiverVideo receiver() {
        return receiver;
    }

    /** What the endpoint sends. */
    SentVideo sent() {
        return sent;
    }

    /** Whether another endpoint is allowed or wants to see something of this one (Endpoint.wantsStatsFrom). */
    boolean isInterestedIn(EndpointVideo other) {
        return other.sent.sources().stream().anyMatch(receiver::wants);
    }

    /** Takes a new estimate of the bandwidth to the endpoint. */
    void setBandwidth(long bps) {
        bandwidthBps = bps;
        receiver.setBandwidth(bps);
    }

    /** To be called now and then: what is due is done. */
    void tick() {
        receiver.updateIfDue();
        long now = System.nanoTime();
        if (CONNECTION_STATS && bandwidthBps >= 0 && now - connectionStatsNanos >= CONNECTION_STATS_NANOS) {
            connectionStatsNanos = now;
            channel.send(message("ConnectionStats").put("estimatedDownlinkBandwidth", bandwidthBps));
        }
    }

    void otherExpired(String otherId) {
        sent.receivers().remove(otherId);
    }

    void expire() {
        receiver.expire();
        channel.close("endpoint closed");
    }

    // What the endpoint receives.

    @Override
    public List<VideoSource> sources() {
        return conference.video().ordered(id);
    }

    @Override
    public void forwardedSourcesChanged(Set<String> names) {
        // On the IO pool as in the real bridge; the names are those of the time of sending.
        TaskPools.IO.execute(this::sendForwardedSources);
    }

    @Override
    public void constraintsChanged(Map<String, VideoConstraints> before, Map<String, VideoConstraints> now) {
        before.keySet().stream()
                .filter(name -> !now.containsKey(name))
                .forEach(name -> conference.video().withSourceOwner(name, owner -> owner.receivers().remove(id, name)));
        now.forEach((name, constraints) ->
                conference.video().withSourceOwner(name, owner -> owner.receivers().put(id, name, constraints)));
    }

    @Override
    public void keyFrameNeeded(VideoSource source) {
        conference.video().requestKeyFrame(id, source.ssrc());
    }

    // The bridge channel.

    @Override
    public void onChannelConnected() {
        sent.receivers().repeat();
        sendForwardedSources();
        conference.messages().sendRecentSpeakers(channel);
    }

    private void sendForwardedSources() {
        ObjectNode message = message("ForwardedSources");
        receiver.forwardedSources().forEach(message.putArray("forwardedSources")::add);
        channel.send(message);
    }

    private void sendSenderConstraints(String sourceName, int maxHeight) {
        if (sent.source(sourceName) != null) {
            channel.send(message("SenderSourceConstraints").put("sourceName", sourceName).put("maxHeight", maxHeight));
        }
    }

    static ObjectNode message(String colibriClass) {
        return JsonNodeFactory.instance.objectNode().put("colibriClass", colibriClass);
    }

    @Override
    public void onMessage(ObjectNode message) {
        switch (message.get("colibriClass").asText()) {
            case "ReceiverVideoConstraints" -> {
                message.fieldNames().forEachRemaining(field -> {
                    if (!CONSTRAINT_FIELDS.contains(field)) {
                        throw new IllegalArgumentException("unknown field " + field);
                    }
                });
                receiver.change(settings -> settings.with(message));
            }
            case "LastNChangedEvent" -> receiver.change(settings -> settings.withLastN(number(message, "lastN")));
            case "EndpointMessage" -> relay(message);
            case "EndpointStats" -> conference.messages().sendStats(id, this, message.put("from", id));
            case "SourceVideoTypeMessage" -> setVideoType(text(message, "sourceName"), text(message, "videoType"));
            case "VideoTypeMessage" -> setVideoType(id + "-v0", text(message, "videoType"));
            default -> throw new IllegalArgumentException("a message of this class is not taken from an endpoint");
        }
    }

    private void relay(ObjectNode message) {
        String to = text(message, "to");
        conference.messages().send(id, to, message.put("from", id));
    }

    private void setVideoType(String sourceName, String typeName) {
        VideoSource source = sent.source(sourceName);
        VideoSource.Type type = VideoSource.Type.parse(typeName);
        if (type == null) {
            throw new IllegalArgumentException("no videoType " + typeName);
        }
        if (source != null && source.setType(type)) {
            conference.video().changed();
        }
    }

    private static String text(JsonNode message, String field) {
        if (!message.path(field).isTextual()) {
            throw new IllegalArgumentException(field + " is missing");
        }
        return message.get(field).asText();
    }

    private static int number(JsonNode message, String field) {
        if (!message.path(field).isInt()) {
            throw new IllegalArgumentException(field + " is missing");
        }
        return message.get(field).asInt();
    }

    /** The settings of which a request may set the first lastN (Colibri2ConferenceHandler's initial-last-n). */
    void setInitialLastN(int lastN) {
        receiver.change(settings -> settings.everSet() ? settings : settings.withLastN(lastN));
    }
}
