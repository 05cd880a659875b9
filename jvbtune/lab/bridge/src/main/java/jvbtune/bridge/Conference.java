package jvbtune.bridge;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import jvbtune.bridge.media.MediaFormat.Kind;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.stats.Metrics;
import jvbtune.bridge.stats.QueueStats;
import org.jitsi.utils.logging2.Logger;

/** A conference: its endpoints, and the routing between them (Conference.java). Packets are routed without a lock. */
public final class Conference {
    /** The lab's bridge has no channel on which receivers ask for video: it forwards all of it, or by default none. */
    private static final boolean FORWARD_VIDEO = BridgeConfig.integer("videobridge.cc.initial-max-height-px") > 0;

    private static final Endpoint[] NONE = {};

    private final String id = Long.toHexString(ThreadLocalRandom.current().nextLong());
    private final String meetingId;
    private final Logger logger;
    private final Instant created = Instant.now();
    private final SpeechActivity speech = new SpeechActivity();
    private final long localSsrc = ThreadLocalRandom.current().nextLong(1, 1L << 32);
    private final long localVideoSsrc = ThreadLocalRandom.current().nextLong(1, 1L << 32);
    private volatile Endpoint[] endpoints = NONE;
    private volatile Set<Long> sources = Set.of();

    Conference(String meetingId, String name, Logger parent) {
        this.meetingId = meetingId;
        this.logger = parent.createChildLogger(
                Conference.class.getName(), Map.of("confId", id, "meetingId", meetingId, "conf_name", String.valueOf(name)));
        QueueStats.makeUnusedQueues();
        Metrics.CONFERENCES_CREATED.inc();
        Metrics.CONFERENCES.inc();
    }

    public String id() {
        return id;
    }

    public String meetingId() {
        return meetingId;
    }

    /** The endpoints of this moment; not to be written to. */
    public Endpoint[] endpoints() {
        return endpoints;
    }

    /** The SSRC of the bridge's own audio and RTCP in this conference. */
    public long localSsrc() {
        return localSsrc;
    }

    /** The SSRC that stands for the bridge's own video; signalled, never sent. */
    public long localVideoSsrc() {
        return localVideoSsrc;
    }

    Instant created() {
        return created;
    }

    // Signalling, under the conference's monitor.

    /** The endpoint of that id, null where there is none. */
    Endpoint endpoint(String endpointId) {
        for (Endpoint endpoint : endpoints) {
            if (endpoint.id().equals(endpointId)) {
                return endpoint;
            }
        }
        return null;
    }

    synchronized Endpoint addEndpoint(String endpointId, boolean controlling) throws IOException {
        Endpoint endpoint = new Endpoint(endpointId, this, controlling, logger);
        Endpoint[] more = Arrays.copyOf(endpoints, endpoints.length + 1);
        more[endpoints.length] = endpoint;
        endpoints = more;
        return endpoint;
    }

    synchronized void removeEndpoint(Endpoint endpoint) {
        List<Endpoint> fewer = new ArrayList<>(Arrays.asList(endpoints));
        if (fewer.remove(endpoint)) {
            endpoints = fewer.toArray(NONE);
            updateSources();
        }
        endpoint.expire();
    }

    /** To be called when an endpoint's sources have changed. */
    synchronized void updateSources() {
        Set<Long> all = new HashSet<>();
        for (Endpoint endpoint : endpoints) {
            all.addAll(endpoint.sources());
        }
        sources = Set.copyOf(all);
    }

    synchronized void expire() {
        for (Endpoint endpoint : endpoints) {
            endpoint.expire();
        }
        endpoints = NONE;
        sources = Set.of();
        Metrics.CONFERENCES.dec();
        Metrics.CONFERENCES_COMPLETED.inc();
        Metrics.CONFERENCE_SECONDS.add(Math.max(0, Instant.now().getEpochSecond() - created.getEpochSecond()));
        logger.info("Expired.");
    }

    // Media, on the CPU pool.

    /** Sends a decrypted packet to every other endpoint that wants it, if its SSRC was signalled. Takes it over. */
    void routeRtp(Endpoint from, Packet packet, Kind kind, long ssrc) {
        if (!sources.contains(ssrc) || (kind == Kind.VIDEO && !FORWARD_VIDEO)) {
            packet.release();
            return;
        }
        // The last receiver gets the packet itself, the others copies.
        Endpoint last = null;
        for (Endpoint endpoint : endpoints) {
            if (endpoint != from && endpoint.wants(kind)) {
                if (last != null) {
                    last.sender().enqueue(packet.copy());
                }
                last = endpoint;
            }
        }
        handOver(last, packet);
    }

    /** Sends a sender report to every other endpoint; those that get nothing of its stream drop it. Takes it over. */
    void routeSenderReport(Endpoint from, Packet packet) {
        Endpoint last = null;
        for (Endpoint endpoint : endpoints) {
            if (endpoint != from && endpoint.isConnected()) {
                if (last != null) {
                    last.sender().enqueue(packet.copy());
                }
                last = endpoint;
            }
        }
        handOver(last, packet);
    }

    private static void handOver(Endpoint last, Packet packet) {
        if (last != null) {
            last.sender().enqueue(packet);
        } else {
            packet.release();
        }
    }

    boolean tossesByLevel(Endpoint from, int level) {
        return speech.tosses(from.id(), level);
    }

    ObjectNode debugJson(ObjectNode json) {
        json.put("meeting_id", meetingId).put("created", created.toString());
        ObjectNode members = json.putObject("endpoints");
        for (Endpoint endpoint : endpoints) {
            endpoint.debugJson(members.putObject(endpoint.id()));
        }
        return json;
    }
}
