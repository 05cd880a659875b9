"""From an agent's sample and a bridge's answer to a row of ``columns.QUANTITIES``. Pure.

A row has what is known and nothing else. Counters are as the kernel and the bridge give them; what is computed over an
interval needs the row before, of the same process, and is left out if a counter went back.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field

from jvbtune.agent.jvmthreads import COLLECTOR, COMPILER, seconds_by_kind
from jvbtune.observe.columns import NETWORK
from jvbtune.protocol.samples import Sample

#: Interfaces of containers and of the host itself say nothing of the network card, and there may be hundreds.
IGNORED_INTERFACES = ("lo", "veth*", "br-*", "docker*", "cni*", "cali*", "flannel*", "lxc*", "virbr*")
TICKS_PER_SECOND = 100.0

UDP = {
    "udp_in_datagrams": "InDatagrams",
    "udp_out_datagrams": "OutDatagrams",
    "udp_in_errors": "InErrors",
    "udp_rcvbuf_errors": "RcvbufErrors",
    "udp_sndbuf_errors": "SndbufErrors",
    "udp_mem_errors": "MemErrors",
}


@dataclass(frozen=True)
class Row:
    """One host at one moment of the controller's clock. ``values``: by the quantities' names, texts included.

    ``labels``: with ``host``, as ``labels.labels_of`` makes them. ``mono``: the host's monotonic clock when the agent
    counted; ``counted_mono``: this machine's when the bridge did.
    ``process``: pid and start time of the bridge; None: it does not run, or the host was not reached.
    """

    host: str
    labels: Mapping[str, str]
    unix: float
    values: Mapping[str, float | str]
    interfaces: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    mono: float = 0.0
    counted_mono: float = 0.0
    process: tuple[int, int] | None = None

    def number(self, name: str) -> float | None:
        value = self.values.get(name)
        return value if isinstance(value, float | int) else None


def from_sample(sample: Sample) -> dict[str, float]:
    """What the agent measured, as counters and gauges."""
    values: dict[str, float] = {
        "softnet_processed": sum(row.processed for row in sample.softnet),
        "softnet_dropped": sum(row.dropped for row in sample.softnet),
        "softnet_time_squeeze": sum(row.squeezed for row in sample.softnet),
        "steal_s": sum(core.steal_s for core in sample.cores),
        "softirq_s": sum(core.softirq_s for core in sample.cores),
        "host_busy_s": sum(
            core.user_s + core.nice_s + core.system_s + core.irq_s + core.softirq_s for core in sample.cores
        ),
        "host_cpus": len(sample.cores),
        "agent_cpu_s": sample.agent_cpu_seconds,
    }
    backlogs = [row.backlog for row in sample.softnet if row.backlog is not None]
    if backlogs:
        values["softnet_backlog"] = sum(backlogs)
    values |= {name: sample.udp[key] for name, key in UDP.items() if key in sample.udp}
    if sample.sockets:
        values["socket_drops"] = sum(socket.drops for socket in sample.sockets)
        receiving = [socket for socket in sample.sockets if socket.receives] or sample.sockets
        values["socket_receive_queue_bytes"] = max(socket.rmem_bytes for socket in receiving)
        values["socket_receive_buffer_bytes"] = min(socket.rcvbuf_bytes for socket in receiving)
    return values | _process(sample)


def _process(sample: Sample) -> dict[str, float]:
    bridge = sample.bridge
    if bridge is None:
        return {}
    kinds = seconds_by_kind(bridge.threads)
    values: dict[str, float] = {
        "process_cpu_s": bridge.cpu_user_s + bridge.cpu_sys_s,
        "resident_memory_bytes": bridge.rss_bytes,
        "process_threads": bridge.nr_threads,
        "bridge_cpus": len(bridge.cpus),
    }
    if bridge.threads:
        values |= {"compiler_cpu_s": kinds[COMPILER], "collector_cpu_s": kinds[COLLECTOR]}
    if bridge.rx_thread_cpu_s is not None:
        values["receive_thread_cpu_s"] = bridge.rx_thread_cpu_s
    values["process_start_unix"] = sample.t_unix - _uptime(sample)
    if sample.gc is not None:
        values["gc_pause_s"] = sample.gc.young_seconds + sample.gc.old_seconds
        values["gc_collections"] = sample.gc.young_count + sample.gc.old_count
        if sample.gc.safepoint_seconds is not None:
            values["safepoint_s"] = sample.gc.safepoint_seconds
    if sample.cgroup is not None:
        values["throttled_s"] = sample.cgroup.throttled_s
    return values


def _uptime(sample: Sample) -> float:
    """Seconds since the bridge's process started: start ticks count from the boot, as the monotonic clock does."""
    assert sample.bridge is not None
    return sample.t_mono - sample.bridge.start_ticks / TICKS_PER_SECOND


def interfaces(sample: Sample) -> dict[str, dict[str, float]]:
    """Counters by interface, without those of containers."""
    return {
        name: {quantity.name: float(getattr(counters, quantity.name)) for quantity in NETWORK}
        for name, counters in sample.interfaces.items()
        if not any(fnmatch.fnmatchcase(name, ignored) for ignored in IGNORED_INTERFACES)
    }


def over_interval(before: Row, now: Row) -> dict[str, float]:
    """What happened since the row before; empty if that was another process, or no time passed."""
    seconds, counted = now.mono - before.mono, now.counted_mono - before.counted_mono
    if seconds <= 0 or now.process is None or before.process != now.process:
        return {}
    rates: dict[str, float | None] = {name: _gained(before, now, name) for name in _COUNTERS}

    def rate(name: str, divisor: float = seconds) -> float | None:
        gained = rates[name]
        return None if gained is None or divisor <= 0 else gained / divisor

    cpus, bridge_cpus = now.number("host_cpus") or 0, now.number("bridge_cpus") or 0
    packets = rates["transit_packets"] or 0
    found = {
        **_packet_rates(now, {name: rate(name, counted) for name in ("in_packets", "out_packets", "relay_packets")}),
        "socket_drop_rate": rate("socket_drops"),
        "receive_thread_busy": rate("receive_thread_cpu_s"),
        "process_cpu_cores": rate("process_cpu_s"),
        "bridge_cpu_busy": rate("process_cpu_s", seconds * bridge_cpus),
        "gc_pause_share": rate("gc_pause_s"),
        "steal_share": rate("steal_s", seconds * cpus),
        "transit_mean_ms": rate("transit_ms", packets),
        "transit_slow_share": rate("transit_over_50_ms", packets),
    }
    return {name: value for name, value in found.items() if value is not None}


_COUNTERS = (
    "in_packets",
    "out_packets",
    "relay_packets",
    "socket_drops",
    "receive_thread_cpu_s",
    "process_cpu_s",
    "gc_pause_s",
    "steal_s",
    "transit_packets",
    "transit_ms",
    "transit_over_50_ms",
)


def _gained(before: Row, now: Row, name: str) -> float | None:
    first, last = before.number(name), now.number(name)
    return None if first is None or last is None or last < first else last - first


def _packet_rates(now: Row, counted: Mapping[str, float | None]) -> dict[str, float | None]:
    """By the queues' exact counts; if the bridge does not report them, by its own windows."""
    rates = tuple(counted[name] for name in ("in_packets", "out_packets", "relay_packets"))
    known = reported_rates(now) if None in rates else rates
    if known is None:
        return {}
    in_rate, out_rate, relay_rate = (rate or 0.0 for rate in known)
    return {
        "packet_rate": in_rate + out_rate + relay_rate,
        "in_packet_rate": in_rate,
        "out_packet_rate": out_rate,
        "relay_packet_rate": relay_rate,
    }


def reported_rates(row: Row) -> tuple[float, float, float] | None:
    """Packets in, out and to relays by the bridge's own windows of 5 s; None if it does not report them.

    The sum is what a bridge divides by its load threshold. In the windows, packets from relays are apart.
    """
    in_rate, out_rate = row.number("packet_rate_download"), row.number("packet_rate_upload")
    if in_rate is None or out_rate is None:
        return None
    from_relays, to_relays = (row.number(f"octo_{way}_packet_rate") or 0.0 for way in ("receive", "send"))
    return in_rate + from_relays, out_rate, to_relays
