package jvbtune.bridge;

import com.typesafe.config.Config;
import com.typesafe.config.ConfigFactory;
import com.typesafe.config.ConfigUtil;
import java.time.Duration;
import java.util.List;
import java.util.Locale;

/**
 * The keys of {@code jvb.conf} that this bridge knows, by their real names.
 *
 * <p>{@code -Dconfig.file} is merged over the jar's application.conf and that over all reference.conf, as jicoco's
 * JitsiConfig does (through which ice4j reads its own keys from the same file); system properties win over all.
 */
public final class BridgeConfig {
    private static final Config CONFIG = load();

    private BridgeConfig() {}

    static Config load() {
        ConfigFactory.invalidateCaches();
        return ConfigFactory.defaultOverrides()
                .withFallback(ConfigFactory.defaultApplication())
                .withFallback(ConfigFactory.parseResourcesAnySyntax("application"))
                .withFallback(ConfigFactory.defaultReferenceUnresolved())
                .resolve();
    }

    public static boolean bool(String key) {
        return CONFIG.getBoolean(key);
    }

    public static int integer(String key) {
        return CONFIG.getInt(key);
    }

    public static double number(String key) {
        return CONFIG.getDouble(key);
    }

    public static String string(String key) {
        return CONFIG.getString(key);
    }

    /** The string under {@code key}, null where it is not set. */
    public static String stringOrNull(String key) {
        return CONFIG.hasPath(key) ? CONFIG.getString(key) : null;
    }

    public static List<String> strings(String key) {
        return CONFIG.getStringList(key);
    }

    /** A bandwidth as the Jitsi Videobridge writes it, {@code 2500 kbps} (Bandwidth.kt). */
    public static long bandwidthBps(String key) {
        String text = CONFIG.getString(key).trim().toLowerCase(Locale.ROOT);
        int unit = text.length();
        while (unit > 0 && !Character.isDigit(text.charAt(unit - 1))) {
            unit--;
        }
        double amount = Double.parseDouble(text.substring(0, unit));
        return (long) (amount * switch (text.substring(unit).trim()) {
            case "bps" -> 1;
            case "kbps" -> 1_000;
            case "mbps" -> 1_000_000;
            default -> throw new IllegalArgumentException(key + " has no unit of bps, kbps or mbps: " + text);
        });
    }

    public static Duration duration(String key) {
        return CONFIG.getDuration(key);
    }

    /**
     * The window of the packet rates and bit rates of the stats: {@code jmt.rtp.bitrate-calculator}, else the default of
     * the bandwidth estimator's engine (BitrateCalculator.kt).
     *
     * @param name {@code window-size} or {@code bucket-size}
     */
    public static Duration rateWindow(String name) {
        String own = "jmt.rtp.bitrate-calculator." + name;
        if (CONFIG.hasPath(own)) {
            return CONFIG.getDuration(own);
        }
        String engine = CONFIG.getString("jmt.bwe.estimator.engine");
        return CONFIG.getDuration(ConfigUtil.joinPath("jmt", "bwe", "estimator", engine, "default-" + name));
    }
}
