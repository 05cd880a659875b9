package jvbtune.bridge;

import java.io.IOException;
import java.io.InputStream;
import java.util.concurrent.CountDownLatch;
import java.util.logging.LogManager;
import jvbtune.bridge.channel.PublicHttpServer;
import jvbtune.bridge.http.PrivateHttpServer;
import jvbtune.bridge.http.Routes;
import jvbtune.bridge.stats.LoadManager;
import jvbtune.bridge.stats.MetricsUpdate;
import jvbtune.bridge.stats.QueueErrors;
import jvbtune.bridge.stats.TransitStats;
import jvbtune.bridge.transport.Harvesters;
import org.jitsi.utils.logging2.Logger;
import org.jitsi.utils.logging2.LoggerImpl;
import org.jitsi.utils.queue.PacketQueue;

/** Starts the lab's bridge and ends it on SIGTERM, SIGINT or a shutdown request. */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws IOException, InterruptedException {
        configureLogging();
        Logger logger = new LoggerImpl(Main.class.getName());
        Thread.setDefaultUncaughtExceptionHandler(
                (thread, e) -> logger.error("An uncaught exception occurred in thread=" + thread, e));
        logger.info("Starting the lab's bridge, version " + Version.VERSION);
        PacketQueue.setEnableStatisticsDefault(true);
        QueueErrors.register();
        TransitStats.register();
        Harvesters.start();

        CountDownLatch exit = new CountDownLatch(1);
        Bridge bridge = new Bridge(exit::countDown);
        HealthCheck health = new HealthCheck();
        health.start();
        new LoadManager(bridge).start();
        MetricsUpdate metrics = new MetricsUpdate(bridge);
        metrics.start();
        PrivateHttpServer http = new PrivateHttpServer(new Routes(bridge, health));
        http.start();
        PublicHttpServer channel = new PublicHttpServer(bridge);
        channel.start();

        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            logger.info("Bridge shutting down");
            channel.stop();
            http.stop();
            metrics.stop();
            Harvesters.close();
            TaskPools.shutdownNow();
        }));
        logger.info("Started");
        exit.await();
        System.exit(0);
    }

    /** The bridge's own log settings, unless {@code -Djava.util.logging.config.file} names others. */
    private static void configureLogging() throws IOException {
        if (System.getProperty("java.util.logging.config.file") == null) {
            try (InputStream settings = Main.class.getResourceAsStream("/logging.properties")) {
                LogManager.getLogManager().readConfiguration(settings);
            }
        }
    }
}
