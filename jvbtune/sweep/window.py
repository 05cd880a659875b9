"""What the host and the bridge did in a measured window: samples in, the fields of a trial's row out. Pure.

Samples carry cumulative counters and the host's clock; the window is the generator's, on the controller's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Sample = Mapping[str, Any]


def in_window(
    samples: Sequence[Sample], start_unix: float, end_unix: float, clock_offset_seconds: float
) -> list[Sample]:
    """The samples whose time, on the controller's clock, lies in the window.

    ``clock_offset_seconds`` is host clock − controller clock.
    """
    return [s for s in samples if start_unix <= float(s["t_unix"]) - clock_offset_seconds <= end_unix]


def summarise(samples: Sequence[Sample]) -> dict[str, Any]:
    """The row's fields from the first and the last sample of a window.

    Raises ValueError where there are fewer than two samples, or none of the bridge. A bridge that was restarted in
    between shows as ``bridge_restarted``.
    """
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} samples in the measured window: at least 2 are needed")
    first, last = samples[0], samples[-1]
    seconds = float(last["t_mono"]) - float(first["t_mono"])
    if seconds <= 0:
        raise ValueError("the samples' clock did not advance")
    if not first.get("bridge") or not last.get("bridge"):
        raise ValueError("the bridge's process was not there in the measured window")
    fields: dict[str, Any] = {"sampled_seconds": seconds}
    fields.update(_bridge(first["bridge"], last["bridge"], seconds))
    fields.update(_cores(first["cores"], last["cores"], seconds))
    fields.update(_of_its_cores(first, last, fields.get("cpu_cores"), seconds))
    clocks = [float(s["bridge"]["cpu_mhz"]) for s in samples if s.get("bridge") and s["bridge"].get("cpu_mhz")]
    fields["cpu_mhz"] = sum(clocks) / len(clocks) if clocks else None
    fields.update(_as_the_bridge_measures(first, last))
    fields.update(_drops(first, last))
    fields.update(_garbage_collection(first.get("gc") or {}, last.get("gc") or {}, seconds))
    fields.update(_throttling(first.get("cgroup") or {}, last.get("cgroup") or {}))
    own = float(last.get("agent_cpu_seconds") or 0) - float(first.get("agent_cpu_seconds") or 0)
    fields["agent_cpu_ratio"] = own / seconds
    return fields


def _bridge(first: Mapping[str, Any], last: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    restarted = (first["pid"], first.get("start_ticks")) != (last["pid"], last.get("start_ticks"))
    if restarted:
        return {"bridge_restarted": True}
    used = _difference(first, last, "cpu_user_s") + _difference(first, last, "cpu_sys_s")
    fields: dict[str, Any] = {"bridge_restarted": False, "cpu_cores": used / seconds}
    if first.get("rx_thread_cpu_s") is not None and last.get("rx_thread_cpu_s") is not None:
        fields["rx_thread_ratio"] = _difference(first, last, "rx_thread_cpu_s") / seconds
    return fields


def _cores(first: Sequence[Mapping[str, Any]], last: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    before = {core["cpu"]: core for core in first}
    cores = [core for core in last if core["cpu"] in before]
    return {
        "host_cpu_cores": sum(_busy_ratio(before[core["cpu"]], core, seconds) for core in cores),
        "softirq_cores": sum(_difference(before[core["cpu"]], core, "softirq_s") for core in cores) / seconds,
        "steal_ratio": sum(_difference(before[core["cpu"]], core, "steal_s") for core in cores)
        / seconds
        / max(1, len(last)),
    }


def _busy_ratio(first: Mapping[str, Any], last: Mapping[str, Any], seconds: float) -> float:
    """What of a core was not idle: the kernel measures idle time (tick_sched.c), but samples all the rest by the tick.

    A load that wakes in step with the tick was seen to be sampled twice as often as it ran.
    """
    idle = sum(_difference(first, last, key) for key in ("idle_s", "iowait_s", "steal_s"))
    return min(1.0, max(0.0, 1 - idle / seconds))


def _of_its_cores(first: Sample, last: Sample, bridge_cores: float | None, seconds: float) -> dict[str, Any]:
    """Of the cores that the bridge may use: how busy they were, and what of that was neither the bridge nor packets.

    Busy is all but idle: on a host with a network card, softirq takes a good part of what a packet costs, and is in no
    process's account. Steal is in it: what a neighbour takes is not there for packets. Under a quota the cores are not
    what is scarce, and nothing is said.
    """
    cpus = set(last["bridge"].get("cpus") or ())
    before = {core["cpu"]: core for core in first["cores"]}
    cores = [core for core in last["cores"] if core["cpu"] in cpus and core["cpu"] in before]
    if bridge_cores is None or not cores:
        return {}
    busy = sum(_busy_ratio(before[core["cpu"]], core, seconds) for core in cores)
    softirq, steal = (
        sum(_difference(before[core["cpu"]], core, key) for core in cores) / seconds for key in ("softirq_s", "steal_s")
    )
    fields = {"tenants_cpu_ratio": max(0.0, busy - softirq - bridge_cores) / len(cores)}
    if (last["bridge"].get("load_scope") or {}).get("scope") != "quota":
        fields["busy_ratio"] = min(1.0, (busy + steal) / len(cores))
    return fields


def _as_the_bridge_measures(first: Sample, last: Sample) -> dict[str, Any]:
    """CPU as a JVB's "cpu-usage" measurement sees it: the JVM's getSystemCpuLoad, by the formulas of the JDK.

    Whatever runs in its scope counts, by the ticks of /proc/stat or by the cgroup's usage of its quota.
    """
    scope = last["bridge"].get("load_scope") or {}
    if not scope or scope != first["bridge"].get("load_scope"):
        return {}
    if scope["scope"] == "quota":
        before, now = first.get("cgroup") or {}, last.get("cgroup") or {}
        total = _difference(before, now, "nr_periods") * float(scope["quota_s"])
        used = _difference(before, now, "usage_s") if "usage_s" in before and "usage_s" in now else None
    else:
        earlier = {core["cpu"]: core for core in first["cores"]}
        pairs = [(earlier[c["cpu"]], c) for c in last["cores"] if c["cpu"] in scope["cpus"] and c["cpu"] in earlier]
        busy = ("user_s", "nice_s", "system_s", "irq_s", "softirq_s")
        used = sum(_difference(a, b, key) for a, b in pairs for key in busy)
        total = used + sum(_difference(a, b, key) for a, b in pairs for key in ("idle_s", "iowait_s"))
    known = {"jvb_scope": scope["scope"], "jvb_scope_cores": scope["cores"]}
    return known if used is None or total <= 0 else {**known, "jvb_cpu_ratio": min(1.0, used / total)}


def _drops(first: Sample, last: Sample) -> dict[str, Any]:
    def total(sample: Sample, name: str, key: str) -> int:
        return sum(int(item.get(key) or 0) for item in sample.get(name) or ())

    def interfaces(sample: Sample) -> int:
        counters = (sample.get("interfaces") or {}).values()
        return sum(int(c.get("rx_dropped") or 0) + int(c.get("rx_missed") or 0) for c in counters)

    fields: dict[str, Any] = {
        "backlog_drops": total(last, "softnet", "dropped") - total(first, "softnet", "dropped"),
        "interface_drops": interfaces(last) - interfaces(first),
        "squeezes": total(last, "softnet", "squeezed") - total(first, "softnet", "squeezed"),
        "udp_rcvbuf_errors": _counter(first, last, "RcvbufErrors"),
        "udp_mem_errors": _counter(first, last, "MemErrors"),
        "udp_sndbuf_errors": _counter(first, last, "SndbufErrors"),
    }
    before = {socket.get("inode"): socket for socket in first.get("sockets") or ()}
    now = [socket for socket in last.get("sockets") or () if socket.get("inode") in before]
    if now:
        drops = {s["inode"]: int(s["drops"]) - int(before[s["inode"]]["drops"]) for s in now}
        fields["socket_drops"] = sum(drops.values())
        # Of the pool that shares the media port one socket receives, for each address; where there are several of
        # these, the smallest buffer is the honest figure.
        receiving = [int(s["rcvbuf_bytes"]) for s in now if s.get("receives", True)]
        if receiving:
            fields["socket_rcvbuf_bytes"] = min(receiving)
    return fields


def _counter(first: Sample, last: Sample, key: str) -> int:
    return int((last.get("udp") or {}).get(key) or 0) - int((first.get("udp") or {}).get(key) or 0)


def _garbage_collection(first: Mapping[str, Any], last: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    if not first or not last:
        return {}
    spent = sum(_difference(first, last, key) for key in ("young_seconds", "old_seconds"))
    return {"gc_ratio": spent / seconds}


def _throttling(first: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
    periods = _difference(first, last, "nr_periods")
    if periods <= 0:
        return {"throttled_ratio": 0.0} if first else {}
    return {"throttled_ratio": _difference(first, last, "nr_throttled") / periods}


def _difference(first: Mapping[str, Any], last: Mapping[str, Any], key: str) -> float:
    return float(last.get(key) or 0) - float(first.get(key) or 0)


def per_second(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Series for the steady-state checks: one value an interval of ``t_unix``, ``cpu_cores``, ``rx_thread_ratio``."""
    series: dict[str, list[float]] = {"t_unix": [], "cpu_cores": [], "rx_thread_ratio": [], "socket_drops": []}
    for before, after in pairwise(samples):
        try:
            fields = summarise([before, after])
        except ValueError:
            continue
        if fields["bridge_restarted"]:
            continue
        series["t_unix"].append(float(after["t_unix"]))
        for name in ("cpu_cores", "rx_thread_ratio", "socket_drops"):
            series[name].append(float(fields.get(name, float("nan"))))
    return series
