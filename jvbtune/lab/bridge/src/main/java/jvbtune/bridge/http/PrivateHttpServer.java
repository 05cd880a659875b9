package jvbtune.bridge.http;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import jvbtune.bridge.BridgeConfig;
import org.jitsi.utils.concurrent.CustomizableThreadFactory;
import org.jitsi.utils.logging2.Logger;
import org.jitsi.utils.logging2.LoggerImpl;

/** The HTTP server of {@code videobridge.http-servers.private}: HTTP/1.1 with keep-alive. */
public final class PrivateHttpServer {
    private static final int BACKLOG = 128;
    private static final int MAX_BODY_BYTES = 1 << 20;

    private final Logger logger = new LoggerImpl(PrivateHttpServer.class.getName());
    private final Routes routes;
    private final ExecutorService executor =
            Executors.newCachedThreadPool(new CustomizableThreadFactory("http-private", true));
    private HttpServer server;

    public PrivateHttpServer(Routes routes) {
        this.routes = routes;
    }

    /** Binds and serves; does nothing where the configured port is not positive. */
    public void start() throws IOException {
        int port = BridgeConfig.integer("videobridge.http-servers.private.port");
        if (port <= 0) {
            logger.info("Not starting private http server");
            return;
        }
        // The answer's head and body are two writes: without this Nagle and delayed ACKs cost 40 ms a request.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        String host = BridgeConfig.string("videobridge.http-servers.private.host");
        server = HttpServer.create(new InetSocketAddress(host, port), BACKLOG);
        server.setExecutor(executor);
        server.createContext("/", this::serve);
        server.start();
        logger.info("Started private http server on " + server.getAddress());
    }

    private void serve(HttpExchange exchange) throws IOException {
        try (exchange) {
            Answer answer;
            try (InputStream in = exchange.getRequestBody()) {
                byte[] body = in.readNBytes(MAX_BODY_BYTES);
                answer = routes.answer(
                        exchange.getRequestMethod(),
                        exchange.getRequestURI().getPath(),
                        exchange.getRequestHeaders().getFirst("Accept"),
                        body);
            } catch (RuntimeException e) {
                logger.error("Cannot answer " + exchange.getRequestMethod() + " " + exchange.getRequestURI(), e);
                answer = Answer.text(500, String.valueOf(e.getMessage()));
            }
            if (answer.contentType() != null) {
                exchange.getResponseHeaders().set("Content-Type", answer.contentType());
            }
            boolean empty = answer.body().length == 0;
            exchange.sendResponseHeaders(answer.status(), empty ? -1 : answer.body().length);
            if (!empty) {
                try (OutputStream out = exchange.getResponseBody()) {
                    out.write(answer.body());
                }
            }
        }
    }

    public void stop() {
        if (server != null) {
            server.stop(0);
        }
        executor.shutdownNow();
    }
}
