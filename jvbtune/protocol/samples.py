"""What the agent measures: cumulative counters as the kernel gives them, in one sample a grid point.

Times in seconds, sizes in bytes. A counter that a kernel or a JVM does not have is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Optional


@dataclass(frozen=True)
class CoreTimes:
    """A ``cpuN`` line of /proc/stat."""

    cpu: int
    user_s: float = 0.0
    nice_s: float = 0.0
    system_s: float = 0.0
    idle_s: float = 0.0
    iowait_s: float = 0.0
    irq_s: float = 0.0
    softirq_s: float = 0.0
    steal_s: float = 0.0


@dataclass(frozen=True)
class Softnet:
    """A line of /proc/net/softnet_stat. ``backlog``: packets queued now, from Linux 5.10 on."""

    cpu: int
    processed: int = 0
    dropped: int = 0
    squeezed: int = 0
    backlog: Optional[int] = None


@dataclass(frozen=True)
class InterfaceCounters:
    """A line of /proc/net/dev."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    rx_missed: int = 0  #: "fifo": rx_fifo_errors, with rx_missed and over errors where the driver has them
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


@dataclass(frozen=True)
class SocketMemory:
    """A UDP socket by sock_diag. ``receives``: the kernel gives the media port's packets to it."""

    port: int
    inode: int
    receives: bool = True
    rmem_bytes: int = 0
    rcvbuf_bytes: int = 0
    wmem_bytes: int = 0
    sndbuf_bytes: int = 0
    drops: int = 0


@dataclass(frozen=True)
class CgroupCpu:
    """cpu.stat of the bridge's cgroup."""

    nr_periods: int
    nr_throttled: int
    throttled_s: float
    usage_s: Optional[float] = None


@dataclass(frozen=True)
class Collections:
    """Garbage collections of a JVM: young (collector 0), old (the rest)."""

    source: Literal["hsperfdata"] = "hsperfdata"
    young_count: int = 0
    young_seconds: float = 0.0
    old_count: int = 0
    old_seconds: float = 0.0
    safepoint_seconds: Optional[float] = None


@dataclass(frozen=True)
class Compilation:
    """``compile_seconds``: elapsed, added up over the compiler threads, each when a compilation ends."""

    compile_seconds: Optional[float] = None
    compilations: Optional[int] = None


@dataclass(frozen=True)
class LoadScope:
    """Of what a JVM's ``getSystemCpuLoad`` is a share. ``quota_s``: CPU seconds a period, of a quota."""

    scope: Literal["quota", "cpuset", "host"]
    cores: float
    quota_s: Optional[float] = None
    cpus: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class BridgeSample:
    """The bridge's process. ``threads``: CPU seconds by group of threads; ``cpus``: those it may run on."""

    pid: int
    start_ticks: int
    cpu_user_s: float
    cpu_sys_s: float
    rss_bytes: int = 0
    nr_threads: int = 0
    rx_thread_cpu_s: Optional[float] = None
    rx_thread_name: Optional[str] = None
    threads: dict[str, float] = field(default_factory=dict)
    cpus: list[int] = field(default_factory=list)
    load_scope: Optional[LoadScope] = None
    cpu_mhz: Optional[float] = None


@dataclass(frozen=True)
class Sample:
    """One point of the grid; ``t_unix`` and ``t_mono`` are the host's clocks. Without a bridge its parts are empty."""

    t_unix: float
    t_mono: float
    seq: int = 0
    late_ms: float = 0.0
    agent_cpu_seconds: float = 0.0
    cores: list[CoreTimes] = field(default_factory=list)
    softnet: list[Softnet] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    bridge: Optional[BridgeSample] = None
    tenants: dict[str, float] = field(default_factory=dict)  #: cores that the busiest other processes used, by name
    udp: dict[str, int] = field(default_factory=dict)  #: /proc/net/snmp of the bridge's network namespace
    interfaces: dict[str, InterfaceCounters] = field(default_factory=dict)
    sockets: list[SocketMemory] = field(default_factory=list)
    cgroup: Optional[CgroupCpu] = None
    gc: Optional[Collections] = None
    jit: Optional[Compilation] = None


@dataclass(frozen=True)
class Burst:
    """One burst in a socket's queue. ``at_unix``: the host's clock when the queue was first seen filled."""

    at_unix: float
    peak_bytes: int
    drops: int


@dataclass(frozen=True)
class QueueSeen:
    """What watching the receive queue of the media socket gave."""

    polls: int = 0
    longest_gap_seconds: float = 0.0
    peak_bytes: int = 0
    rcvbuf_bytes: int = 0
    drops: int = 0
    bursts: list[Burst] = field(default_factory=list)
    cpu_seconds: float = 0.0
