package jvbtune.bridge;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.typesafe.config.Config;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BridgeConfigTest {
    @TempDir
    Path directory;

    @AfterEach
    void clear() {
        System.clearProperty("config.file");
        System.clearProperty("videobridge.ice.udp.port");
    }

    @Test
    void hasTheDefaultsOfTheRealBridge() {
        Config config = BridgeConfig.load();
        assertFalse(config.getBoolean("videobridge.apis.rest.enabled"));
        assertEquals(10485760, config.getInt("ice4j.harvest.udp.receive-buffer-size"));
        assertEquals("cpu-usage", config.getString("videobridge.load-management.load-measurements.load-measurement"));
    }

    @Test
    void mergesTheFileOverTheJarAndSystemPropertiesOverAll() throws IOException {
        Path file = Files.writeString(
                directory.resolve("jvb.conf"),
                "videobridge { apis.rest.enabled = true, ice.udp.port = 1 }, ice4j.harvest.udp.receive-buffer-size = 5");
        System.setProperty("config.file", file.toString());
        System.setProperty("videobridge.ice.udp.port", "2");
        Config config = BridgeConfig.load();
        assertTrue(config.getBoolean("videobridge.apis.rest.enabled"));
        assertEquals(5, config.getInt("ice4j.harvest.udp.receive-buffer-size"));
        assertFalse(config.getBoolean("ice4j.harvest.use-link-local-addresses"));
        assertEquals(2, config.getInt("videobridge.ice.udp.port"));
    }
}
