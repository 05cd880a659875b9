package jvbtune.bridge.stats;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import java.util.function.DoubleSupplier;
import jvbtune.bridge.Bridge;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.Conference;
import jvbtune.bridge.Endpoint;
import jvbtune.bridge.Relay;
import jvbtune.bridge.TaskPools;
import org.jitsi.utils.logging2.Logger;
import org.jitsi.utils.logging2.LoggerImpl;

/** Stress = load / threshold, sampled every 10 s (JvbLoadManager.kt, StealDetection.kt). */
public final class LoadManager {
    private static final String BASE = "videobridge.load-management.load-measurements.";
    private static final int SAMPLE_SECONDS = 10;
    private static final Path PROC_STAT = Path.of("/proc/stat");
    private static final int STEAL_FIELD = 7;

    private final Logger logger = new LoggerImpl(LoadManager.class.getName());
    private final Bridge bridge;
    private long[] lastTotalAndSteal;

    public LoadManager(Bridge bridge) {
        this.bridge = bridge;
    }

    /** @throws IllegalArgumentException where the configured measurement is unknown */
    public void start() {
        String measurement = BridgeConfig.string(BASE + "load-measurement");
        DoubleSupplier load = switch (measurement) {
            case "packet-rate" -> this::packetRate;
            case "cpu-usage" -> this::cpuUsage;
            default -> throw new IllegalArgumentException(
                    BASE + "load-measurement: \"" + measurement + "\" should be \"packet-rate\" or \"cpu-usage\"");
        };
        double threshold = BridgeConfig.number(BASE + measurement + ".load-threshold");
        TaskPools.SCHEDULED.scheduleAtFixedRate(
                () -> {
                    try {
                        Metrics.STRESS.set(load.getAsDouble() / threshold);
                    } catch (RuntimeException e) {
                        logger.error("Cannot sample the load", e);
                    }
                },
                0,
                SAMPLE_SECONDS,
                TimeUnit.SECONDS);
    }

    /** Packets per second in and out of all endpoints and relays, over the window of their stats. */
    private double packetRate() {
        long sum = 0;
        for (Conference conference : bridge.conferences()) {
            for (Endpoint endpoint : conference.endpoints()) {
                sum += endpoint.receiver().stats().packetRatePps() + endpoint.sender().stats().packetRatePps();
            }
            for (Relay relay : conference.relays()) {
                sum += relay.receiver().stats().packetRatePps() + relay.sender().stats().packetRatePps();
            }
        }
        return sum;
    }

    private double cpuUsage() {
        double used = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class).getCpuLoad();
        return used + (BridgeConfig.bool(BASE + "cpu-usage.detect-cpu-steal") ? stealRatio() : 0);
    }

    private double stealRatio() {
        long[] now;
        try {
            now = totalAndSteal();
        } catch (IOException | RuntimeException noProc) {
            return 0;
        }
        long[] last = lastTotalAndSteal;
        lastTotalAndSteal = now;
        if (last == null) {
            return 0;
        }
        long total = now[0] - last[0];
        double ratio = total > 0 ? Math.max(0, (double) (now[1] - last[1]) / total) : 0;
        Metrics.CPU_STEAL.set(ratio);
        return ratio;
    }

    private static long[] totalAndSteal() throws IOException {
        String line = Files.readAllLines(PROC_STAT).get(0);
        long[] ticks = Arrays.stream(line.trim().split("\\s+")).skip(1).mapToLong(Long::parseLong).toArray();
        return new long[] {Arrays.stream(ticks).sum(), ticks[STEAL_FIELD]};
    }
}
