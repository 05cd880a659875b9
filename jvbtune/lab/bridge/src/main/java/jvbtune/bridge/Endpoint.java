package jvbtune.bridge;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import jvbtune.bridge.media.MediaFormat;
import jvbtune.bridge.media.RtpReceiver;
import jvbtune.bridge.media.RtpSender;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtp;
import jvbtune.bridge.stats.Metrics;
import jvbtune.bridge.transport.DtlsTransport;
import jvbtune.bridge.transport.IceTransport;
import jvbtune.bridge.transport.SrtpSession;
import org.ice4j.util.Buffer;
import org.jitsi.utils.logging2.Logger;

/** A participant: ICE, DTLS, what it sends, what it is sent (Endpoint.kt). */
public final class Endpoint implements RtpReceiver.Handler, IceTransport.Listener {
    private static final long REPORT_INTERVAL_MILLIS = 500;

    /** How long ICE may take before an endpoint that never sent anything expires (Endpoint.kt, epTimeout). */
    private static final Duration CONNECT_TIMEOUT = Duration.ofMinutes(2);

    private final String id;
    private final Conference conference;
    private final Logger logger;
    private final MediaFormat format = new MediaFormat();
    private final RtpReceiver receiver = new RtpReceiver(format, this);
    private final RtpSender sender = new RtpSender(this::sendToWire);
    private final IceTransport ice;
    private final DtlsTransport dtls;
    private final AtomicBoolean expired = new AtomicBoolean();
    private final long createdNanos = System.nanoTime();
    private final ScheduledFuture<?> reports;
    private Set<Long> sources = Set.of();
    private volatile SrtpSession srtp;
    private volatile long lastActivityNanos;
    private volatile boolean active;

    /** @param controlling the bridge's ICE role */
    Endpoint(String id, Conference conference, boolean controlling, Logger parent) throws IOException {
        this.id = id;
        this.conference = conference;
        this.logger = parent.createChildLogger(Endpoint.class.getName(), Map.of("epId", id));
        ice = new IceTransport(controlling, logger, this::onBuffer, this);
        dtls = new DtlsTransport(id, logger, this::sendDtls, this::onKeys);
        reports = TaskPools.SCHEDULED.scheduleAtFixedRate(
                this::sendReports, REPORT_INTERVAL_MILLIS, REPORT_INTERVAL_MILLIS, TimeUnit.MILLISECONDS);
        Metrics.ENDPOINTS_CREATED.inc();
        Metrics.LOCAL_ENDPOINTS.inc();
        logger.info("Created new endpoint, iceControlling=" + controlling);
    }

    public String id() {
        return id;
    }

    public RtpReceiver receiver() {
        return receiver;
    }

    public RtpSender sender() {
        return sender;
    }

    // Signalling, one request of a conference at a time.

    void addMedia(JsonNode media) {
        format.add(media);
    }

    /** Takes ufrag, pwd, candidates and fingerprints of the peer. */
    void setTransport(JsonNode transport) {
        Map<String, List<String>> fingerprints = new HashMap<>();
        String setup = null;
        for (JsonNode fingerprint : transport.path("fingerprints")) {
            String hash = fingerprint.path("hash").asText().toLowerCase(Locale.ROOT);
            fingerprints.computeIfAbsent(hash, h -> new ArrayList<>()).add(fingerprint.path("fingerprint").asText());
            setup = setup == null ? fingerprint.path("setup").asText() : setup;
        }
        if (!fingerprints.isEmpty()) {
            dtls.setRemote(fingerprints, setup);
        }
        ice.setRemote(transport);
    }

    Set<Long> sources() {
        return sources;
    }

    void setSources(Set<Long> ssrcs) {
        sources = ssrcs;
    }

    /** The bridge's side of the transport, as COLIBRI's JSON has it. */
    ObjectNode describeTransport(ObjectNode json) {
        json.put("xmlns", "urn:xmpp:jingle:transports:ice-udp:1");
        ice.describe(json);
        json.putArray("fingerprints")
                .addObject()
                .put("fingerprint", dtls.fingerprint())
                .put("setup", dtls.setup())
                .put("hash", dtls.fingerprintHash());
        json.put("rtcp-mux", true);
        return json;
    }

    // Transport events.

    private void onBuffer(Buffer buffer) {
        if (Rtp.looksLikeDtls(buffer.getBuffer(), buffer.getOffset(), buffer.getLength())) {
            dtls.enqueue(buffer);
            return;
        }
        touch();
        receiver.enqueue(new Packet(buffer.getBuffer(), buffer.getOffset(), buffer.getLength(), buffer.getReceivedTime()));
    }

    @Override
    public void onWriteable() {
        logger.info("ICE connected");
        dtls.onWriteable();
    }

    @Override
    public void onConnected() {
        Metrics.ICE_SUCCEEDED.inc();
    }

    @Override
    public void onFailed() {
        logger.warn("ICE failed");
        Metrics.ICE_FAILED.inc();
        Metrics.ENDPOINTS_ICE_FAILED.inc();
    }

    @Override
    public void onConsent() {
        touch();
    }

    private void touch() {
        lastActivityNanos = System.nanoTime();
        active = true;
    }

    private void onKeys(SrtpSession session) {
        logger.info("DTLS handshake complete");
        srtp = session;
        receiver.setSrtp(session);
        sender.setSrtp(session);
    }

    private void sendDtls(byte[] buffer, int offset, int length) {
        try {
            ice.send(buffer, offset, length);
        } catch (IOException e) {
            logger.warn("Cannot send DTLS: " + e);
        }
    }

    private void sendToWire(byte[] buffer, int offset, int length) throws IOException {
        ice.send(buffer, offset, length);
    }

    // Media.

    @Override
    public void onRtp(Packet packet, MediaFormat.Kind kind, long ssrc) {
        conference.routeRtp(this, packet, kind, ssrc);
    }

    @Override
    public void onSenderReport(Packet packet) {
        conference.routeSenderReport(this, packet);
    }

    @Override
    public boolean onAudioLevel(int level) {
        return conference.tossesByLevel(this, level);
    }

    /** Whether this endpoint is to be sent packets of that kind. */
    boolean wants(MediaFormat.Kind kind) {
        return srtp != null && ice.isConnected() && format.accepts(kind);
    }

    /** Whether SRTP and ICE stand. */
    boolean isConnected() {
        return srtp != null && ice.isConnected();
    }

    private void sendReports() {
        if (isConnected()) {
            receiver.receiverReports(conference.localSsrc()).forEach(sender::enqueue);
        }
    }

    // End.

    /** Whether ICE failed, or nothing was heard for {@code videobridge.entity-expiration.timeout}. */
    boolean shouldExpire() {
        Duration timeout = BridgeConfig.duration("videobridge.entity-expiration.timeout");
        long now = System.nanoTime();
        return ice.hasFailed()
                || (active ? now - lastActivityNanos > timeout.toNanos() : now - createdNanos > CONNECT_TIMEOUT.toNanos());
    }

    /** Frees everything. The totals of the bridge take in what this endpoint counted, only now, as in JVB. */
    void expire() {
        if (!expired.compareAndSet(false, true)) {
            return;
        }
        reports.cancel(false);
        if (ice.isConnected() && !dtls.isConnected()) {
            Metrics.ENDPOINTS_DTLS_FAILED.inc();
        }
        receiver.close();
        sender.close();
        dtls.close();
        ice.stop();
        SrtpSession session = srtp;
        if (session != null) {
            session.close();
        }
        Metrics.BYTES_RECEIVED.add(receiver.stats().bytes());
        Metrics.BYTES_SENT.add(sender.stats().bytes());
        Metrics.PACKETS_RECEIVED.add(receiver.stats().packets());
        Metrics.PACKETS_SENT.add(sender.stats().packets());
        Metrics.LOCAL_ENDPOINTS.dec();
        logger.info("Expired.");
    }

    ObjectNode debugJson(ObjectNode json) {
        return json.put("ice_connected", ice.isConnected())
                .put("dtls_connected", dtls.isConnected())
                .put("packets_received", receiver.stats().packets())
                .put("packets_sent", sender.stats().packets());
    }
}
