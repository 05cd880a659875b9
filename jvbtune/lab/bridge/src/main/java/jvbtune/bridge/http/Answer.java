package jvbtune.bridge.http;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;

/**
 * An HTTP answer.
 *
 * @param contentType null for an empty body
 */
record Answer(int status, String contentType, byte[] body) {
    static final Answer OK = new Answer(200, null, new byte[0]);
    static final Answer NOT_FOUND = new Answer(404, null, new byte[0]);
    static final Answer METHOD_NOT_ALLOWED = new Answer(405, null, new byte[0]);

    static Answer json(JsonNode json) {
        return new Answer(200, "application/json", json.toString().getBytes(StandardCharsets.UTF_8));
    }

    static Answer text(int status, String text) {
        return new Answer(status, "text/plain;charset=utf-8", text.getBytes(StandardCharsets.UTF_8));
    }
}
