package jvbtune.bridge;

import java.util.concurrent.TimeUnit;
import jvbtune.bridge.stats.Metrics;
import jvbtune.bridge.transport.Harvesters;
import org.jitsi.utils.logging2.Logger;
import org.jitsi.utils.logging2.LoggerImpl;

/** The health of {@code /about/health}, checked every {@code videobridge.health.interval} (JvbHealthChecker.kt). */
public final class HealthCheck {
    private final Logger logger = new LoggerImpl(HealthCheck.class.getName());
    private volatile String fault;

    public void start() {
        long interval = BridgeConfig.duration("videobridge.health.interval").toMillis();
        check();
        TaskPools.SCHEDULED.scheduleWithFixedDelay(
                () -> TaskPools.IO.execute(this::check), interval, interval, TimeUnit.MILLISECONDS);
    }

    private void check() {
        String found = null;
        if (BridgeConfig.bool("videobridge.health.require-valid-address") && !Harvesters.hasValidAddress()) {
            found = "No valid IP addresses available for harvesting.";
        } else if (Harvesters.isEmpty()) {
            found = "Failed to bind single-port";
        }
        if (found != null) {
            logger.error("Health check failed: " + found);
        }
        fault = found;
        Metrics.HEALTHY.set(found == null);
    }

    /** What is wrong, null where nothing is. */
    public String fault() {
        return fault;
    }
}
