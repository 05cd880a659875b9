"""Rows and samples as a host gives them, small enough to compute with by hand."""

from __future__ import annotations

from dataclasses import replace

from jvbtune.observe.labels import labels_of
from jvbtune.observe.rows import Row
from jvbtune.protocol.samples import (
    BridgeSample,
    Collections,
    CoreTimes,
    InterfaceCounters,
    Sample,
    SocketMemory,
    Softnet,
)

#: What a careless or hostile operator, bridge or inventory may name things.
FOREIGN = {
    "region": 'eu" west, a=b\\',
    "machine type": "c5\n# HELP x y\x1b[2J",
    "job": "taken",
    "": "no name",
    "le": "0.5",
    "__name__": "up",
    "9lives": "digit",
    "empty": "",
}


def sample(seconds: float = 0.0, *, pid: int = 7, growth: float = 1.0) -> Sample:
    """Counters that grow by known amounts each second."""
    n = seconds * growth
    return Sample(
        t_unix=1_790_000_000.0 + seconds,
        t_mono=1000.0 + seconds,
        agent_cpu_seconds=0.1 + n * 0.001,
        cores=[CoreTimes(cpu, user_s=10 + n / 4, idle_s=n / 2, softirq_s=1 + n / 8, steal_s=n / 10) for cpu in (0, 1)],
        softnet=[Softnet(0, int(100 + n), int(n), int(2 * n), 3), Softnet(1, 100, 0, 0, 4)],
        bridge=BridgeSample(
            pid,
            500,
            cpu_user_s=20 + n / 2,
            cpu_sys_s=5 + n / 4,
            rss_bytes=1 << 30,
            nr_threads=9,
            rx_thread_cpu_s=3 + n / 5,
            threads={"C2 CompilerThre": 1.0, "GC Thread#": 2.0, "jvb": 9.0},
            cpus=[0, 1],
        ),
        udp={"InDatagrams": int(1000 * n), "RcvbufErrors": int(n)},
        interfaces={
            "eth0": InterfaceCounters(rx_packets=int(1000 * n), rx_missed=2),
            "lo": InterfaceCounters(),
            "veth3f2": InterfaceCounters(),
        },
        sockets=[
            SocketMemory(10000, 1, receives=True, rmem_bytes=4096, rcvbuf_bytes=2 << 20, drops=int(10 * n)),
            SocketMemory(10000, 2, receives=False, rmem_bytes=9999, rcvbuf_bytes=1 << 20, drops=1),
        ],
        gc=Collections(
            young_count=5, young_seconds=0.5 + n / 100, old_count=1, old_seconds=0.25, safepoint_seconds=1.0
        ),
    )


ROW = Row(
    "jvb-1",
    labels_of("jvb-1", {"region": "eu", "machine_type": "c5.xlarge"}),
    1_790_000_000.25,
    {
        "up": 1.0,
        "packet_rate": 12345.5,
        "capacity_used": 0.25,
        "stress_level": 0.5,
        "bit_rate_download": 800.0,
        "transit_ms": 1500.0,
        "rtt_aggregate": 20.0,
        "socket_drops": 7,
        "max_packet_rate_source": 'run "x"\\',
    },
    {"eth0": {"rx_packets": 5.0}, "eth1": {"rx_packets": 6.0}},
    process=(7, 500),
)


def row(host: str = "jvb-1", unix: float = ROW.unix, labels: dict[str, str] | None = None, **values: float) -> Row:
    return replace(ROW, host=host, unix=unix, labels=labels_of(host, labels or {}), values={**ROW.values, **values})
