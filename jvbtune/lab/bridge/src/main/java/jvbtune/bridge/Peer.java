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
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import jvbtune.bridge.channel.MessageTransport;
import jvbtune.bridge.media.MediaFormat;
import jvbtune.bridge.media.OutgoingHop;
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

/** The other side of a transport, an endpoint or another bridge: ICE, DTLS, and media both ways. */
public abstract class Peer implements RtpReceiver.Handler, IceTransport.Listener {
    private static final long REPORT_INTERVAL_MILLIS = 500;

    /** How long ICE may take before a peer that never sent anything expires (Endpoint.kt, epTimeout). */
    private static final Duration CONNECT_TIMEOUT = Duration.ofMinutes(2);

    /** How long after DTLS a peer is counted that has no channel. */
    private static final long CHANNEL_DELAY_SECONDS = 30;

    private final String id;
    private final Conference conference;
    private final Logger logger;
    private final MediaFormat format;
    private final OutgoingHop hop;
    private final RtpReceiver receiver;
    private final RtpSender sender;
    private final IceTransport ice;
    private final DtlsTransport dtls;
    private final AtomicBoolean expired = new AtomicBoolean();
    private final long createdNanos = System.nanoTime();
    private final ScheduledFuture<?> reports;
    private volatile SrtpSession srtp;
    private volatile long lastActivityNanos;
    private volatile boolean active;

    /**
     * @param controlling the bridge's ICE role
     * @param queue the one behind SRTP
     */
    Peer(
            String id,
            Conference conference,
            boolean controlling,
            MediaFormat format,
            RtpSender.Queue queue,
            Logger logger)
            throws IOException {
        this.id = id;
        this.conference = conference;
        this.format = format;
        this.logger = logger;
        hop = new OutgoingHop(format, conference.video()::rtxSsrc, this::send, this::onBandwidth);
        sender = new RtpSender(this::sendToWire, hop, queue);
        receiver = new RtpReceiver(format, this, hop, conference.localVideoSsrc(), this::send);
        ice = new IceTransport(controlling, logger, this::onBuffer, this);
        dtls = new DtlsTransport(id, logger, this::sendDtls, this::onKeys);
        reports = TaskPools.SCHEDULED.scheduleAtFixedRate(
                this::sendReports, REPORT_INTERVAL_MILLIS, REPORT_INTERVAL_MILLIS, TimeUnit.MILLISECONDS);
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

    /** What is known of the way from the bridge to the peer. */
    public OutgoingHop hop() {
        return hop;
    }

    /** The channel for messages. */
    public abstract MessageTransport channel();

    /** The addresses under which the peer may connect to that. */
    abstract List<String> channelUrls();

    /** Takes a new estimate of the bandwidth to the peer. */
    abstract void onBandwidth(long bps);

    /** To be called now and then: what is due is done. */
    abstract void tick();

    /** The peer has had no channel for a while. */
    abstract void onNoChannel();

    Conference conference() {
        return conference;
    }

    Logger logger() {
        return logger;
    }

    MediaFormat format() {
        return format;
    }

    // Signalling, one request of a conference at a time.

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
        List<String> urls = channelUrls();
        if (!urls.isEmpty()) {
            urls.forEach(json.putArray("web-sockets")::add);
        }
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
        TaskPools.SCHEDULED.schedule(this::checkChannel, CHANNEL_DELAY_SECONDS, TimeUnit.SECONDS);
    }

    private void checkChannel() {
        if (!expired.get() && !channel().isConnected()) {
            onNoChannel();
        }
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
    public void onKeyFrameRequest(long ssrc) {
        conference.video().requestKeyFrame(id, ssrc);
    }

    @Override
    public long rtxPrimary(long ssrc) {
        return conference.video().rtxPrimary(ssrc);
    }

    private void send(Packet packet) {
        sender.enqueue(packet);
    }

    /** Takes a packet over, in the clear. */
    void sendIfConnected(Packet packet) {
        if (isConnected()) {
            sender.enqueue(packet);
        } else {
            packet.release();
        }
    }

    /** Whether SRTP and ICE stand. */
    boolean isConnected() {
        return srtp != null && ice.isConnected();
    }

    private void sendReports() {
        if (isConnected()) {
            receiver.receiverReports(conference.localSsrc()).forEach(sender::enqueue);
            tick();
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

    /** Whether it connected, but without DTLS. */
    boolean dtlsFailed() {
        return ice.isConnected() && !dtls.isConnected();
    }

    /** Frees everything; false where that was done before. */
    boolean close() {
        if (!expired.compareAndSet(false, true)) {
            return false;
        }
        reports.cancel(false);
        receiver.close();
        sender.close();
        dtls.close();
        ice.stop();
        SrtpSession session = srtp;
        if (session != null) {
            session.close();
        }
        logger.info("Expired.");
        return true;
    }

    ObjectNode debugJson(ObjectNode json) {
        return json.put("ice_connected", ice.isConnected())
                .put("dtls_connected", dtls.isConnected())
                .put("packets_received", receiver.stats().packets())
                .put("packets_sent", sender.stats().packets());
    }
}
