package jvbtune.bridge.media;

import org.jitsi.utils.stats.RateTracker;

/** Whether a kind of media flows (BitrateCalculator.kt). */
final class MediaActivity {
    private static final long GRACE_MILLIS = 10_000;

    private final RateTracker rate = PacketStreamStats.newRateTracker();
    private final long startMillis = System.currentTimeMillis();
    private final int thresholdPps;

    MediaActivity(int thresholdPps) {
        this.thresholdPps = thresholdPps;
    }

    void update() {
        rate.update(1, System.currentTimeMillis());
    }

    boolean isActive() {
        long now = System.currentTimeMillis();
        return rate.getRate(now) >= (now - startMillis <= GRACE_MILLIS ? 1 : thresholdPps);
    }
}
