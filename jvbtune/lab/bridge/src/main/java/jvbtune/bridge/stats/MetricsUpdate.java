package jvbtune.bridge.stats;

import com.sun.management.UnixOperatingSystemMXBean;
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryPoolMXBean;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import jvbtune.bridge.Bridge;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.Conference;
import jvbtune.bridge.Endpoint;
import jvbtune.bridge.Relay;
import jvbtune.bridge.media.MediaFormat.Kind;
import org.jitsi.metrics.HistogramMetric;
import org.jitsi.metrics.LongGaugeMetric;
import org.jitsi.utils.concurrent.CustomizableThreadFactory;
import org.jitsi.utils.logging2.Logger;
import org.jitsi.utils.logging2.LoggerImpl;

/** Refreshes the gauges every {@code videobridge.stats.interval} (VideobridgePeriodicMetrics.kt, JvmMetrics.kt). */
public final class MetricsUpdate {
    /** Held while gauges are set or read, so that an answer is of one moment. */
    static final Object LOCK = new Object();

    private static final boolean JVM = BridgeConfig.bool("videobridge.stats.jvm.enabled");
    static final LongGaugeMetric THREADS = JVM ? Metrics.gauge("thread_count", "Current number of JVM threads.") : null;
    private static final LongGaugeMetric GC_COUNT = JVM ? Metrics.gauge("jvm_gc_count", "Garbage collection count.") : null;
    private static final LongGaugeMetric GC_TIME = JVM ? Metrics.gauge("jvm_gc_time", "Garbage collection time.") : null;
    private static final LongGaugeMetric HEAP_COMMITTED = JVM
            ? Metrics.gauge(
                    "jvm_heap_committed", "Capacity of the main memory pool for the heap (GC type specific).")
            : null;
    private static final LongGaugeMetric HEAP_USED =
            JVM ? Metrics.gauge("jvm_heap_used", "Usage of the main memory pool for the heap (GC type specific).") : null;
    private static final LongGaugeMetric OPEN_FILES =
            JVM ? Metrics.gauge("jvm_open_fd_count", "Number of open file descriptors.") : null;

    private final Logger logger = new LoggerImpl(MetricsUpdate.class.getName());
    private final Bridge bridge;
    private final ScheduledExecutorService executor =
            Executors.newSingleThreadScheduledExecutor(new CustomizableThreadFactory("MetricsUpdater-scheduled", true));

    public MetricsUpdate(Bridge bridge) {
        this.bridge = bridge;
    }

    public void start() {
        long interval = BridgeConfig.duration("videobridge.stats.interval").toMillis();
        executor.scheduleAtFixedRate(this::update, 0, interval, TimeUnit.MILLISECONDS);
    }

    public void stop() {
        executor.shutdown();
    }

    private void update() {
        synchronized (LOCK) {
            try {
                if (JVM) {
                    updateJvm();
                }
                updateBridge();
            } catch (RuntimeException e) {
                logger.error("Cannot update the metrics", e);
            }
        }
    }

    private static void updateJvm() {
        THREADS.set((long) ManagementFactory.getThreadMXBean().getThreadCount());
        GC_COUNT.set(collectors().mapToLong(GarbageCollectorMXBean::getCollectionCount).sum());
        GC_TIME.set(collectors().mapToLong(GarbageCollectorMXBean::getCollectionTime).sum());
        if (ManagementFactory.getOperatingSystemMXBean() instanceof UnixOperatingSystemMXBean unix) {
            OPEN_FILES.set(unix.getOpenFileDescriptorCount());
        }
        for (MemoryPoolMXBean pool : ManagementFactory.getMemoryPoolMXBeans()) {
            switch (pool.getName()) {
                case "G1 Old Gen", "ZHeap", "Shenandoah" -> {
                    HEAP_USED.set(pool.getUsage().getUsed());
                    HEAP_COMMITTED.set(pool.getUsage().getCommitted());
                }
                default -> { }
            }
        }
    }

    private static Stream<GarbageCollectorMXBean> collectors() {
        return ManagementFactory.getGarbageCollectorMXBeans().stream();
    }

    private void updateBridge() {
        Sums sums = new Sums();
        HistogramMetric[] histograms = {
            Metrics.CONFERENCES_BY_SIZE, Metrics.CONFERENCES_BY_AUDIO_SENDER, Metrics.CONFERENCES_BY_VIDEO_SENDER
        };
        for (HistogramMetric histogram : histograms) {
            histogram.getHistogram().clear();
        }
        for (Conference conference : bridge.conferences()) {
            int[] counts = sums.add(conference.endpoints(), conference.relays());
            for (int i = 0; i < histograms.length; i++) {
                histograms[i].getHistogram().observe(counts[i]);
            }
        }
        sums.set();
    }

    /** From this share of lost packets on an endpoint has a high outgoing loss. */
    private static final double HIGH_LOSS = 0.1;

    /** What one pass over all endpoints adds up. */
    private static final class Sums {
        long endpoints;
        long largest;
        long active;
        long inactiveEndpoints;
        long inactiveConferences;
        long p2p;
        long receiveOnly;
        long audioSenders;
        long videoSenders;
        long bitsIn;
        long bitsOut;
        long packetsIn;
        long packetsOut;
        long relayed;
        long withRelay;
        long relayBitsIn;
        long relayBitsOut;
        long relayPacketsIn;
        long relayPacketsOut;
        long received;
        long lost;
        long outgoingReceived;
        long outgoingLost;
        long highLoss;
        long unmatched;
        long oversending;
        long suspended;
        double rttSum;
        int rtts;

        /** Endpoints, audio senders and video senders of one conference. */
        int[] add(Endpoint[] members, List<Relay> relays) {
            int audio = 0;
            int video = 0;
            int silent = 0;
            for (Endpoint endpoint : members) {
                boolean sendsAudio = endpoint.receiver().isReceiving(Kind.AUDIO);
                boolean sendsVideo = endpoint.receiver().isReceiving(Kind.VIDEO);
                audio += sendsAudio ? 1 : 0;
                video += sendsVideo ? 1 : 0;
                silent += sendsAudio || sendsVideo ? 0 : 1;
                bitsIn += endpoint.receiver().stats().bitrateBps();
                packetsIn += endpoint.receiver().stats().packetRatePps();
                bitsOut += endpoint.sender().stats().bitrateBps();
                packetsOut += endpoint.sender().stats().packetRatePps();
                long[] counts = endpoint.receiver().receivedAndLost();
                received += counts[0];
                lost += counts[1];
                addOutgoing(endpoint);
            }
            int behind = 0;
            for (Relay relay : relays) {
                behind += relay.endpoints().size();
                addRelay(relay);
            }
            relayed += behind;
            withRelay += relays.isEmpty() ? 0 : 1;
            boolean inactive = silent == members.length;
            endpoints += members.length + behind;
            largest = Math.max(largest, members.length + behind);
            audioSenders += audio;
            videoSenders += video;
            if (inactive) {
                inactiveConferences++;
                inactiveEndpoints += members.length;
                p2p += members.length == 2 ? 1 : 0;
            } else {
                active += members.length;
                receiveOnly += silent;
            }
            return new int[] {members.length + behind, audio, video};
        }

        private void addRelay(Relay relay) {
            relayBitsIn += relay.receiver().stats().bitrateBps();
            relayPacketsIn += relay.receiver().stats().packetRatePps();
            relayBitsOut += relay.sender().stats().bitrateBps();
            relayPacketsOut += relay.sender().stats().packetRatePps();
        }

        private void addOutgoing(Endpoint endpoint) {
            long[] counts = endpoint.hop().receivedAndLost();
            outgoingReceived += counts[0];
            outgoingLost += counts[1];
            highLoss += ratio(counts[1], counts[0]) > HIGH_LOSS ? 1 : 0;
            unmatched += endpoint.hop().unmatchedFeedback();
            oversending += endpoint.video().receiver().isOversending() ? 1 : 0;
            suspended += endpoint.video().receiver().hasSuspendedSources() ? 1 : 0;
            double rtt = endpoint.hop().roundTripMillis();
            rttSum += rtt;
            rtts += rtt > 0 ? 1 : 0;
        }

        private static double ratio(long lostPackets, long receivedPackets) {
            long all = lostPackets + receivedPackets;
            return all == 0 ? 0 : (double) lostPackets / all;
        }

        void set() {
            Metrics.INCOMING_LOSS.set(ratio(lost, received));
            Metrics.OUTGOING_LOSS.set(ratio(outgoingLost, outgoingReceived));
            Metrics.LOSS.set(ratio(lost + outgoingLost, received + outgoingReceived));
            Metrics.HIGH_OUTGOING_LOSS.set(highLoss);
            Metrics.UNMATCHED_FEEDBACK.set(unmatched);
            Metrics.OVERSENDING.set(oversending);
            Metrics.SUSPENDED_SOURCES.set(suspended);
            Metrics.AVERAGE_RTT.set(rtts == 0 ? 0 : rttSum / rtts);
            Metrics.CURRENT_ENDPOINTS.set(endpoints);
            Metrics.LARGEST_CONFERENCE.set(largest);
            Metrics.ACTIVE_ENDPOINTS.set(active);
            Metrics.ENDPOINTS_INACTIVE.set(inactiveEndpoints);
            Metrics.CONFERENCES_INACTIVE.set(inactiveConferences);
            Metrics.CONFERENCES_P2P.set(p2p);
            Metrics.ENDPOINTS_RECVONLY.set(receiveOnly);
            Metrics.ENDPOINTS_SENDING_AUDIO.set(audioSenders);
            Metrics.ENDPOINTS_SENDING_VIDEO.set(videoSenders);
            Metrics.INCOMING_BITRATE.set(bitsIn);
            Metrics.OUTGOING_BITRATE.set(bitsOut);
            Metrics.INCOMING_PACKET_RATE.set(packetsIn);
            Metrics.OUTGOING_PACKET_RATE.set(packetsOut);
            Metrics.ENDPOINTS_RELAYED.set(relayed);
            Metrics.CONFERENCES_WITH_RELAY.set(withRelay);
            Metrics.RELAY_INCOMING_BITRATE.set(relayBitsIn);
            Metrics.RELAY_OUTGOING_BITRATE.set(relayBitsOut);
            Metrics.RELAY_INCOMING_PACKET_RATE.set(relayPacketsIn);
            Metrics.RELAY_OUTGOING_PACKET_RATE.set(relayPacketsOut);
        }
    }
}
