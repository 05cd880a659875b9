package jvbtune.bridge.transport;

import java.util.Arrays;
import java.util.List;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.BufferPool;
import jvbtune.bridge.rtp.Packet;
import org.ice4j.ice.Agent;
import org.ice4j.ice.harvest.AbstractUdpListener;
import org.ice4j.ice.harvest.MappingCandidateHarvesters;
import org.ice4j.ice.harvest.SinglePortUdpHarvester;
import org.ice4j.util.Buffer;

/** The sockets that all endpoints share: ice4j's single-port harvesters on {@code videobridge.ice.udp.port}. */
public final class Harvesters {
    private static List<SinglePortUdpHarvester> harvesters = List.of();

    private Harvesters() {}

    /** Binds the port on each allowed address and starts the reader thread of each. */
    public static void start() {
        AbstractUdpListener.USE_PUSH_API = true;
        AbstractUdpListener.BYTES_TO_LEAVE_AT_START_OF_PACKET = Packet.HEADROOM_BYTES;
        AbstractUdpListener.BYTES_TO_LEAVE_AT_END_OF_PACKET = Packet.TAILROOM_BYTES;
        org.ice4j.util.BufferPool.getBuffer = bytes -> {
            byte[] buffer = BufferPool.get(bytes);
            return new Buffer(buffer, 0, buffer.length);
        };
        org.ice4j.util.BufferPool.returnBuffer = buffer -> {
            BufferPool.put(buffer.getBuffer());
            return kotlin.Unit.INSTANCE;
        };
        // Apart, because mappings by AWS or STUN may take long to find out.
        Thread mapping = new Thread(MappingCandidateHarvesters::initialize, "mapping harvesters");
        mapping.setDaemon(true);
        mapping.start();
        harvesters = SinglePortUdpHarvester.createHarvesters(BridgeConfig.integer("videobridge.ice.udp.port"));
    }

    /** None could be bound: no endpoint will ever connect. */
    public static boolean isEmpty() {
        return harvesters.isEmpty();
    }

    /** Whether one of the addresses, or what they are mapped to, can be reached from outside. */
    public static boolean hasValidAddress() {
        return harvesters.stream().anyMatch(h -> isPublic(h.getLocalAddress().getAddress()))
                || Arrays.stream(MappingCandidateHarvesters.getHarvesters())
                        .anyMatch(h -> h.getMask() != null && isPublic(h.getMask().getAddress()));
    }

    private static boolean isPublic(java.net.InetAddress address) {
        return !address.isSiteLocalAddress() && !address.isLinkLocalAddress() && !address.isLoopbackAddress();
    }

    static void addTo(Agent agent) {
        harvesters.forEach(agent::addCandidateHarvester);
    }

    public static void close() {
        harvesters.forEach(SinglePortUdpHarvester::close);
    }
}
