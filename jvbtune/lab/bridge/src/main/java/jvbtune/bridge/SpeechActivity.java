package jvbtune.bridge;

import jvbtune.bridge.stats.Metrics;
import org.jitsi.utils.dsi.DominantSpeakerIdentification;
import org.jitsi.utils.dsi.SpeakerRanking;

/**
 * Who speaks in a conference, by the real bridge's own algorithm (jitsi-utils), and loudest-only routing by
 * {@code videobridge.loudest} (ConferenceSpeechActivity.java, Conference.levelChanged).
 */
final class SpeechActivity {
    private static final boolean LOUDEST_ONLY = BridgeConfig.bool("videobridge.loudest.route-loudest-only");
    private static final int LOUDEST = BridgeConfig.integer("videobridge.loudest.num-loudest");
    private static final boolean ALWAYS_DOMINANT = BridgeConfig.bool("videobridge.loudest.always-route-dominant");
    private static final int ENERGY_EXPIRE_MILLIS =
            (int) BridgeConfig.duration("videobridge.loudest.energy-expire-time").toMillis();
    private static final int ENERGY_ALPHA_PERCENT = BridgeConfig.integer("videobridge.loudest.energy-alpha-pct");
    private static final long NO_SILENCE_DETECTION = -1;

    private final DominantSpeakerIdentification<String> identification =
            new DominantSpeakerIdentification<>(NO_SILENCE_DETECTION);

    SpeechActivity() {
        identification.setLoudestConfig(LOUDEST_ONLY ? LOUDEST : 0, ENERGY_EXPIRE_MILLIS, ENERGY_ALPHA_PERCENT);
        identification.addActiveSpeakerChangedListener(id -> {
            if (id != null) {
                Metrics.DOMINANT_SPEAKER_CHANGES.inc();
                // No endpoint can ask for the stage view here: a preemptive key frame request is never sent.
                Metrics.KEYFRAME_REQUESTS_SUPPRESSED.inc();
            }
        });
    }

    /**
     * Takes an audio level of an endpoint.
     *
     * @param level 0 (silence) to 127 (loudest)
     * @return whether the packet is to be tossed
     */
    boolean tosses(String endpointId, int level) {
        SpeakerRanking ranking = identification.levelChanged(endpointId, level);
        if (ranking == null
                || !LOUDEST_ONLY
                || (ranking.isDominant && ALWAYS_DOMINANT)
                || ranking.energyRanking < LOUDEST) {
            return false;
        }
        Metrics.TOSSED_PACKETS_ENERGY.getHistogram().observe(ranking.energyScore);
        return true;
    }
}
