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
    private static final Endpoint[] NONE = {};

    private final String id = Long.toHexString(ThreadLocalRandom.current().nextLong());
    private final String meetingId;
    private final Logger logger;
    private final Instant created = Instant.now();
    private final SpeechActivity speech = new SpeechActivity(this::dominantSpeakerChanged);
    private final long localSsrc = ThreadLocalRandom.current().nextLong(1, 1L << 32);
    private final long localVideoSsrc = ThreadLocalRandom.current().nextLong(1, 1L << 32);
    private volatile Endpoint[] endpoints = NONE;
    private volatile List<Relay> relays = List.of();

    /** The endpoints, and those behind relays. */
    private volatile List<Participant> participants = List.of();

    private volatile Set<Long> sources = Set.of();
    private final ConferenceVideo video = new ConferenceVideo(this, speech);
    private final ConferenceMessages messages = new ConferenceMessages(this, speech);

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

    /** The relays of this moment. */
    public List<Relay> relays() {
        return relays;
    }

    List<Participant> participants() {
        return participants;
    }

    /** The SSRC of the bridge's own audio and RTCP in this conference. */
    public long localSsrc() {
        return localSsrc;
    }

    /** The SSRC of the bridge's own video, of which there is none, and of its feedback. */
    public long localVideoSsrc() {
        return localVideoSsrc;
    }

    /** The video of the conference, and who receives it. */
    ConferenceVideo video() {
        return video;
    }

    /** What its endpoints are told over their channels. */
    ConferenceMessages messages() {
        return messages;
    }

    private void dominantSpeakerChanged() {
        messages.sendSpeakers();
        video.speakerChanged();
    }

    Instant created() {
        return created;
    }

    /** Whether nobody is there any more. */
    boolean isEmpty() {
        return endpoints.length == 0 && relays.isEmpty();
    }

    // Signalling, under the conference's monitor.

    /** The endpoint of that id, null where there is none. */
    public Endpoint endpoint(String endpointId) {
        for (Endpoint endpoint : endpoints) {
            if (endpoint.id().equals(endpointId)) {
                return endpoint;
            }
        }
        return null;
    }

    /** The relay of that id, null where there is none. */
    public Relay relay(String relayId) {
        return relays.stream().filter(relay -> relay.id().equals(relayId)).findFirst().orElse(null);
    }

    /** Likewise of all participants. */
    Participant participant(String participantId) {
        return participants.stream().filter(one -> one.id().equals(participantId)).findFirst().orElse(null);
    }

    synchronized Relay addRelay(String relayId, boolean controlling) throws IOException {
        Relay relay = new Relay(relayId, this, controlling, logger);
        List<Relay> more = new ArrayList<>(relays);
        more.add(relay);
        relays = List.copyOf(more);
        return relay;
    }

    void removeRelay(Relay relay) {
        synchronized (this) {
            relays = relays.stream().filter(other -> other != relay).toList();
            updateSources();
        }
        relay.expire();
        relay.endpoints().forEach(endpoint -> speech.remove(endpoint.id()));
        for (Endpoint endpoint : endpoints) {
            endpoint.video().otherExpired(relay.id());
        }
        video.changed();
    }

    synchronized Endpoint addEndpoint(String endpointId, boolean controlling) throws IOException {
        Endpoint endpoint = new Endpoint(endpointId, this, controlling, logger);
        Endpoint[] more = Arrays.copyOf(endpoints, endpoints.length + 1);
        more[endpoints.length] = endpoint;
        endpoints = more;
        return endpoint;
    }

    void removeEndpoint(Endpoint endpoint) {
        synchronized (this) {
            List<Endpoint> fewer = new ArrayList<>(Arrays.asList(endpoints));
            if (fewer.remove(endpoint)) {
                endpoints = fewer.toArray(NONE);
                updateSources();
            }
        }
        speech.remove(endpoint.id());
        endpoint.expire();
        participants.forEach(other -> other.sent().receivers().remove(endpoint.id()));
        if (!endpoint.sent().sources().isEmpty()) {
            video.changed();
        }
    }

    /** To be called when a participant's sources have changed. */
    synchronized void updateSources() {
        List<Participant> everyone = new ArrayList<>(Arrays.asList(endpoints));
        relays.forEach(relay -> everyone.addAll(relay.endpoints()));
        Set<Long> all = new HashSet<>();
        everyone.forEach(participant -> all.addAll(participant.sources()));
        participants = List.copyOf(everyone);
        sources = Set.copyOf(all);
        video.setSources(VideoSources.of(everyone));
    }

    synchronized void expire() {
        for (Endpoint endpoint : endpoints) {
            endpoint.expire();
        }
        relays.forEach(Relay::expire);
        endpoints = NONE;
        relays = List.of();
        participants = List.of();
        sources = Set.of();
        Metrics.CONFERENCES.dec();
        Metrics.CONFERENCES_COMPLETED.inc();
        Metrics.CONFERENCE_SECONDS.add(Math.max(0, Instant.now().getEpochSecond() - created.getEpochSecond()));
        logger.info("Expired.");
    }

    // Media, on the CPU pool.

    /** Sends a decrypted packet to every other endpoint that wants it, if its SSRC was signalled. Takes it over. */
    void routeRtp(Participant from, Packet packet, Kind kind, long ssrc) {
        if (!sources.contains(ssrc)) {
            packet.release();
            return;
        }
        copyToRelays(from, packet);
        if (kind == Kind.VIDEO) {
            video.route(from, packet, ssrc);
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
    void routeSenderReport(Participant from, Packet packet) {
        copyToRelays(from, packet);
        if (video.routeSenderReport(from, packet)) {
            return;
        }
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

    /** What this bridge's own endpoints send goes to each relay as it is; what came by a relay does not. */
    private void copyToRelays(Participant from, Packet packet) {
        if (from instanceof Endpoint) {
            relays.forEach(relay -> relay.sendIfConnected(packet.copy()));
        }
    }

    private static void handOver(Endpoint last, Packet packet) {
        if (last != null) {
            last.sender().enqueue(packet);
        } else {
            packet.release();
        }
    }

    boolean tossesByLevel(Participant from, int level) {
        return speech.tosses(from.id(), level);
    }

    ObjectNode debugJson(ObjectNode json) {
        json.put("meeting_id", meetingId).put("created", created.toString());
        ObjectNode bridges = json.putObject("relays");
        relays.forEach(relay -> relay.debugJson(bridges.putObject(relay.id())));
        ObjectNode members = json.putObject("endpoints");
        for (Endpoint endpoint : endpoints) {
            endpoint.debugJson(members.putObject(endpoint.id()));
        }
        return json;
    }
}
