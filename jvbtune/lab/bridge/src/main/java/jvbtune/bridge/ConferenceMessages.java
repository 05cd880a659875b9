package jvbtune.bridge;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import jvbtune.bridge.channel.MessageTransport;

/** What the endpoints of a conference are told over their bridge channels, by each other and by the bridge. */
final class ConferenceMessages {
    /** In larger conferences an endpoint is told the statistics of those alone that it sees or that spoke lately. */
    private static final int STATS_FILTER_THRESHOLD = BridgeConfig.integer("videobridge.stats-filter-threshold");

    private final Conference conference;
    private final SpeechActivity speech;

    ConferenceMessages(Conference conference, SpeechActivity speech) {
        this.conference = conference;
        this.speech = speech;
    }

    /** Passes a message on to one endpoint, or where {@code to} is blank to all but its sender. */
    void send(String fromId, String to, ObjectNode message) {
        for (Endpoint endpoint : conference.endpoints()) {
            if (to.isBlank() ? !endpoint.id().equals(fromId) : endpoint.id().equals(to)) {
                endpoint.video().channel().send(message);
            }
        }
    }

    void sendStats(String fromId, EndpointVideo from, ObjectNode message) {
        boolean toAll = conference.endpoints().length <= STATS_FILTER_THRESHOLD || speech.recentSpeakers().contains(fromId);
        for (Endpoint endpoint : conference.endpoints()) {
            if (!endpoint.id().equals(fromId) && (toAll || endpoint.video().isInterestedIn(from))) {
                endpoint.video().channel().send(message);
            }
        }
    }

    void sendRecentSpeakers(MessageTransport channel) {
        List<String> recent = speech.recentSpeakers();
        if (!recent.isEmpty()) {
            channel.send(speakersMessage(recent));
        }
    }

    private static ObjectNode speakersMessage(List<String> recent) {
        ObjectNode message = EndpointVideo.message("DominantSpeakerEndpointChangeEvent");
        message.put("dominantSpeakerEndpoint", recent.get(0));
        recent.subList(1, recent.size()).forEach(message.putArray("previousSpeakers")::add);
        return message.put("silence", false);
    }

    /** Tells all endpoints who the last speakers are. */
    void sendSpeakers() {
        for (Endpoint endpoint : conference.endpoints()) {
            sendRecentSpeakers(endpoint.channel());
        }
    }
}
