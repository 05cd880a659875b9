package jvbtune.bridge.channel;

import java.util.ArrayList;
import java.util.List;
import jvbtune.bridge.BridgeConfig;

/**
 * The addresses under which {@code videobridge.websockets} offers the bridge channel (ColibriWebSocketService.kt,
 * WebsocketServiceConfig.kt). Nothing is offered where the public HTTP server has no port.
 */
public final class WebSocketUrls {
    static final String PATH = "/colibri-ws/";
    static final String RELAY_PATH = "/colibri-relay-ws/";

    private static final String PUBLIC_PORT = "videobridge.http-servers.public.port";

    /** Those of endpoints. */
    public static final WebSocketUrls ENDPOINT = new WebSocketUrls(PATH, "domain");

    /** Those of relays, under the domains of endpoints where there are no others. */
    public static final WebSocketUrls RELAY = new WebSocketUrls(RELAY_PATH, "relay-domain");

    private final List<String> bases;

    private WebSocketUrls(String path, String key) {
        bases = enabled() ? bases(path, key) : List.of();
    }

    /** Whether the public server is to be started, and endpoints may connect to it. */
    static boolean enabled() {
        return BridgeConfig.bool("videobridge.websockets.enabled") && BridgeConfig.integer(PUBLIC_PORT) > 0;
    }

    static String serverId() {
        return BridgeConfig.string("videobridge.websockets.server-id");
    }

    private static List<String> bases(String path, String key) {
        List<String> domains = new ArrayList<>(BridgeConfig.strings("videobridge.websockets." + key + "s"));
        String single = BridgeConfig.stringOrNull("videobridge.websockets." + key);
        if (single == null && domains.isEmpty() && path.equals(RELAY_PATH)) {
            return bases(path, "domain");
        }
        if (single != null && !domains.contains(single)) {
            domains.add(0, single);
        }
        // The bridge itself serves no TLS; `tls = true` is for a proxy in front of it.
        String protocol = Boolean.parseBoolean(BridgeConfig.stringOrNull("videobridge.websockets.tls")) ? "wss" : "ws";
        return domains.stream().map(domain -> protocol + "://" + domain + path + serverId()).toList();
    }

    /** One address per configured domain. */
    List<String> of(String conferenceId, String peerId, String password) {
        return bases.stream().map(base -> base + "/" + conferenceId + "/" + peerId + "?pwd=" + password).toList();
    }
}
