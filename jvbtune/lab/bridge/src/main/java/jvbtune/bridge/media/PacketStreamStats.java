package jvbtune.bridge.media;

import java.util.concurrent.atomic.LongAdder;
import jvbtune.bridge.BridgeConfig;
import org.jitsi.utils.stats.RateTracker;

/** Rates over JVB's window and totals of one direction of one endpoint (PacketStreamStats.kt). Thread-safe. */
public final class PacketStreamStats {
    private final RateTracker bytesRate = newRateTracker();
    private final RateTracker packetRate = newRateTracker();
    private final LongAdder bytes = new LongAdder();
    private final LongAdder packets = new LongAdder();

    public static RateTracker newRateTracker() {
        return new RateTracker(BridgeConfig.rateWindow("window-size"), BridgeConfig.rateWindow("bucket-size"));
    }

    void update(int packetBytes) {
        long now = System.currentTimeMillis();
        bytesRate.update(packetBytes, now);
        packetRate.update(1, now);
        bytes.add(packetBytes);
        packets.increment();
    }

    public long bitrateBps() {
        return 8 * bytesRate.getRate(System.currentTimeMillis());
    }

    public long packetRatePps() {
        return packetRate.getRate(System.currentTimeMillis());
    }

    public long bytes() {
        return bytes.sum();
    }

    public long packets() {
        return packets.sum();
    }
}
