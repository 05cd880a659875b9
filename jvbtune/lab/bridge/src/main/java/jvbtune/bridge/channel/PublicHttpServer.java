package jvbtune.bridge.channel;

import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.function.BiFunction;
import jvbtune.bridge.Bridge;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.Conference;
import jvbtune.bridge.Peer;
import org.eclipse.jetty.server.Response;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.util.Callback;
import org.eclipse.jetty.util.thread.QueuedThreadPool;
import org.eclipse.jetty.websocket.core.Configuration;
import org.eclipse.jetty.websocket.core.ExtensionConfig;
import org.eclipse.jetty.websocket.core.FrameHandler;
import org.eclipse.jetty.websocket.core.server.ServerUpgradeRequest;
import org.eclipse.jetty.websocket.core.server.ServerUpgradeResponse;
import org.eclipse.jetty.websocket.core.server.WebSocketNegotiator;
import org.eclipse.jetty.websocket.core.server.WebSocketUpgradeHandler;
import org.jitsi.utils.logging2.Logger;
import org.jitsi.utils.logging2.LoggerImpl;

/**
 * The HTTP server of {@code videobridge.http-servers.public}: the bridge channel's web sockets
 * (ColibriWebSocketServlet.java).
 */
public final class PublicHttpServer {
    private static final Duration IDLE_TIMEOUT = BridgeConfig.duration("videobridge.websockets.idle-timeout");
    private static final boolean COMPRESSION = BridgeConfig.bool("videobridge.websockets.enable-compression");
    private static final int MAX_THREADS = 16;
    private static final int MIN_THREADS = 2;

    private final Logger logger = new LoggerImpl(PublicHttpServer.class.getName());
    private final Bridge bridge;
    private Server server;

    public PublicHttpServer(Bridge bridge) {
        this.bridge = bridge;
    }

    /** Binds and serves; does nothing where web sockets are off or the public port is not positive. */
    public void start() {
        if (!WebSocketUrls.enabled()) {
            logger.info("Not starting public http server");
            return;
        }
        QueuedThreadPool threads = new QueuedThreadPool(MAX_THREADS, MIN_THREADS);
        threads.setName("http-public");
        threads.setDaemon(true);
        server = new Server(threads);
        ServerConnector connector = new ServerConnector(server, 1, 1);
        connector.setHost(BridgeConfig.stringOrNull("videobridge.http-servers.public.host"));
        connector.setPort(BridgeConfig.integer("videobridge.http-servers.public.port"));
        server.addConnector(connector);
        WebSocketUpgradeHandler upgrade = new WebSocketUpgradeHandler();
        upgrade.addMapping(WebSocketUrls.PATH + "*", new Negotiator(WebSocketUrls.PATH, Conference::endpoint));
        upgrade.addMapping(WebSocketUrls.RELAY_PATH + "*", new Negotiator(WebSocketUrls.RELAY_PATH, Conference::relay));
        server.setHandler(upgrade);
        try {
            server.start();
        } catch (Exception e) {
            throw new IllegalStateException("Cannot start the public http server", e);
        }
        logger.info("Started public http server on " + connector.getHost() + ":" + connector.getLocalPort());
    }

    public void stop() {
        if (server != null) {
            try {
                server.stop();
            } catch (Exception e) {
                logger.warn("Cannot stop the public http server: " + e);
            }
        }
    }

    /** Accepts a socket of a known endpoint or relay that has the password, or answers 403 or 404. */
    private final class Negotiator extends Configuration.ConfigurationCustomizer implements WebSocketNegotiator {
        private final String prefix;
        private final BiFunction<Conference, String, Peer> peers;

        Negotiator(String prefix, BiFunction<Conference, String, Peer> peers) {
            this.prefix = prefix;
            this.peers = peers;
            setIdleTimeout(IDLE_TIMEOUT);
        }

        @Override
        public FrameHandler negotiate(ServerUpgradeRequest request, ServerUpgradeResponse response, Callback callback) {
            URI uri = request.getHttpURI().toURI();
            String path = uri.getPath();
            String[] ids = path.startsWith(prefix) ? path.substring(prefix.length()).split("/") : new String[0];
            if (ids.length < 3) {
                return refuse(request, response, callback, 404, "invalid path");
            }
            if (!WebSocketUrls.serverId().equals(ids[0])) {
                return refuse(request, response, callback, 404, "server ID mismatch");
            }
            Peer peer = peer(ids[1], ids[2]);
            String query = uri.getQuery();
            String password = query != null && query.startsWith("pwd=") ? query.substring("pwd=".length()) : null;
            if (peer == null || !peer.channel().accepts(password)) {
                logger.warn("Refused a web socket for " + ids[2] + " of conference " + ids[1]);
                return refuse(request, response, callback, 403, "authentication failed");
            }
            if (!COMPRESSION) {
                List<ExtensionConfig> kept = response.getExtensions().stream()
                        .filter(extension -> !extension.getName().equals("permessage-deflate"))
                        .toList();
                response.setExtensions(kept);
            }
            return new ChannelSocket(peer.channel());
        }

        private FrameHandler refuse(
                ServerUpgradeRequest request, ServerUpgradeResponse response, Callback callback, int status, String why) {
            Response.writeError(request, response, callback, status, why);
            return null;
        }

        private Peer peer(String conferenceId, String peerId) {
            for (Conference conference : bridge.conferences()) {
                if (conference.id().equals(conferenceId)) {
                    return peers.apply(conference, peerId);
                }
            }
            return null;
        }
    }
}
