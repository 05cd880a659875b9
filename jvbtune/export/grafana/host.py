"""The dashboard of hosts: one host against its limit, and where its packets, its CPU and its memory go."""

from __future__ import annotations

from jvbtune.export.grafana import quantities as q
from jvbtune.export.grafana.cluster import DROPS, FULL, LOSS
from jvbtune.export.grafana.model import Dashboard, Panel, Quantile, Row, Series, Step

BUSY = (Step(0.8, "orange"), Step(0.95, "red"))
NIC = ("host", "interface")

LIMIT = Row(
    "Against its limit",
    (
        Panel(
            "Packet rate against the limit: $host",
            "The host's packets per second, its measured max packet rate with the 95 % interval as a band, and the "
            "load threshold that the bridge is configured with. Inside the band, half of all restarts break a limit: "
            "move load away before. A threshold above the band is too high.",
            "pps",
            (
                Series("packet rate", q.PACKETS, by=("host",)),
                Series("max packet rate", (q.MAX_PACKET_RATE,), by=("host",)),
                Series("interval, low", (q.MAX_PACKET_RATE_LOW,), by=("host",)),
                Series("interval, high", (q.MAX_PACKET_RATE_HIGH,), by=("host",)),
                Series("recommended load threshold", (q.LOAD_THRESHOLD,), by=("host",)),
                Series("configured load threshold", (q.CONFIGURED_THRESHOLD,), by=("host",)),
            ),
            width=24,
            height=9,
            dashed="/^(max packet rate|.*load threshold)$/",
            band=("interval, low", "interval, high"),
            repeat="host",
        ),
        Panel(
            "Capacity used",
            "Packet rate over the measured max packet rate. Above 100 % the host is past what it sustains: lower its "
            "load threshold, or move conferences away.",
            "percentunit",
            (Series("{host}", (q.CAPACITY_USED,)),),
            steps=FULL,
        ),
        Panel(
            "Stress",
            "What the bridge reports to Jicofo. If it is far from the capacity used, set the recommended load "
            "threshold.",
            "none",
            (Series("{host}", (q.STRESS,)),),
            steps=FULL,
        ),
        Panel(
            "Conferences and participants",
            "Conferences on the bridge, endpoints that are connected to it, and remote endpoints behind relays.",
            "short",
            (
                Series("{host} conferences", (q.CONFERENCES,)),
                Series("{host} participants", (q.PARTICIPANTS,)),
                Series("{host} behind relays", (q.RELAYED_ENDPOINTS,)),
            ),
        ),
    ),
)

RECEIVE_PATH = Row(
    "Receive path",
    (
        Panel(
            "Dropped by the media socket",
            "Datagrams that the kernel dropped because the bridge's receive buffer was full, per second. Any drop is "
            "lost media: raise net.core.rmem_max to what jvbtune recommends, and restart the bridge.",
            "pps",
            (Series("{host}", (q.SOCKET_DROPS,)),),
            steps=DROPS,
        ),
        Panel(
            "UDP errors",
            "RcvbufErrors, SndbufErrors and MemErrors of the bridge's network namespace, per second, of all its "
            "sockets. MemErrors mean that net.ipv4.udp_mem is the limit.",
            "pps",
            (
                Series("{host} receive buffer", (q.RCVBUF_ERRORS,)),
                Series("{host} send buffer", (q.SNDBUF_ERRORS,)),
                Series("{host} memory", (q.MEMORY_ERRORS,)),
            ),
            steps=DROPS,
        ),
        Panel(
            "Queue of the media socket",
            "Memory of packets that wait for the bridge, and the receive buffer that limits it (dashed). Peaks "
            "shorter than a sample do not show: drops above with a low queue here mean bursts.",
            "bytes",
            (
                Series("{host} waiting", (q.SOCKET_QUEUE,)),
                Series("{host} receive buffer", (q.SOCKET_BUFFER,)),
            ),
            dashed="/receive buffer$/",
        ),
        Panel(
            "Receive thread busy",
            "Share of one core that the thread which reads the media socket uses. Near 100 % the bridge cannot "
            "receive more, however many cores it has: this host is at its limit.",
            "percentunit",
            (Series("{host}", (q.RECEIVE_THREAD_BUSY,)),),
            steps=BUSY,
            most=1,
        ),
        Panel(
            "Network backlog (softnet)",
            "Packets per second that the kernel dropped before any socket, because its backlog was full, and polls "
            "that ran out of budget. Drops: raise net.core.netdev_max_backlog. Many squeezes: net.core.netdev_budget.",
            "short",
            (
                Series("{host} dropped", (q.SOFTNET_DROPPED,)),
                Series("{host} out of budget", (q.SOFTNET_SQUEEZED,)),
                Series("{host} waiting", (q.SOFTNET_BACKLOG,)),
            ),
        ),
        Panel(
            "Dropped by the bridge",
            "Packets per second that the bridge's own queues dropped. They fill when its threads get too little CPU: "
            "compare it with the CPU below.",
            "pps",
            (Series("{host}", (q.QUEUE_DROPPED,)),),
            steps=DROPS,
        ),
    ),
)

NETWORK = Row(
    "Network",
    (
        Panel(
            "Packets of the bridge",
            "Packets per second from and to endpoints and relays. Their sum is what counts for the load threshold.",
            "pps",
            (
                Series("{host} in", (q.PACKETS_IN,)),
                Series("{host} out", (q.PACKETS_OUT,)),
                Series("{host} relay in", (q.RELAY_PACKETS_IN,)),
                Series("{host} relay out", (q.RELAY_PACKETS_OUT,)),
            ),
        ),
        Panel(
            "Bits of the bridge",
            "Bits per second from and to endpoints and relays. Few bits per packet mean audio, many mean video.",
            "bps",
            (
                Series("{host} in", (q.BITS_IN,)),
                Series("{host} out", (q.BITS_OUT,)),
                Series("{host} relay in", (q.RELAY_BITS_IN,)),
                Series("{host} relay out", (q.RELAY_BITS_OUT,)),
            ),
        ),
        Panel(
            "Packets of the interfaces",
            "Packets per second of each network interface. Much more than the bridge counts means other traffic on "
            "the host.",
            "pps",
            (
                Series("{host} {interface} in", (q.NIC_PACKETS_IN,), by=NIC),
                Series("{host} {interface} out", (q.NIC_PACKETS_OUT,), by=NIC),
            ),
        ),
        Panel(
            "Bits of the interfaces",
            "Bits per second of each network interface. Compare them with what the machine type allows: clouds drop "
            "or delay what is above.",
            "bps",
            (
                Series("{host} {interface} in", (q.NIC_BYTES_IN,), by=NIC, factor=8),
                Series("{host} {interface} out", (q.NIC_BYTES_OUT,), by=NIC, factor=8),
            ),
        ),
        Panel(
            "Dropped by the interfaces",
            "Packets per second that an interface or its driver dropped. Missed means that the ring was full: raise "
            "it with ethtool -G, and spread interrupts over more cores.",
            "pps",
            (
                Series("{host} {interface} in, dropped", (q.NIC_DROPPED_IN,), by=NIC),
                Series("{host} {interface} in, missed", (q.NIC_MISSED_IN,), by=NIC),
                Series("{host} {interface} out, dropped", (q.NIC_DROPPED_OUT,), by=NIC),
            ),
            steps=DROPS,
        ),
        Panel(
            "Loss",
            "Share of packets that were lost between endpoints and the bridge. Loss in with drops in the receive path "
            "is this host's; without them it is the network's.",
            "percentunit",
            (
                Series("{host} in", (q.LOSS_IN,)),
                Series("{host} out", (q.LOSS_OUT,)),
            ),
            steps=LOSS,
        ),
    ),
)

CPU = Row(
    "CPU and delay",
    (
        Panel(
            "CPU of the bridge by part",
            "Cores that the whole bridge uses, and what its receive thread, JIT compilers and garbage collectors use "
            "of it, and softirq of the host. Compilers are busy for minutes after each start.",
            "short",
            (
                Series("{host} bridge", (q.BRIDGE_CORES,)),
                Series("{host} receive thread", (q.RECEIVE_THREAD,)),
                Series("{host} compilers", (q.COMPILERS,)),
                Series("{host} collectors", (q.COLLECTORS,)),
                Series("{host} softirq", (q.SOFTIRQ,)),
            ),
        ),
        Panel(
            "CPU busy",
            "Share of the cores that the bridge may use, and share of the whole host that is busy. A host that is "
            "much busier than its bridge runs something else.",
            "percentunit",
            (
                Series("{host} bridge", (q.BRIDGE_BUSY,)),
                Series("{host} host", (q.HOST_BUSY,), per=(q.HOST_CPUS,)),
            ),
            steps=BUSY,
        ),
        Panel(
            "Steal and throttling",
            "Share of time that the hypervisor took, and share of time for which a CPU quota stopped the bridge. Both "
            "should be zero: replace the instance, or raise the quota.",
            "percentunit",
            (
                Series("{host} steal", (q.STEAL,)),
                Series("{host} throttled", (q.THROTTLED,)),
            ),
            steps=(Step(0.05, "orange"), Step(0.15, "red")),
        ),
        Panel(
            "Time inside the bridge",
            "Mean time of an RTP packet from its arrival to its departure, and the 99th percentile if the bridge's "
            "videobridge.stats.transit-time.enable-prometheus is on. Above 10 ms the bridge itself is heard: it lacks "
            "CPU, or it pauses for garbage collection.",
            "ms",
            (
                Series("{host} mean", (q.TRANSIT_MEAN_MS,)),
                Quantile("{host} 99th percentile", "jitsi_jvb_rtp_transit_time", 0.99),
            ),
            steps=(Step(10, "orange"), Step(50, "red")),
        ),
        Panel(
            "Packets slower than 50 ms",
            "Share of RTP packets that spent more than 50 ms inside the bridge. Above 15 % calls suffer: take load "
            "away from this host.",
            "percentunit",
            (Series("{host}", (q.TRANSIT_SLOW,)),),
            steps=(Step(0.05, "orange"), Step(0.15, "red")),
        ),
        Panel(
            "Round trip to endpoints",
            "Average round-trip time between the bridge and its endpoints, as RTCP reports it. It is the users' "
            "network, unless the time inside the bridge rises with it.",
            "ms",
            (Series("{host}", (q.ROUND_TRIP_MS,)),),
            steps=(Step(150, "orange"), Step(300, "red")),
        ),
    ),
)

JVM = Row(
    "JVM",
    (
        Panel(
            "Heap",
            "Heap that is used and that the JVM holds, by the bridge's own /metrics (only with G1, ZGC or "
            "Shenandoah). Used close to held after collections means that the heap is too small.",
            "bytes",
            (
                Series("{host} used", (q.HEAP_USED,)),
                Series("{host} held", (q.HEAP_COMMITTED,)),
            ),
        ),
        Panel(
            "Memory of the process",
            "Resident memory of the bridge: heap, code, buffers. Close to the host's memory the kernel kills it: "
            "lower -Xmx.",
            "bytes",
            (Series("{host}", (q.RESIDENT,)),),
        ),
        Panel(
            "Garbage collection",
            "Share of time in garbage collections and at safepoints. Above 5 % packets wait for it: raise the heap, "
            "or choose another collector.",
            "percentunit",
            (
                Series("{host} collections", (q.GC_SHARE,)),
                Series("{host} safepoints", (q.SAFEPOINTS,)),
            ),
            steps=(Step(0.05, "orange"), Step(0.1, "red")),
        ),
        Panel(
            "Collections",
            "Garbage collections per second, young and old. They follow the packet rate; a rise at the same packet "
            "rate means that the heap has become tight.",
            "short",
            (Series("{host}", (q.GC_COLLECTIONS,)),),
        ),
        Panel(
            "Threads",
            "Threads of the bridge. The number should be steady: one that only grows is a leak.",
            "short",
            (Series("{host}", (q.THREADS,)),),
        ),
        Panel(
            "Open files",
            "File descriptors of the bridge, sockets included. Close to its limit new endpoints fail: raise "
            "LimitNOFILE.",
            "short",
            (Series("{host}", (q.OPEN_FILES,)),),
        ),
    ),
)

HOST = Dashboard(
    "jvbtune-host",
    "Jitsi Videobridge: host",
    "One bridge and its host: its measured limit, receive path, network, CPU and JVM.",
    (LIMIT, RECEIVE_PATH, NETWORK, CPU, JVM),
)
