package jvbtune.bridge;

import java.util.LinkedList;
import java.util.List;
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
    private static final int RECENT_SPEAKERS =
            BridgeConfig.integer("videobridge.speech-activity.recent-speakers-count") + 1;
    private static final long NO_SILENCE_DETECTION = -1;

    private final DominantSpeakerIdentification<String> identification =
            new DominantSpeakerIdentification<>(NO_SILENCE_DETECTION);

    /** The ids of those who have spoken, the last one first. */
    private final LinkedList<String> speakers = new LinkedList<>();

    /** @param onDominantSpeaker called on the IO pool where another endpoint has become the dominant speaker */
    SpeechActivity(Runnable onDominantSpeaker) {
        identification.setLoudestConfig(LOUDEST_ONLY ? LOUDEST : 0, ENERGY_EXPIRE_MILLIS, ENERGY_ALPHA_PERCENT);
        identification.addActiveSpeakerChangedListener(id -> {
            if (id != null) {
                Metrics.DOMINANT_SPEAKER_CHANGES.inc();
                synchronized (speakers) {
                    speakers.remove(id);
                    speakers.addFirst(id);
                }
                TaskPools.IO.execute(onDominantSpeaker);
            }
        });
    }

    /** The ids of those who have spoken, the last one first. */
    List<String> speakers() {
        synchronized (speakers) {
            return List.copyOf(speakers);
        }
    }

    /** Those of the speakers that endpoints are told about. */
    List<String> recentSpeakers() {
        List<String> all = speakers();
        return all.subList(0, Math.min(all.size(), RECENT_SPEAKERS));
    }

    void remove(String endpointId) {
        synchronized (speakers) {
            speakers.remove(endpointId);
        }
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
