package jvbtune.bridge;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;

/** What the bridge says it is: told apart from a real one by its version, not by the shape of the answer. */
public final class Version {
    public static final String VERSION = "2.3.jvbtune-lab";

    private Version() {}

    /** The answer of {@code /about/version}. */
    public static ObjectNode json() {
        return JsonNodeFactory.instance
                .objectNode()
                .put("name", "JVB")
                .put("version", VERSION)
                .put("os", System.getProperty("os.name"));
    }
}
