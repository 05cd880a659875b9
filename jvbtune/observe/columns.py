"""What is observed of a live bridge and its host, each quantity once, with its names in InfluxDB and in Prometheus.

Parquet columns, InfluxDB fields, Prometheus metrics, the terminal's table, exported rules, and the table in
docs/monitoring.md are made from this table. Dashboards depend on the names: a name that changes is a breaking change.

- InfluxDB: one measurement (``MEASUREMENT``, or the operator's own name); labels are tags. A quantity that the bridge
  reports by itself has the name of its key in ``/colibri/stats``, and that key's unit, so that dashboards that were
  made for Telegraf show the same.
- Prometheus: the prefix ``jvbtune_``, base units (seconds, bytes, ratios of 0 to 1), ``_total`` for counters. Packet
  rates are in packets per second.
- A counter grows until the bridge or its host restarts. A gauge whose source is ``interval`` is computed over the time
  since the sample before. What is not known is absent, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: The measurement's default name in InfluxDB: that of the dashboard most in use (grafana.com 11969).
MEASUREMENT = "jitsi_stats"
PREFIX = "jvbtune_"
#: Labels that hosts have in an inventory; those of the operator's own are added as they are.
HOST, REGION, MACHINE_TYPE, CLOUD, GROUP = "host", "region", "machine_type", "cloud", "group"
LABELS = (HOST, REGION, MACHINE_TYPE, CLOUD, GROUP)
#: The further label (tag) of quantities of one network interface.
INTERFACE = "interface"

Kind = Literal["gauge", "counter", "text"]
#: bridge: the bridge's HTTP interface; agent: the kernel and the JVM, by the agent; interval: computed over the time
#: since the sample before; run: what jvbtune measured, or what the operator gave; observer: this process itself.
Source = Literal["bridge", "agent", "interval", "run", "observer"]


@dataclass(frozen=True)
class Quantity:
    """``name``: InfluxDB field and Parquet column, in ``unit``. ``metric``: in Prometheus, in base units, which is the
    value times ``scale``. ``metrics_key``: the bridge's own name in ``/metrics``, which gives the value times
    ``metrics_scale``."""

    name: str
    metric: str
    kind: Kind
    unit: str
    help: str
    source: Source
    scale: float = 1.0
    metrics_key: str = ""
    metrics_scale: float = 1.0


def _bridge(
    name: str, metric: str, unit: str, help: str, key: str, scale: float = 1.0, metrics_scale: float = 1.0
) -> Quantity:
    return Quantity(name, f"jvbtune_bridge_{metric}", "gauge", unit, help, "bridge", scale, key, metrics_scale)


def _agent(name: str, metric: str, unit: str, help: str, kind: Kind = "counter") -> Quantity:
    return Quantity(name, PREFIX + metric, kind, unit, help, "agent")


def _interval(name: str, metric: str, unit: str, help: str, scale: float = 1.0) -> Quantity:
    return Quantity(name, PREFIX + metric, "gauge", unit, help, "interval", scale)


def _run(name: str, metric: str, unit: str, help: str, kind: Kind = "gauge") -> Quantity:
    return Quantity(name, PREFIX + metric, kind, unit, help, "run")


STATE = (
    Quantity("up", "jvbtune_up", "gauge", "0 or 1", "Whether the host's last sample arrived in time.", "observer"),
    Quantity("bridge_up", "jvbtune_bridge_up", "gauge", "0 or 1", "Whether the bridge runs and answers.", "bridge"),
    Quantity("reconnects", "jvbtune_reconnects_total", "counter", "times", "Times the host was lost.", "observer"),
)

#: What a bridge reports by itself: its windowed figures, refreshed every 5 s.
REPORTED = (
    _bridge("healthy", "healthy", "0 or 1", "Whether the bridge calls itself healthy.", "healthy"),
    _bridge("drain", "draining", "0 or 1", "Whether the bridge is in drain mode.", "drain_mode"),
    _bridge(
        "graceful_shutdown", "graceful_shutdown", "0 or 1", "Whether it shuts down gracefully.", "graceful_shutdown"
    ),
    _bridge("stress_level", "stress_ratio", "ratio", "Load by load threshold; can be above 1.", "stress"),
    _bridge(
        "participants", "participants", "endpoints", "Endpoints, those behind relays included.", "current_endpoints"
    ),
    _bridge(
        "local_endpoints", "local_endpoints", "endpoints", "Endpoints connected to this bridge.", "local_endpoints"
    ),
    _bridge(
        "endpoints_sending_audio",
        "endpoints_sending_audio",
        "endpoints",
        "Endpoints that send audio.",
        "endpoints_sending_audio",
    ),
    _bridge(
        "endpoints_sending_video",
        "endpoints_sending_video",
        "endpoints",
        "Endpoints that send video.",
        "endpoints_sending_video",
    ),
    _bridge("octo_endpoints", "relayed_endpoints", "endpoints", "Endpoints behind relays.", "endpoints_relayed"),
    _bridge("conferences", "conferences", "conferences", "Conferences.", "conferences"),
    _bridge(
        "octo_conferences", "relayed_conferences", "conferences", "Conferences with a relay.", "conferences_with_relay"
    ),
    _bridge(
        "largest_conference",
        "largest_conference_endpoints",
        "endpoints",
        "Endpoints of the largest conference.",
        "largest_conference",
    ),
    _bridge(
        "packet_rate_download",
        "endpoint_in_packet_rate",
        "packets/s",
        "Packets from endpoints, 5 s window.",
        "incoming_packet_rate",
    ),
    _bridge(
        "packet_rate_upload",
        "endpoint_out_packet_rate",
        "packets/s",
        "Packets to endpoints, 5 s window.",
        "outgoing_packet_rate",
    ),
    _bridge(
        "octo_receive_packet_rate",
        "relay_in_packet_rate",
        "packets/s",
        "Packets from relays, 5 s window.",
        "relay_incoming_packet_rate",
    ),
    _bridge(
        "octo_send_packet_rate",
        "relay_out_packet_rate",
        "packets/s",
        "Packets to relays, 5 s window.",
        "relay_outgoing_packet_rate",
    ),
    _bridge(
        "bit_rate_download",
        "endpoint_in_bytes_per_second",
        "kbit/s",
        "Bytes from endpoints.",
        "incoming_bitrate",
        125.0,
        1e-3,
    ),
    _bridge(
        "bit_rate_upload",
        "endpoint_out_bytes_per_second",
        "kbit/s",
        "Bytes to endpoints.",
        "outgoing_bitrate",
        125.0,
        1e-3,
    ),
    _bridge(
        "octo_receive_bitrate",
        "relay_in_bytes_per_second",
        "bit/s",
        "Bytes from relays.",
        "relay_incoming_bitrate",
        0.125,
    ),
    _bridge(
        "octo_send_bitrate", "relay_out_bytes_per_second", "bit/s", "Bytes to relays.", "relay_outgoing_bitrate", 0.125
    ),
    _bridge("rtt_aggregate", "rtt_seconds", "ms", "Mean round-trip time to endpoints.", "average_rtt", 1e-3),
    _bridge(
        "incoming_loss", "in_loss_ratio", "ratio", "Share of lost packets from endpoints.", "incoming_loss_fraction"
    ),
    _bridge(
        "outgoing_loss", "out_loss_ratio", "ratio", "Share of lost packets to endpoints.", "outgoing_loss_fraction"
    ),
    _bridge("overall_loss", "loss_ratio", "ratio", "Share of lost packets, both directions.", "loss_fraction"),
)


def _counted(name: str, metric: str, help: str, unit: str = "packets", scale: float = 1.0) -> Quantity:
    return Quantity(name, f"jvbtune_{metric}_total", "counter", unit, help, "bridge", scale)


#: Exact counts of the bridge's queues, and how long packets were in the bridge (off in some configurations).
COUNTED = (
    _counted("in_packets", "in_packets", "Packets received, from endpoints and relays, by the bridge's queues."),
    _counted("out_packets", "out_packets", "Packets sent to endpoints, by the bridge's queues."),
    _counted("relay_packets", "relay_packets", "Packets sent to relays, by the bridge's queues."),
    _counted("queue_dropped_packets", "bridge_queue_dropped_packets", "Packets dropped by the bridge's own queues."),
    _counted("transit_packets", "transit_packets", "RTP packets whose time inside the bridge was measured."),
    _counted("transit_ms", "transit_seconds", "Time inside the bridge, summed over RTP packets.", "ms", 1e-3),
    _counted("transit_over_5_ms", "transit_over_5ms_packets", "RTP packets that took more than 5 ms."),
    _counted("transit_over_50_ms", "transit_over_50ms_packets", "RTP packets that took more than 50 ms."),
    _counted("transit_over_500_ms", "transit_over_500ms_packets", "RTP packets that took more than 500 ms."),
)

#: The receive path and the process, which no exporter has in this form.
HOST_SIDE = (
    _agent("socket_drops", "socket_drops_total", "packets", "Packets dropped at the bridge's media sockets."),
    _agent(
        "socket_receive_queue_bytes",
        "socket_receive_queue_bytes",
        "bytes",
        "Memory of packets that wait in the fullest media socket.",
        "gauge",
    ),
    _agent(
        "socket_receive_buffer_bytes",
        "socket_receive_buffer_bytes",
        "bytes",
        "Limit of that queue: the smallest receive buffer of the media sockets that receive.",
        "gauge",
    ),
    _agent(
        "udp_in_datagrams", "udp_in_datagrams_total", "packets", "UDP InDatagrams of the bridge's network namespace."
    ),
    _agent("udp_out_datagrams", "udp_out_datagrams_total", "packets", "UDP OutDatagrams, likewise."),
    _agent("udp_in_errors", "udp_in_errors_total", "packets", "UDP InErrors, likewise."),
    _agent("udp_rcvbuf_errors", "udp_rcvbuf_errors_total", "packets", "UDP RcvbufErrors, likewise."),
    _agent("udp_sndbuf_errors", "udp_sndbuf_errors_total", "packets", "UDP SndbufErrors, likewise."),
    _agent("udp_mem_errors", "udp_mem_errors_total", "packets", "UDP MemErrors, likewise."),
    _agent("softnet_processed", "softnet_processed_packets_total", "packets", "Packets processed, all CPUs."),
    _agent(
        "softnet_dropped", "softnet_dropped_packets_total", "packets", "Packets dropped by a full backlog, all CPUs."
    ),
    _agent("softnet_time_squeeze", "softnet_time_squeeze_total", "polls", "Polls that ran out of budget, all CPUs."),
    _agent("softnet_backlog", "softnet_backlog_packets", "packets", "Packets in the backlogs, all CPUs.", "gauge"),
    _agent("receive_thread_cpu_s", "receive_thread_cpu_seconds_total", "s", "CPU time of the bridge's receive thread."),
    _agent("process_cpu_s", "process_cpu_seconds_total", "s", "CPU time of the bridge's process."),
    _agent("compiler_cpu_s", "compiler_cpu_seconds_total", "s", "CPU time of its JIT compiler threads."),
    _agent("collector_cpu_s", "collector_cpu_seconds_total", "s", "CPU time of its garbage collector threads."),
    _agent("gc_pause_s", "gc_pause_seconds_total", "s", "Time in garbage collections, young and old."),
    _agent("gc_collections", "gc_collections_total", "collections", "Garbage collections, young and old."),
    _agent("safepoint_s", "safepoint_seconds_total", "s", "Time in which the JVM stopped its threads."),
    _agent("resident_memory_bytes", "process_resident_memory_bytes", "bytes", "Memory of the process.", "gauge"),
    _agent("process_threads", "process_threads", "threads", "Threads of the process.", "gauge"),
    _agent("process_start_unix", "process_start_time_seconds", "s", "Start of the process, Unix time.", "gauge"),
    _agent("steal_s", "steal_seconds_total", "s", "CPU time that the hypervisor took, all CPUs."),
    _agent("softirq_s", "softirq_seconds_total", "s", "CPU time in softirq, all CPUs."),
    _agent("host_busy_s", "host_busy_seconds_total", "s", "CPU time that was neither idle nor stolen, all CPUs."),
    _agent("host_cpus", "host_cpus", "CPUs", "Online CPUs of the host.", "gauge"),
    _agent("bridge_cpus", "bridge_cpus", "CPUs", "CPUs on which the bridge may run.", "gauge"),
    _agent("throttled_s", "cgroup_throttled_seconds_total", "s", "Time for which a CPU quota stopped the bridge."),
    _agent("agent_cpu_s", "agent_cpu_seconds_total", "s", "CPU time of jvbtune's agent on the host."),
)

#: Of one network interface: with the label ``interface``.
NETWORK = tuple(
    _agent(
        f"{short}_{what}",
        f"network_{'receive' if short == 'rx' else 'transmit'}_{what}_total",
        "bytes" if what == "bytes" else "packets",
        f"{'Received' if short == 'rx' else 'Sent'} {text} of a network interface.",
    )
    for short, whats in (
        ("rx", ("bytes", "packets", "errors", "dropped", "missed")),
        ("tx", ("bytes", "packets", "errors", "dropped")),
    )
    for what, text in ((one, one if one in ("bytes", "packets") else f"packets ({one})") for one in whats)
)

#: Over the time since the sample before.
INTERVAL = (
    _interval(
        "packet_rate", "packet_rate", "packets/s", "Packets in, out and to relays: what a max packet rate counts."
    ),
    _interval("in_packet_rate", "in_packet_rate", "packets/s", "Packets received, from endpoints and relays."),
    _interval("out_packet_rate", "out_packet_rate", "packets/s", "Packets sent to endpoints."),
    _interval("relay_packet_rate", "relay_packet_rate", "packets/s", "Packets sent to relays."),
    _interval("socket_drop_rate", "socket_drop_rate", "packets/s", "Packets dropped at the bridge's media sockets."),
    _interval(
        "receive_thread_busy", "receive_thread_busy_ratio", "ratio", "Share of a CPU used by the receive thread."
    ),
    _interval("process_cpu_cores", "process_cpu_cores", "cores", "CPUs used by the bridge's process."),
    _interval("bridge_cpu_busy", "bridge_cpu_busy_ratio", "ratio", "Bridge's process CPU by the CPUs it may use."),
    _interval("gc_pause_share", "gc_pause_ratio", "ratio", "Share of time in garbage collections."),
    _interval("steal_share", "steal_ratio", "ratio", "Share of all CPUs' time that the hypervisor took."),
    _interval("transit_mean_ms", "transit_mean_seconds", "ms", "Mean time of an RTP packet inside the bridge.", 1e-3),
    _interval("transit_slow_share", "transit_slow_ratio", "ratio", "Share of RTP packets that took more than 50 ms."),
)

#: What was measured, and what is configured.
MEASURED = (
    _run(
        "max_packet_rate", "max_packet_rate", "packets/s", "Measured max packet rate of this host or its machine type."
    ),
    _run("max_packet_rate_low", "max_packet_rate_low", "packets/s", "Lower end of its 95 % interval."),
    _run("max_packet_rate_high", "max_packet_rate_high", "packets/s", "Upper end of its 95 % interval."),
    _run("max_packet_rate_source", "capacity_source_info", "", "Run, machine type or option it comes from.", "text"),
    _run("capacity_used", "capacity_used_ratio", "ratio", "Packet rate by measured max packet rate; can be above 1."),
    _run("load_threshold", "load_threshold", "packets/s", "Load threshold that the run recommends."),
    _run(
        "load_threshold_configured", "load_threshold_configured", "packets/s", "Load threshold in the bridge's config."
    ),
    _run(
        "load_threshold_in_force",
        "load_threshold_in_force",
        "0 or 1",
        "Whether the bridge measures packet rate with the recommended threshold.",
    ),
)

#: Of a host, in one row; and the rows of its interfaces.
QUANTITIES: tuple[Quantity, ...] = (*STATE, *MEASURED, *INTERVAL, *REPORTED, *COUNTED, *HOST_SIDE)
BY_NAME = {quantity.name: quantity for quantity in (*QUANTITIES, *NETWORK)}

#: Recording rules that ``export prometheus`` writes, for dashboards and alerts that read the bridges' own metrics. Each
#: is also recorded from jvbtune_* if ``observe`` is scraped. Labels: those of the host.
RULE_PACKET_RATE = "jvbtune:packet_rate"
RULE_CAPACITY_USED = "jvbtune:capacity_used:ratio"
RULE_MAX_PACKET_RATE = "jvbtune:max_packet_rate"
RULE_MAX_PACKET_RATE_LOW = "jvbtune:max_packet_rate:low"
RULE_MAX_PACKET_RATE_HIGH = "jvbtune:max_packet_rate:high"
RULE_LOAD_THRESHOLD = "jvbtune:load_threshold"
