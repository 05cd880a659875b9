"""The dashboard of a cluster: is there room, is anybody losing packets, which host is worse than its kind."""

from __future__ import annotations

from jvbtune.export.grafana import quantities as q
from jvbtune.export.grafana.model import Dashboard, Kind, Over, Panel, Quantity, Ratio, Row, Series, Step

FULL = (Step(0.8, "orange"), Step(1.0, "red"))
LOSS = (Step(0.02, "orange"), Step(0.1, "red"))
DROPS = (Step(1, "red"),)
REGION = ("region",)

#: Below this packet rate, what a bridge does without load is most of its CPU; as the alert JvbWorseThanItsKind has it.
LOADED_PPS, LEAST_HOSTS = 1000, 3
CPU_PER_PACKET = Series("{host}", (q.BRIDGE_CORES,), per=(q.PACKET_RATE,), factor=1e6, per_above=LOADED_PPS)
#: A load and a limit are compared over the same hosts: those that report both and get conferences.
LIMITED = (*q.PACKETS, q.MAX_PACKET_RATE)


def _limited(legend: str, *of: Quantity, by: tuple[str, ...] = (), per: tuple[Quantity, ...] = ()) -> Series:
    return Series(legend, of, by=by, per=per, known=LIMITED, out=(q.DRAIN,))


CLUSTER = Dashboard(
    "jvbtune-cluster",
    "Jitsi Videobridge: cluster",
    "Capacity, traffic, calls and quality of many bridges, by region. Measured limits come from jvbtune observe.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Capacity used",
                    "Packet rate of the selected hosts over the sum of their measured max packet rates, without "
                    "bridges that are down, drained or not measured. Add hosts before it reaches 60 %: Jicofo stops "
                    "filling a bridge at a stress of 0.8, which is less.",
                    "percentunit",
                    (_limited("capacity used", *q.PACKETS, per=(q.MAX_PACKET_RATE,)),),
                    Kind.STAT,
                    width=4,
                    height=5,
                    steps=FULL,
                    decimals=0,
                ),
                Panel(
                    "Capacity used, fullest host",
                    "The highest share of a measured max packet rate on any selected host. Above 100 % that host is "
                    "past what it sustains: move conferences away, or lower its load threshold.",
                    "percentunit",
                    (Series("fullest host", (q.CAPACITY_USED,), by=(), over=Over.MAX),),
                    Kind.STAT,
                    width=4,
                    height=5,
                    steps=FULL,
                    decimals=0,
                ),
                Panel(
                    "Highest stress",
                    "The highest load that a bridge reports, of packets or of CPU, over its load threshold. From 0.8 "
                    "on Jicofo takes it for overloaded.",
                    "none",
                    (Series("highest", (q.STRESS,), by=(), over=Over.MAX),),
                    Kind.STAT,
                    width=4,
                    height=5,
                    steps=FULL,
                    decimals=2,
                ),
                Panel(
                    "Participants",
                    "Endpoints that are connected to the selected bridges. Each is counted once, also if relays "
                    "forward it to other bridges.",
                    "short",
                    (Series("participants", (q.PARTICIPANTS,), by=()),),
                    Kind.STAT,
                    width=4,
                    height=5,
                ),
                Panel(
                    "Conferences",
                    "Conferences on the selected bridges. A conference on two bridges counts twice.",
                    "short",
                    (Series("conferences", (q.CONFERENCES,), by=()),),
                    Kind.STAT,
                    width=4,
                    height=5,
                ),
                Panel(
                    "Bridges",
                    "Bridges that report statistics. If it is lower than you expect, look for bridges that are down "
                    "or are not monitored.",
                    "short",
                    (Series("bridges", (q.STRESS,), by=(), over=Over.COUNT),),
                    Kind.STAT,
                    width=4,
                    height=5,
                ),
            ),
        ),
        Row(
            "Capacity",
            (
                Panel(
                    "Packet rate against the measured limit",
                    "Packets per second of the selected hosts, and the sum of their measured max packet rates with "
                    "the sums of the ends of their 95 % intervals. Keep the packet rate below the band. Bridges that "
                    "are down, drained or not measured are in neither: measure them.",
                    "pps",
                    (
                        _limited("packet rate", *q.PACKETS),
                        _limited("max packet rate", q.MAX_PACKET_RATE),
                        _limited("interval, low", q.MAX_PACKET_RATE_LOW),
                        _limited("interval, high", q.MAX_PACKET_RATE_HIGH),
                    ),
                    width=12,
                    dashed="/^max packet rate$/",
                    band=("interval, low", "interval, high"),
                ),
                Panel(
                    "Packet rate and limit by region",
                    "Packets per second of each region, and the sum of the measured max packet rates there, without "
                    "bridges that are down, drained or not measured. A region that comes close to its limit needs "
                    "more bridges, even if others have room.",
                    "pps",
                    (
                        _limited("{region}", *q.PACKETS, by=REGION),
                        _limited("{region}, max packet rate", q.MAX_PACKET_RATE, by=REGION),
                    ),
                    width=12,
                    dashed="/max packet rate$/",
                ),
                Panel(
                    "Capacity used by host",
                    "Each host's packet rate over its measured max packet rate. Hosts far apart in one region mean "
                    "that the load is spread badly: compare their load thresholds.",
                    "percentunit",
                    (Series("{host}", (q.CAPACITY_USED,)),),
                    width=12,
                    steps=FULL,
                ),
                Panel(
                    "Stress by host",
                    "What each bridge reports to Jicofo. If it is far from the capacity used, the bridge's load "
                    "threshold does not fit the host: set the one that jvbtune recommends.",
                    "none",
                    (Series("{host}", (q.STRESS,)),),
                    width=12,
                    steps=FULL,
                ),
            ),
        ),
        Row(
            "Traffic",
            (
                Panel(
                    "Packets from and to endpoints",
                    "RTP packets per second between endpoints and bridges, without relays. Out grows faster than in "
                    "as conferences grow.",
                    "pps",
                    (
                        Series("{region} in", (q.PACKETS_IN,), by=REGION),
                        Series("{region} out", (q.PACKETS_OUT,), by=REGION),
                    ),
                ),
                Panel(
                    "Bits from and to endpoints",
                    "Bits per second between endpoints and bridges, without relays. Compare it with what the network "
                    "of the machine type allows.",
                    "bps",
                    (
                        Series("{region} in", (q.BITS_IN,), by=REGION),
                        Series("{region} out", (q.BITS_OUT,), by=REGION),
                    ),
                ),
                Panel(
                    "Relay packets",
                    "Packets per second between bridges. They count for the load as much as those of endpoints. A "
                    "high share means that conferences are spread over many bridges.",
                    "pps",
                    (
                        Series("{region} in", (q.RELAY_PACKETS_IN,), by=REGION),
                        Series("{region} out", (q.RELAY_PACKETS_OUT,), by=REGION),
                    ),
                ),
                Panel(
                    "Relay bits",
                    "Bits per second between bridges. Traffic between regions or clouds is what costs money.",
                    "bps",
                    (
                        Series("{region} in", (q.RELAY_BITS_IN,), by=REGION),
                        Series("{region} out", (q.RELAY_BITS_OUT,), by=REGION),
                    ),
                    width=12,
                ),
                Panel(
                    "Conferences with relays",
                    "Conferences that use more than one bridge, and remote endpoints that relays bring.",
                    "short",
                    (
                        Series("{region} conferences", (q.RELAYED_CONFERENCES,), by=REGION),
                        Series("{region} remote endpoints", (q.RELAYED_ENDPOINTS,), by=REGION),
                    ),
                    width=12,
                ),
            ),
        ),
        Row(
            "Calls",
            (
                Panel(
                    "Conferences by region",
                    "Conferences on the bridges of each region. If it falls in one region only, look for bridges that "
                    "are down there.",
                    "short",
                    (Series("{region}", (q.CONFERENCES,), by=REGION),),
                    stacked=True,
                ),
                Panel(
                    "Participants by region",
                    "Endpoints that are connected to the bridges of each region. The packet rate grows faster than "
                    "their number.",
                    "short",
                    (Series("{region}", (q.PARTICIPANTS,), by=REGION),),
                    stacked=True,
                ),
                Panel(
                    "Senders",
                    "Endpoints that send audio or video, and those that only receive. Video senders are what most of "
                    "the packet rate comes from.",
                    "short",
                    (
                        Series("send audio", (q.SENDING_AUDIO,), by=()),
                        Series("send video", (q.SENDING_VIDEO,), by=()),
                        Series("only receive", (q.RECEIVE_ONLY,), by=()),
                    ),
                ),
                Panel(
                    "Largest conference",
                    "Endpoints of the largest conference. One conference cannot be moved in parts: leave room for it "
                    "on one host.",
                    "short",
                    (Series("{region}", (q.LARGEST_CONFERENCE,), by=REGION, over=Over.MAX),),
                ),
                Panel(
                    "Joins",
                    "Endpoints that joined, per second. A burst arrives before the stress shows it: check "
                    "average-participant-stress.",
                    "short",
                    (Series("{region}", (q.JOINED,), by=REGION),),
                ),
                Panel(
                    "Failed connections",
                    "ICE and DTLS failures per second. They point to firewalls, TURN or wrong advertised addresses.",
                    "short",
                    (
                        Series("ICE failed", (q.ICE_FAILED,), by=()),
                        Series("DTLS failed", (q.DTLS_FAILED,), by=()),
                        Series("ICE succeeded", (q.ICE_SUCCEEDED,), by=()),
                    ),
                ),
            ),
        ),
        Row(
            "Quality",
            (
                Panel(
                    "Loss on the way in, worst host",
                    "Share of packets from endpoints that did not arrive, on the worst host of each region. If a host "
                    "drops packets itself, the receive path of the host dashboard shows where.",
                    "percentunit",
                    (Series("{region}", (q.LOSS_IN,), by=REGION, over=Over.MAX),),
                    steps=LOSS,
                ),
                Panel(
                    "Loss on the way out, worst host",
                    "Share of packets that endpoints report as missing, on the worst host of each region. All hosts "
                    "at once mean the network; one host means that host.",
                    "percentunit",
                    (Series("{region}", (q.LOSS_OUT,), by=REGION, over=Over.MAX),),
                    steps=LOSS,
                ),
                Panel(
                    "Round trip, worst host",
                    "Average round-trip time between endpoints and the bridge, on the worst host of each region. High "
                    "values in a region with few bridges mean that users are far away.",
                    "ms",
                    (Series("{region}", (q.ROUND_TRIP_MS,), by=REGION, over=Over.MAX),),
                    steps=(Step(150, "orange"), Step(300, "red")),
                ),
                Panel(
                    "Packets slower than 50 ms, worst host",
                    "Share of RTP packets that spent more than 50 ms inside a bridge, on the worst host of each "
                    "region. Above 15 % calls suffer: take load away from that host.",
                    "percentunit",
                    (Series("{region}", (q.TRANSIT_SLOW,), by=REGION, over=Over.MAX),),
                    steps=(Step(0.05, "orange"), Step(0.15, "red")),
                ),
                Panel(
                    "Packets dropped on hosts",
                    "Datagrams that the kernel dropped before the bridge read them, per second. It should be zero: "
                    "sweep the receive buffer of a host that drops.",
                    "pps",
                    (Series("{host}", (q.SOCKET_DROPS,)),),
                    steps=DROPS,
                ),
                Panel(
                    "Endpoints in trouble",
                    "Endpoints with more than 10 % loss, those to which the bridge sends more than it estimates that "
                    "they can take, and those for which it suspended sources.",
                    "short",
                    (
                        Series("high loss", (q.HIGH_LOSS,), by=()),
                        Series("oversending", (q.OVERSENDING,), by=()),
                        Series("suspended sources", (q.SUSPENDED,), by=()),
                    ),
                ),
            ),
        ),
        Row(
            "Hosts compared",
            (
                Panel(
                    "CPU of the bridge by host",
                    "Cores that each bridge uses. A host that uses more than others of its type at the same packet "
                    "rate is worse than its kind.",
                    "short",
                    (Series("{host}", (q.BRIDGE_CORES,)),),
                    width=12,
                ),
                Panel(
                    "CPU per packet",
                    "CPU time of the bridge per packet in µs, and the median of each machine type (dashed), of hosts "
                    "with more than 1000 packets per second. A host above its median does less with the same machine: "
                    "look for steal, other processes and settings.",
                    "µs",
                    (
                        CPU_PER_PACKET,
                        Series(
                            "median of {machine_type}",
                            (q.BRIDGE_CORES,),
                            by=("machine_type",),
                            over=Over.MEDIAN,
                            per=(q.PACKET_RATE,),
                            factor=1e6,
                            per_above=LOADED_PPS,
                        ),
                    ),
                    width=12,
                    dashed="/^median of/",
                ),
                Panel(
                    "Hosts worse than their kind",
                    "CPU per packet over the median of the machine type. 1 is normal; above 1.3 the host is worse "
                    "than its kind. Only of machine types of which at least 3 selected hosts have more than 1000 "
                    "packets per second.",
                    "none",
                    (Ratio("{host} ({machine_type})", CPU_PER_PACKET, LEAST_HOSTS),),
                    Kind.BARS,
                    width=12,
                    steps=(Step(1.15, "orange"), Step(1.3, "red")),
                    decimals=2,
                ),
                Panel(
                    "CPU steal",
                    "Share of time in which the hypervisor ran somebody else. Above 5 % no figure of that host is "
                    "reliable: replace the instance, or choose another type.",
                    "percentunit",
                    (Series("{host}", (q.STEAL,)),),
                    width=12,
                    steps=(Step(0.05, "orange"), Step(0.15, "red")),
                ),
            ),
        ),
    ),
)
