package jvbtune.bridge.transport;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.beans.PropertyChangeEvent;
import java.io.IOException;
import java.util.concurrent.atomic.AtomicBoolean;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.TaskPools;
import org.ice4j.Transport;
import org.ice4j.TransportAddress;
import org.ice4j.ice.Agent;
import org.ice4j.ice.CandidateType;
import org.ice4j.ice.Component;
import org.ice4j.ice.IceMediaStream;
import org.ice4j.ice.IceProcessingState;
import org.ice4j.ice.KeepAliveStrategy;
import org.ice4j.ice.LocalCandidate;
import org.ice4j.ice.NominationStrategy;
import org.ice4j.ice.RemoteCandidate;
import org.ice4j.util.BufferHandler;
import org.jitsi.utils.logging2.Logger;

/** ICE of one endpoint: an ice4j Agent with one stream and one component on the shared port (JVB's IceTransport.kt). */
public final class IceTransport {
    /** What becomes of the transport; called on ice4j's threads. */
    public interface Listener {
        void onWriteable();

        void onConnected();

        void onFailed();

        void onConsent();
    }

    private final Logger logger;
    private final Listener listener;
    private final Agent agent;
    private final IceMediaStream stream;
    private final Component component;
    private final AtomicBoolean writeable = new AtomicBoolean();
    private final AtomicBoolean connected = new AtomicBoolean();
    private final AtomicBoolean failed = new AtomicBoolean();
    private final AtomicBoolean stopped = new AtomicBoolean();
    private final Object startLock = new Object();
    private boolean credentialsKnown;

    /**
     * @param controlling the bridge's role
     * @param onBuffer takes each datagram that is not STUN, on the reader thread of the socket
     * @throws IOException where ice4j cannot make the component
     */
    public IceTransport(boolean controlling, Logger logger, BufferHandler onBuffer, Listener listener) throws IOException {
        this.logger = logger;
        this.listener = listener;
        agent = new Agent(BridgeConfig.stringOrNull("videobridge.ice.ufrag-prefix"), logger);
        Harvesters.addTo(agent);
        agent.setControlling(controlling);
        agent.setPerformConsentFreshness(true);
        agent.setNominationStrategy(
                NominationStrategy.fromString(BridgeConfig.string("videobridge.ice.nomination-strategy")));
        stream = agent.createMediaStream("stream");
        component = agent.createComponent(
                stream, KeepAliveStrategy.fromString(BridgeConfig.string("videobridge.ice.keep-alive-strategy")), false);
        agent.addStateChangeListener(this::onState);
        stream.addPairChangeListener(this::onPair);
        component.setBufferCallback(onBuffer);
    }

    public boolean isConnected() {
        return connected.get();
    }

    public boolean hasFailed() {
        return failed.get();
    }

    /** Writes the bridge's credentials and candidates as COLIBRI's JSON has them. */
    public void describe(ObjectNode json) {
        json.put("pwd", agent.getLocalPassword());
        json.put("ufrag", agent.getLocalUfrag());
        ArrayNode candidates = json.arrayNode();
        for (LocalCandidate candidate : component.getLocalCandidates()) {
            TransportAddress address = candidate.getTransportAddress();
            candidates.addObject()
                    .put("component", component.getComponentID())
                    .put("foundation", candidate.getFoundation())
                    .put("generation", agent.getGeneration())
                    .put("id", Integer.toHexString(System.identityHashCode(candidate)) + agent.getLocalUfrag())
                    .put("network", 0)
                    .put("priority", candidate.getPriority())
                    .put("protocol", candidate.getTransport().toString())
                    .put("type", candidate.getType().toString())
                    .put("ip", address.getHostAddress())
                    .put("port", address.getPort());
        }
        json.set("candidates", candidates);
    }

    /**
     * Takes what was signalled of the peer and starts the connectivity checks, on the IO pool: ice4j takes several locks
     * for it, which must not hold up the signalling.
     */
    public void setRemote(JsonNode transport) {
        TaskPools.IO.execute(() -> {
            try {
                synchronized (startLock) {
                    start(transport);
                }
            } catch (RuntimeException e) {
                logger.error("Cannot start ICE", e);
            }
        });
    }

    private void start(JsonNode transport) {
        if (stopped.get() || agent.getState().isEstablished()) {
            return;
        }
        if (transport.hasNonNull("ufrag") && transport.hasNonNull("pwd")) {
            stream.setRemoteUfrag(transport.get("ufrag").asText());
            stream.setRemotePassword(transport.get("pwd").asText());
            credentialsKnown = true;
        }
        boolean running = agent.getState() == IceProcessingState.RUNNING;
        int added = 0;
        for (JsonNode candidate : transport.path("candidates")) {
            added += addRemoteCandidate(candidate, running) ? 1 : 0;
        }
        if (running) {
            if (added > 0) {
                component.updateRemoteCandidates();
            }
        } else if (credentialsKnown) {
            agent.startConnectivityEstablishment();
        }
    }

    private boolean addRemoteCandidate(JsonNode json, boolean running) {
        if (!"udp".equalsIgnoreCase(json.path("protocol").asText())) {
            return false;
        }
        TransportAddress address =
                new TransportAddress(json.path("ip").asText(), json.path("port").asInt(), Transport.UDP);
        if (component.getLocalCandidates().stream().noneMatch(local -> local.getTransportAddress().canReach(address))) {
            return false;
        }
        RemoteCandidate candidate = new RemoteCandidate(
                address,
                component,
                CandidateType.parse(json.path("type").asText("host")),
                json.path("foundation").asText("1"),
                json.path("priority").asLong(),
                null);
        if (running) {
            component.addUpdateRemoteCandidates(candidate);
        } else {
            component.addRemoteCandidate(candidate);
        }
        return true;
    }

    private void onState(PropertyChangeEvent event) {
        Object before = event.getOldValue();
        Object now = event.getNewValue();
        if (now == IceProcessingState.COMPLETED) {
            if (connected.compareAndSet(false, true)) {
                listener.onConnected();
            }
        } else if (now == IceProcessingState.FAILED
                || (before == IceProcessingState.RUNNING && now == IceProcessingState.TERMINATED)) {
            if (!stopped.get() && failed.compareAndSet(false, true)) {
                listener.onFailed();
            }
        }
    }

    private void onPair(PropertyChangeEvent event) {
        if (IceMediaStream.PROPERTY_PAIR_VALIDATED.equals(event.getPropertyName())) {
            if (writeable.compareAndSet(false, true)) {
                listener.onWriteable();
            }
        } else if (IceMediaStream.PROPERTY_PAIR_CONSENT_FRESHNESS_CHANGED.equals(event.getPropertyName())) {
            listener.onConsent();
        }
    }

    /** Sends a datagram on the selected pair. */
    public void send(byte[] buffer, int offset, int length) throws IOException {
        if (!stopped.get()) {
            component.send(buffer, offset, length);
        }
    }

    /** Frees the agent, on the IO pool: it joins threads. */
    public void stop() {
        if (stopped.compareAndSet(false, true)) {
            TaskPools.IO.execute(agent::free);
        }
    }
}
