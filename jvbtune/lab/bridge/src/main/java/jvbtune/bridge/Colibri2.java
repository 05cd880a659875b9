package jvbtune.bridge;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.HashSet;
import java.util.Set;
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
        if (request.path("relays").size() > 0) {
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
                if (create || createdEndpoint) {
                    answer.set("sources", feedbackSources(conference));
                }
            } finally {
                if (expire || (!create && conference.endpoints().length == 0)) {
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
        JsonNode transport = request.path("transport").path("transport");
        if (transport.isObject()) {
            endpoint.setTransport(transport);
        }
        JsonNode sources = request.path("sources");
        if (sources.isArray()) {
            endpoint.setSources(ssrcs(sources));
            conference.updateSources();
        }
        if (create) {
            endpoint.describeTransport(answer.putObject("transport").putObject("transport"));
        }
        return answer;
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
                ssrcs.add(source.isObject() ? source.path("ssrc").asLong() : source.asLong());
            }
        }
        return ssrcs;
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
