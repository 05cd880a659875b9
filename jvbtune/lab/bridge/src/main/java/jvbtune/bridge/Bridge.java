package jvbtune.bridge;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.time.Instant;
import java.util.Collection;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import jvbtune.bridge.stats.Metrics;
import org.jitsi.utils.logging2.Logger;
import org.jitsi.utils.logging2.LoggerImpl;

/** All conferences, and the bridge's state: draining, shutting down (Videobridge.java, ShutdownManager.kt). */
public final class Bridge {
    private final Logger logger = new LoggerImpl(Bridge.class.getName());
    private final Map<String, Conference> conferences = new ConcurrentHashMap<>();
    private final Runnable exit;
    private boolean shutdownStarted;

    /** @param exit ends the process; called once, after a shutdown by request */
    public Bridge(Runnable exit) {
        this.exit = exit;
        setDrain(BridgeConfig.bool("videobridge.initial-drain-mode"));
        Duration check = BridgeConfig.duration("videobridge.entity-expiration.check-interval");
        TaskPools.SCHEDULED.scheduleWithFixedDelay(
                () -> TaskPools.IO.execute(this::expireIdle), check.toMillis(), check.toMillis(), TimeUnit.MILLISECONDS);
    }

    public Collection<Conference> conferences() {
        return conferences.values();
    }

    /** The conference of that meeting, null where there is none. */
    public Conference conference(String meetingId) {
        return conferences.get(meetingId);
    }

    /** A new conference; null where the meeting has one already. */
    public synchronized Conference createConference(String meetingId, String name) {
        if (conferences.containsKey(meetingId)) {
            return null;
        }
        Conference conference = new Conference(meetingId, name, logger);
        conferences.put(meetingId, conference);
        logger.info("create_conf, id=" + conference.id() + " meeting_id=" + meetingId);
        return conference;
    }

    public void expireConference(Conference conference) {
        if (conferences.remove(conference.meetingId(), conference)) {
            conference.expire();
            maybeExit();
        }
    }

    private void expireIdle() {
        try {
            Duration timeout = BridgeConfig.duration("videobridge.entity-expiration.timeout");
            for (Conference conference : conferences()) {
                for (Endpoint endpoint : conference.endpoints()) {
                    if (endpoint.shouldExpire()) {
                        logger.info("Expiring endpoint " + endpoint.id() + ": nothing heard of it");
                        conference.removeEndpoint(endpoint);
                    }
                }
                for (Relay relay : conference.relays()) {
                    if (relay.shouldExpire()) {
                        logger.info("Expiring relay " + relay.id() + ": nothing heard of it");
                        conference.removeRelay(relay);
                    }
                }
                if (conference.isEmpty() && conference.created().plus(timeout).isBefore(Instant.now())) {
                    expireConference(conference);
                }
            }
        } catch (RuntimeException e) {
            logger.error("Cannot expire what is idle", e);
        }
    }

    public boolean isDraining() {
        return Metrics.DRAIN_MODE.get();
    }

    /** Draining speaks to Jicofo alone: conferences are taken by REST all the same. */
    public void setDrain(boolean drain) {
        logger.info("Received drain request. enable=" + drain);
        Metrics.DRAIN_MODE.set(drain);
    }

    /** Whether new conferences are refused. */
    public boolean refusesConferences() {
        return Metrics.GRACEFUL_SHUTDOWN.get() || Metrics.SHUTTING_DOWN.get();
    }

    /**
     * Shuts down after {@code videobridge.shutdown.shutting-down-delay}.
     *
     * @param graceful first wait until at most {@code graceful-shutdown-min-participants} are left
     */
    public void shutdown(boolean graceful) {
        logger.info("Received shutdown request, graceful=" + graceful);
        if (graceful) {
            Metrics.GRACEFUL_SHUTDOWN.set(true);
            maybeExit();
        } else {
            beginExit();
        }
    }

    private void maybeExit() {
        int most = BridgeConfig.integer("videobridge.shutdown.graceful-shutdown-min-participants");
        if (Metrics.GRACEFUL_SHUTDOWN.get() && Metrics.LOCAL_ENDPOINTS.get() <= most) {
            beginExit();
        }
    }

    private synchronized void beginExit() {
        if (!shutdownStarted) {
            shutdownStarted = true;
            Metrics.SHUTTING_DOWN.set(true);
            Duration delay = BridgeConfig.duration("videobridge.shutdown.shutting-down-delay");
            logger.info("Will shut down in " + delay);
            TaskPools.SCHEDULED.schedule(exit, delay.toMillis(), TimeUnit.MILLISECONDS);
        }
    }

    /** The answer of {@code /debug}. */
    public ObjectNode debugJson() {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.put("drain", isDraining()).put("time", System.currentTimeMillis());
        ObjectNode all = json.putObject("conferences");
        conferences().forEach(conference -> conference.debugJson(all.putObject(conference.id())));
        return json;
    }
}
