package jvbtune.bridge;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import jvbtune.bridge.video.VideoSource;
import org.jitsi.utils.logging2.Logger;
import org.jitsi.utils.logging2.LoggerImpl;

/** COLIBRI v2 in JSON: creates, changes and expires conferences and endpoints (Colibri2ConferenceHandler.kt). */
public final class Colibri2 {
    /** A request that cannot be carried out, and why. */
    public static final class BadRequest extends Exception {
        BadRequest(String message) {
            super(message);
        }
    }

    private final Logger logger = new LoggerImpl(Colibri2.class.getName());
    private final Bridge bridge;

    public Colibri2(Bridge bridge) {
        this.bridge = bridge;
    }

    /**
     * Carries out a conference-modify request.
     *
     * @return the conference-modified answer
     */
    public ObjectNode modify(String meetingId, JsonNode request) throws BadRequest {
        if (meetingId == null || meetingId.isEmpty()) {
            throw new BadRequest("meeting-id is missing");
        }
        JsonNode endpoints = request.path("endpoints");
        if (endpoints.size() > 1) {
            throw new BadRequest("one endpoint per request, not " + endpoints.size());
        }
        JsonNode relays = request.path("relays");
        if (relays.size() > 1 || (relays.size() > 0 && endpoints.size() > 0)) {
            throw new BadRequest("one endpoint or one relay per request");
        }
        if (relays.size() > 0 && !Relay.enabled()) {
            throw new BadRequest("Octo is disabled in configuration.");
        }
        boolean create = request.path("create").asBoolean();
        Conference conference = create ? create(meetingId, request) : bridge.conference(meetingId);
        if (conference == null) {
            throw new BadRequest(create ? "Conference already exists" : "Conference not found");
        }
        synchronized (conference) {
            boolean expire = request.path("expire").asBoolean();
            ObjectNode answer = JsonNodeFactory.instance.objectNode();
            try {
                boolean createdEndpoint = false;
                for (JsonNode endpoint : endpoints) {
                    answer.withArray("endpoints").add(modifyEndpoint(conference, endpoint));
                    createdEndpoint |= endpoint.path("create").asBoolean();
                }
                for (JsonNode relay : relays) {
                    answer.withArray("relays").add(modifyRelay(conference, relay));
                }
                if (create || createdEndpoint) {
                    answer.set("sources", feedbackSources(conference));
                }
            } finally {
                if (expire || (!create && conference.isEmpty())) {
                    bridge.expireConference(conference);
                }
            }
            return answer;
        }
    }

    private Conference create(String meetingId, JsonNode request) throws BadRequest {
        if (bridge.refusesConferences()) {
            throw new BadRequest("In graceful shutdown");
        }
        return bridge.createConference(meetingId, request.path("name").asText(null));
    }

    private ObjectNode modifyEndpoint(Conference conference, JsonNode request) throws BadRequest {
        String id = request.path("id").asText("");
        if (id.isEmpty()) {
            throw new BadRequest("an endpoint's id is missing");
        }
        ObjectNode answer = JsonNodeFactory.instance.objectNode().put("id", id);
        Endpoint endpoint = conference.endpoint(id);
        if (request.path("expire").asBoolean()) {
            if (endpoint != null) {
                conference.removeEndpoint(endpoint);
            }
            return answer.put("expire", true);
        }
        boolean create = request.path("create").asBoolean();
        if (create) {
            endpoint = createEndpoint(conference, endpoint, id, request);
        } else if (endpoint == null) {
            throw new BadRequest("Unknown endpoint " + id);
        }
        request.path("medias").forEach(endpoint::addMedia);
        JsonNode initialLastN = request.path("initial-last-n").path("value");
        if (initialLastN.isInt()) {
            endpoint.video().setInitialLastN(initialLastN.asInt());
        }
        JsonNode transport = request.path("transport").path("transport");
        if (transport.isObject()) {
            endpoint.setTransport(transport);
        }
        JsonNode sources = request.path("sources");
        if (sources.isArray()) {
            endpoint.setSources(ssrcs(sources));
            endpoint.sent().setSources(videoSources(id, sources));
            conference.updateSources();
            conference.video().changed();
        }
        if (create) {
            endpoint.describeTransport(answer.putObject("transport").putObject("transport"));
        }
        return answer;
    }

    private ObjectNode modifyRelay(Conference conference, JsonNode request) throws BadRequest {
        String id = request.path("id").asText("");
        ObjectNode answer = JsonNodeFactory.instance.objectNode().put("id", id);
        Relay relay = conference.relay(id);
        if (request.path("expire").asBoolean()) {
            if (relay != null) {
                conference.removeRelay(relay);
            }
            return answer.put("expire", true);
        }
        boolean create = request.path("create").asBoolean();
        if (create) {
            relay = createRelay(conference, relay, id, request);
        } else if (relay == null) {
            throw new BadRequest("Unknown relay " + id);
        }
        JsonNode transport = request.path("transport").path("transport");
        if (transport.isObject()) {
            relay.setTransport(transport);
        }
        if (create) {
            relay.describeTransport(answer.putObject("transport").putObject("transport"));
        }
        request.path("medias").forEach(relay::addMedia);
        for (JsonNode endpoint : request.path("endpoints")) {
            String endpointId = endpoint.path("id").asText();
            if (endpoint.path("expire").asBoolean()) {
                relay.removeEndpoint(endpointId);
            } else {
                JsonNode sources = endpoint.path("sources");
                relay.setEndpoint(endpointId, ssrcs(sources), videoSources(endpointId, sources));
            }
        }
        conference.updateSources();
        conference.video().changed();
        return answer;
    }

    private Relay createRelay(Conference conference, Relay existing, String id, JsonNode request) throws BadRequest {
        if (existing != null) {
            throw new BadRequest("Relay with ID " + id + " already exists");
        }
        JsonNode transport = request.path("transport");
        if (!transport.isObject()) {
            throw new BadRequest("Attempt to create relay " + id + " with no <transport>");
        }
        if (transport.path("use-unique-port").asBoolean()) {
            throw new BadRequest("use-unique-port: the lab's bridge has its one port only");
        }
        try {
            return conference.addRelay(id, transport.path("ice-controlling").asBoolean());
        } catch (IOException e) {
            logger.error("Cannot create the ICE component of relay " + id, e);
            throw new BadRequest("Cannot create relay " + id + ": " + e.getMessage());
        }
    }

    private Endpoint createEndpoint(Conference conference, Endpoint existing, String id, JsonNode request)
            throws BadRequest {
        if (existing != null) {
            throw new BadRequest("Endpoint with ID " + id + " already exists");
        }
        if (!request.path("transport").isObject()) {
            throw new BadRequest("Attempt to create endpoint " + id + " with no <transport>");
        }
        boolean sourceNames = false;
        for (JsonNode capability : request.path("capabilities")) {
            sourceNames |= capability.asText().equals("source-names");
        }
        if (!sourceNames) {
            throw new BadRequest("Source name support is mandatory.");
        }
        try {
            return conference.addEndpoint(id, request.path("transport").path("ice-controlling").asBoolean());
        } catch (IOException e) {
            logger.error("Cannot create the ICE component of endpoint " + id, e);
            throw new BadRequest("Cannot create endpoint " + id + ": " + e.getMessage());
        }
    }

    private static Set<Long> ssrcs(JsonNode mediaSources) {
        Set<Long> ssrcs = new HashSet<>();
        for (JsonNode mediaSource : mediaSources) {
            for (JsonNode source : mediaSource.path("sources")) {
                ssrcs.add(VideoSource.ssrc(source));
            }
        }
        return ssrcs;
    }

    private static List<VideoSource> videoSources(String owner, JsonNode mediaSources) {
        List<VideoSource> sources = new ArrayList<>();
        for (JsonNode mediaSource : mediaSources) {
            VideoSource source = mediaSource.path("type").asText().equals("video")
                    ? VideoSource.parse(owner, mediaSource)
                    : null;
            if (source != null) {
                sources.add(source);
            }
        }
        return sources;
    }

    /** The sources under which the bridge itself sends RTCP. */
    private static ArrayNode feedbackSources(Conference conference) {
        ArrayNode sources = JsonNodeFactory.instance.arrayNode();
        sources.add(feedbackSource("audio", "jvb-a0", conference.localSsrc()));
        sources.add(feedbackSource("video", "jvb-v0", conference.localVideoSsrc()));
        return sources;
    }

    private static ObjectNode feedbackSource(String type, String name, long ssrc) {
        ObjectNode source = JsonNodeFactory.instance.objectNode().put("type", type).put("id", name);
        source.putArray("sources").addObject().put("ssrc", ssrc).put("name", name);
        return source;
    }
}
