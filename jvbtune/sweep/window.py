"""What the host and the bridge did in a measured window: samples in, the fields of a trial's row out. Pure.

Samples carry cumulative counters and the host's clock; the window is the generator's, on the controller's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from jvbtune.agent.jvmthreads import COLLECTOR, COMPILER, JVM, seconds_by_kind
from jvbtune.protocol.samples import BridgeSample, CgroupCpu, Collections, CoreTimes, Sample


def in_window(
    samples: Sequence[Sample], start_unix: float, end_unix: float, clock_offset_seconds: float
) -> list[Sample]:
    """The samples whose time, on the controller's clock, lies in the window.

    ``clock_offset_seconds`` is host clock − controller clock.
    """
    return [s for s in samples if start_unix <= s.t_unix - clock_offset_seconds <= end_unix]


def clock_step_seconds(samples: Sequence[Sample]) -> float:
    """How far the host's clock was stepped while these samples came: its monotonic clock is not stepped with it."""
    apart = [sample.t_unix - sample.t_mono for sample in samples]
    return max(apart) - min(apart) if apart else 0.0


def summarise(samples: Sequence[Sample]) -> dict[str, Any]:
    """The row's fields from the first and the last sample of a window.

    Raises ValueError where there are fewer than two samples, or none of the bridge. A bridge that was restarted in
    between shows as ``bridge_restarted``.
    """
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} samples in the measured window: at least 2 are needed")
    first, last = samples[0], samples[-1]
    seconds = last.t_mono - first.t_mono
    if seconds <= 0:
        raise ValueError("the samples' clock did not advance")
    if first.bridge is None or last.bridge is None:
        raise ValueError("the bridge's process was not there in the measured window")
    fields: dict[str, Any] = {"sampled_seconds": seconds}
    fields.update(_bridge(first.bridge, last.bridge, seconds))
    fields.update(_cores(first.cores, last.cores, last.bridge.cpus, seconds))
    fields.update(_of_its_cores(first, last, last.bridge, fields.get("cpu_cores"), seconds))
    fields["tenants"] = _tenants(samples)
    clocks = [s.bridge.cpu_mhz for s in samples if s.bridge is not None and s.bridge.cpu_mhz]
    fields["cpu_mhz"] = sum(clocks) / len(clocks) if clocks else None
    fields.update(_as_the_bridge_measures(first, last))
    fields.update(_drops(first, last))
    fields.update(_garbage_collection(first.gc, last.gc, seconds))
    fields.update(_throttling(first.cgroup, last.cgroup))
    fields["agent_cpu_ratio"] = (last.agent_cpu_seconds - first.agent_cpu_seconds) / seconds
    return fields


def _bridge(first: BridgeSample, last: BridgeSample, seconds: float) -> dict[str, Any]:
    if (first.pid, first.start_ticks) != (last.pid, last.start_ticks):
        return {"bridge_restarted": True}
    used = last.cpu_user_s - first.cpu_user_s + last.cpu_sys_s - first.cpu_sys_s
    fields: dict[str, Any] = {"bridge_restarted": False, "cpu_cores": used / seconds}
    fields.update(_jvm_threads(first.threads, last.threads, seconds))
    if first.rx_thread_cpu_s is not None and last.rx_thread_cpu_s is not None:
        fields["rx_thread_ratio"] = (last.rx_thread_cpu_s - first.rx_thread_cpu_s) / seconds
    return fields


def _jvm_threads(first: Mapping[str, float], last: Mapping[str, float], seconds: float) -> dict[str, float]:
    """What the JVM's own threads used. Nothing where nobody sampled threads."""
    if not first or not last:
        return {}
    before, after = seconds_by_kind(first), seconds_by_kind(last)
    names = {"compiler_cores": COMPILER, "collector_cores": COLLECTOR, "jvm_cores": JVM}
    return {name: max(0.0, after[kind] - before[kind]) / seconds for name, kind in names.items()}


def _cores(
    first: Sequence[CoreTimes], last: Sequence[CoreTimes], of_bridge: Sequence[int], seconds: float
) -> dict[str, Any]:
    """Of the whole host; steal is that of the cores that the bridge may use, where these had more of it."""
    pairs = _pairs(first, last)
    own = [pair for pair in pairs if pair[1].cpu in of_bridge]
    return {
        "host_cpu_cores": sum(_busy_ratio(before, now, seconds) for before, now in pairs),
        "softirq_cores": sum(now.softirq_s - before.softirq_s for before, now in pairs) / seconds,
        "steal_ratio": max(_steal_ratio(pairs, seconds), _steal_ratio(own, seconds)),
    }


def _steal_ratio(pairs: Sequence[tuple[CoreTimes, CoreTimes]], seconds: float) -> float:
    return sum(now.steal_s - before.steal_s for before, now in pairs) / seconds / max(1, len(pairs))


def _pairs(first: Sequence[CoreTimes], last: Sequence[CoreTimes]) -> list[tuple[CoreTimes, CoreTimes]]:
    """The same core at both edges."""
    before = {core.cpu: core for core in first}
    return [(before[core.cpu], core) for core in last if core.cpu in before]


def _busy_ratio(first: CoreTimes, last: CoreTimes, seconds: float) -> float:
    """What of a core was not idle: the kernel measures idle time (tick_sched.c), but samples all the rest by the tick.

    A load that wakes in step with the tick was seen to be sampled twice as often as it ran.
    """
    idle = last.idle_s - first.idle_s + last.iowait_s - first.iowait_s + last.steal_s - first.steal_s
    return min(1.0, max(0.0, 1 - idle / seconds))


def _of_its_cores(
    first: Sample, last: Sample, bridge: BridgeSample, bridge_cores: float | None, seconds: float
) -> dict[str, Any]:
    """Of the cores that the bridge may use: how busy they were, and what of that was neither the bridge nor packets.

    Busy is all but idle: on a host with a network card, softirq takes a good part of what a packet costs, and is in no
    process's account. Steal is in it: what a neighbour takes is not there for packets. Under a quota the cores are not
    what is scarce, and nothing is said.
    """
    pairs = _pairs(first.cores, [core for core in last.cores if core.cpu in bridge.cpus])
    if bridge_cores is None or not pairs:
        return {}
    busy = sum(_busy_ratio(before, now, seconds) for before, now in pairs)
    softirq = sum(now.softirq_s - before.softirq_s for before, now in pairs) / seconds
    steal = sum(now.steal_s - before.steal_s for before, now in pairs) / seconds
    fields: dict[str, Any] = {"tenants_cpu_ratio": max(0.0, busy - softirq - bridge_cores) / len(pairs)}
    if bridge.load_scope is None or bridge.load_scope.scope != "quota":
        fields["busy_ratio"] = min(1.0, (busy + steal) / len(pairs))
    return fields


def _tenants(samples: Sequence[Sample]) -> dict[str, float]:
    """The three busiest other processes, as shares of the cores that the bridge may use."""
    shares: dict[str, float] = {}
    for sample in samples:
        cpus = len(sample.bridge.cpus) if sample.bridge else 0
        for name, cores in sample.tenants.items() if cpus else ():
            shares[name] = shares.get(name, 0.0) + cores / cpus / len(samples)
    return dict(sorted(shares.items(), key=lambda one: -one[1])[:3])


def _as_the_bridge_measures(first: Sample, last: Sample) -> dict[str, Any]:
    """CPU as a JVB's "cpu-usage" measurement sees it: the JVM's getSystemCpuLoad, by the formulas of the JDK.

    Whatever runs in its scope counts, by the ticks of /proc/stat or by the cgroup's usage of its quota.
    """
    scope = last.bridge.load_scope if last.bridge else None
    if scope is None or first.bridge is None or scope != first.bridge.load_scope:
        return {}
    used: float | None = None
    if scope.scope == "quota":
        before, now = first.cgroup, last.cgroup
        if before is None or now is None:
            return {"jvb_scope": scope.scope, "jvb_scope_cores": scope.cores}
        total = (now.nr_periods - before.nr_periods) * (scope.quota_s or 0.0)
        if before.usage_s is not None and now.usage_s is not None:
            used = now.usage_s - before.usage_s
    else:
        pairs = _pairs(first.cores, [core for core in last.cores if core.cpu in scope.cpus])
        used = sum(_at_work(now) - _at_work(before) for before, now in pairs)
        total = used + sum(now.idle_s - before.idle_s + now.iowait_s - before.iowait_s for before, now in pairs)
    known = {"jvb_scope": scope.scope, "jvb_scope_cores": scope.cores}
    return known if used is None or total <= 0 else {**known, "jvb_cpu_ratio": min(1.0, used / total)}


def _at_work(core: CoreTimes) -> float:
    return core.user_s + core.nice_s + core.system_s + core.irq_s + core.softirq_s


def _drops(first: Sample, last: Sample) -> dict[str, Any]:
    def interfaces(sample: Sample) -> int:
        return sum(counters.rx_dropped + counters.rx_missed for counters in sample.interfaces.values())

    fields: dict[str, Any] = {
        "backlog_drops": sum(row.dropped for row in last.softnet) - sum(row.dropped for row in first.softnet),
        "interface_drops": interfaces(last) - interfaces(first),
        "squeezes": sum(row.squeezed for row in last.softnet) - sum(row.squeezed for row in first.softnet),
        "udp_rcvbuf_errors": _counter(first, last, "RcvbufErrors"),
        "udp_mem_errors": _counter(first, last, "MemErrors"),
        "udp_sndbuf_errors": _counter(first, last, "SndbufErrors"),
    }
    before = {socket.inode: socket for socket in first.sockets}
    now = [socket for socket in last.sockets if socket.inode in before]
    if now:
        fields["socket_drops"] = sum(socket.drops - before[socket.inode].drops for socket in now)
        # Of the pool that shares the media port one socket receives, for each address; where there are several of
        # these, the smallest buffer is the honest figure.
        receiving = [socket.rcvbuf_bytes for socket in now if socket.receives]
        if receiving:
            fields["socket_rcvbuf_bytes"] = min(receiving)
    return fields


def _counter(first: Sample, last: Sample, key: str) -> int:
    return last.udp.get(key, 0) - first.udp.get(key, 0)


def _garbage_collection(first: Collections | None, last: Collections | None, seconds: float) -> dict[str, Any]:
    if first is None or last is None:
        return {}
    spent = last.young_seconds - first.young_seconds + last.old_seconds - first.old_seconds
    return {"gc_ratio": spent / seconds}


def _throttling(first: CgroupCpu | None, last: CgroupCpu | None) -> dict[str, Any]:
    if first is None or last is None:
        return {}
    periods = last.nr_periods - first.nr_periods
    return {"throttled_ratio": (last.nr_throttled - first.nr_throttled) / periods if periods > 0 else 0.0}


def per_second(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Series for the steady-state checks: one value an interval. CPU is without the JVM's compilers."""
    series: dict[str, list[float]] = {"t_unix": [], "cpu_cores": [], "rx_thread_ratio": [], "socket_drops": []}
    for before, after in pairwise(samples):
        try:
            fields = summarise([before, after])
        except ValueError:
            continue
        if fields["bridge_restarted"]:
            continue
        series["t_unix"].append(after.t_unix)
        series["cpu_cores"].append(float(fields["cpu_cores"]) - float(fields.get("compiler_cores", 0.0)))
        for name in ("rx_thread_ratio", "socket_drops"):
            series[name].append(float(fields.get(name, float("nan"))))
    return series
