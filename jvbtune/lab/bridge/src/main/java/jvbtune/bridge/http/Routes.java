package jvbtune.bridge.http;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import jvbtune.bridge.Bridge;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.BufferPool;
import jvbtune.bridge.Colibri2;
import jvbtune.bridge.HealthCheck;
import jvbtune.bridge.TaskPools;
import jvbtune.bridge.Version;
import jvbtune.bridge.stats.ColibriStats;
import jvbtune.bridge.stats.Metrics;
import jvbtune.bridge.stats.QueueStats;
import jvbtune.bridge.stats.TransitStats;

/** The private interface's paths, each under the key that switches it on in the real bridge (RestApis.kt). */
public final class Routes {
    private static final String CONFERENCES = "/colibri/v2/conferences";
    private static final String DEBUG_STATS = "/debug/stats/jvb/";

    private final ObjectMapper mapper = new ObjectMapper();
    private final Bridge bridge;
    private final HealthCheck health;
    private final Colibri2 colibri;

    public Routes(Bridge bridge, HealthCheck health) {
        this.bridge = bridge;
        this.health = health;
        this.colibri = new Colibri2(bridge);
    }

    Answer answer(String method, String path, String accept, byte[] body) {
        if (path.startsWith("/colibri/drain")) {
            return enabled("drain") ? drain(method, path) : Answer.NOT_FOUND;
        }
        if (path.equals("/colibri/shutdown")) {
            return colibriEnabled() && enabled("shutdown") ? shutdown(method, body) : Answer.NOT_FOUND;
        }
        if (path.startsWith("/colibri/")) {
            return colibriEnabled() ? colibri(method, path, body) : Answer.NOT_FOUND;
        }
        if (!method.equals("GET") && !method.equals("HEAD")) {
            return Answer.METHOD_NOT_ALLOWED;
        }
        if (path.startsWith("/debug")) {
            return enabled("debug") ? debug(path) : Answer.NOT_FOUND;
        }
        return switch (path) {
            case "/about/health" -> enabled("health") ? health() : Answer.NOT_FOUND;
            case "/about/version" -> enabled("version") ? Answer.json(Version.json()) : Answer.NOT_FOUND;
            case "/metrics" -> enabled("prometheus") ? metrics(accept) : Answer.NOT_FOUND;
            default -> Answer.NOT_FOUND;
        };
    }

    private static boolean enabled(String api) {
        return BridgeConfig.bool("videobridge.rest." + api + ".enabled");
    }

    private static boolean colibriEnabled() {
        return BridgeConfig.bool("videobridge.apis.rest.enabled");
    }

    private Answer health() {
        String fault = health.fault();
        return fault == null ? Answer.OK : Answer.text(500, fault);
    }

    private static Answer metrics(String accept) {
        try {
            Map.Entry<String, String> answer = Metrics.answer(byPreference(accept == null ? "*/*" : accept));
            return new Answer(200, answer.getValue(), answer.getKey().getBytes(StandardCharsets.UTF_8));
        } catch (IllegalArgumentException e) {
            return Answer.text(406, e.getMessage());
        }
    }

    /** The media types of an Accept header, the most wanted first (Prometheus.java). */
    private static List<String> byPreference(String accept) {
        List<String> types = new ArrayList<>(List.of(accept.split(",")));
        types.sort(Comparator.comparingDouble(Routes::quality).reversed());
        return types.stream().map(type -> type.split(";")[0].trim()).toList();
    }

    private static double quality(String mediaType) {
        for (String parameter : mediaType.split(";")) {
            String trimmed = parameter.trim();
            if (trimmed.startsWith("q=")) {
                try {
                    return Double.parseDouble(trimmed.substring(2));
                } catch (NumberFormatException e) {
                    return 0;
                }
            }
        }
        return 1;
    }

    private Answer drain(String method, String path) {
        switch (method + " " + path) {
            case "GET /colibri/drain" -> {
                return Answer.json(mapper.createObjectNode().put("drain", bridge.isDraining()));
            }
            case "POST /colibri/drain/enable" -> bridge.setDrain(true);
            case "POST /colibri/drain/disable" -> bridge.setDrain(false);
            default -> {
                return Answer.NOT_FOUND;
            }
        }
        return Answer.OK;
    }

    private Answer shutdown(String method, byte[] body) {
        if (!method.equals("POST")) {
            return Answer.METHOD_NOT_ALLOWED;
        }
        JsonNode graceful;
        try {
            graceful = mapper.readTree(body).path("graceful-shutdown");
        } catch (IOException e) {
            return Answer.text(400, "not JSON: " + e.getMessage());
        }
        if (!graceful.isBoolean()) {
            return Answer.text(400, "graceful-shutdown is missing");
        }
        bridge.shutdown(graceful.asBoolean());
        return Answer.OK;
    }

    private Answer colibri(String method, String path, byte[] body) {
        if (path.equals("/colibri/stats")) {
            return method.equals("GET") ? Answer.json(ColibriStats.json()) : Answer.METHOD_NOT_ALLOWED;
        }
        if (!path.startsWith(CONFERENCES)) {
            return Answer.NOT_FOUND;
        }
        String meetingId = path.substring(CONFERENCES.length()).replaceAll("^/|/$", "");
        boolean create = method.equals("POST") && meetingId.isEmpty();
        if (!create && !(method.equals("PATCH") && !meetingId.isEmpty())) {
            return Answer.METHOD_NOT_ALLOWED;
        }
        if (!create && bridge.conference(meetingId) == null) {
            return Answer.NOT_FOUND;
        }
        try {
            JsonNode request = mapper.readTree(body);
            if (!request.isObject()) {
                return Answer.text(400, "not a JSON object");
            }
            return Answer.json(colibri.modify(create ? request.path("meeting-id").asText() : meetingId, request));
        } catch (JsonProcessingException e) {
            return Answer.text(400, "Failed to create conference, could not parse JSON: " + e.getOriginalMessage());
        } catch (Colibri2.BadRequest e) {
            return Answer.text(400, "Failed to create conference: " + e.getMessage());
        } catch (IOException e) {
            return Answer.text(400, String.valueOf(e.getMessage()));
        }
    }

    private Answer debug(String path) {
        if (path.equals("/debug")) {
            return Answer.json(bridge.debugJson());
        }
        if (!path.startsWith(DEBUG_STATS)) {
            return Answer.NOT_FOUND;
        }
        return switch (path.substring(DEBUG_STATS.length())) {
            case "queue-stats" -> Answer.json(QueueStats.json());
            case "transit-stats" -> Answer.json(TransitStats.json());
            case "task-pool-stats" -> Answer.json(TaskPools.statsJson());
            case "pool-stats" -> Answer.json(BufferPool.statsJson());
            case "node-stats" -> Answer.json(
                    mapper.createObjectNode().put("num_payload_verification_failures", 0));
            case "tossed-packet-stats" -> Answer.json(Metrics.TOSSED_PACKETS_ENERGY.get());
            default -> Answer.NOT_FOUND;
        };
    }
}
