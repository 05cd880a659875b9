"""The columns of a trial, each once: name, type, unit, meaning, and what follows when nobody measured it.

Rows, the Parquet schema, the CSV that ``fit --from csv`` reads, the trials of ``show --json`` and the table of
docs/reference/columns.md are made from this table. A new column is added here, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

TEXT, NUMBER, COUNT, TRUTH = pl.String(), pl.Float64(), pl.Int64(), pl.Boolean()
LIST = pl.List(pl.String())
COUNTS = pl.List(pl.Int64())


@dataclass(frozen=True)
class Column:
    """One column. What was not measured is null.

    ``unit``: ``ratio`` is 0..1. ``csv``: it may be given in a CSV of one's own. ``missing``: what cannot be said when
    the whole column is null. ``default``: what a text is taken to be then. ``shown``: listed with each trial by
    ``show --json``.
    """

    name: str
    type: pl.DataType
    unit: str
    meaning: str
    csv: bool = False
    shown: bool = False
    missing: str = ""
    default: str = ""

    @property
    def numeric(self) -> bool:
        return self.type in (NUMBER, COUNT)


COLUMNS: tuple[Column, ...] = (
    Column("run_id", TEXT, "", "the run", csv=True),
    Column("host", TEXT, "", "the host", csv=True, default="host", missing="all rows are taken as one host's"),
    Column(
        "block", COUNT, "", "repetition of the whole sweep, from 0", csv=True, shown=True,
        missing="restarts cannot be told apart",
    ),
    Column(
        "step", TEXT, "", "combination of settings; `baseline`: the values found on arrival", csv=True, shown=True,
        default="baseline", missing="all rows are taken as one combination of settings",
    ),
    Column("settings", TEXT, "", "JSON object of what the step changes", csv=True, default="{}"),
    Column("trial", TEXT, "", "name of the trial, unique in its run", csv=True, shown=True),
    Column("kind", TEXT, "", "`steady`, `burst`, `probe` or `profiled`", csv=True, shown=True, default="steady"),
    Column("order", COUNT, "", "place in the order of execution, from 0"),
    Column("intended_pps", NUMBER, "packets/s", "intended load, in and out", csv=True, shown=True),
    Column("offered_pps", NUMBER, "packets/s", "what the generator really sent, in and out", csv=True, shown=True),
    Column(
        "in_pps", NUMBER, "packets/s", "packets from endpoints, by the bridge's queue counters", csv=True, shown=True,
        missing="in and out cannot be told apart",
    ),
    Column(
        "out_pps", NUMBER, "packets/s", "packets to endpoints, by the bridge's queue counters", csv=True, shown=True,
        missing="in and out cannot be told apart",
    ),
    Column(
        "relay_pps", NUMBER, "packets/s", "packets from and to other bridges", csv=True, shown=True,
        missing="relayed packets are taken as none",
    ),
    Column("relay_in_pps", NUMBER, "packets/s", "of these, from other bridges, as these sent them", shown=True),
    Column("relay_out_pps", NUMBER, "packets/s", "of these, to other bridges, by the queue counters", shown=True),
    Column("bridge_pps", NUMBER, "packets/s", "in + out + relay", csv=True, shown=True),
    Column("stats_pps", NUMBER, "packets/s", "packet rate by the bridge's own statistics, which lag by seconds"),
    Column("endpoints", COUNT, "", "endpoints connected", csv=True, shown=True),
    Column("conferences", COUNT, "", "conferences held"),
    Column("mix", TEXT, "", "shape of a conference: participants, senders, packets a second of a stream", shown=True),
    Column(
        "duration_s", NUMBER, "s", "length of the measured window", csv=True, shown=True,
        missing="trials that are too short go unnoticed",
    ),
    Column(
        "cpu_cores", NUMBER, "cores", "CPU of the bridge's process, its JVM's compilers included", csv=True, shown=True,
        missing="no CPU limit can be applied",
    ),
    Column(
        "compiler_cores", NUMBER, "cores",
        "CPU of the JVM's compilers (C1, C2); fits use the CPU without it", csv=True, shown=True,
    ),
    Column("collector_cores", NUMBER, "cores", "CPU of the JVM's garbage collector threads"),
    Column("jvm_cores", NUMBER, "cores", "CPU of the JVM's other threads"),
    Column("host_cpu_cores", NUMBER, "cores", "CPU of the whole host", csv=True),
    Column("softirq_cores", NUMBER, "cores", "CPU of the whole host in softirqs"),
    Column(
        "steal_ratio", NUMBER, "ratio",
        "CPU taken by the hypervisor, of all cores or of those that the bridge may use, whichever is more", csv=True,
    ),
    Column("throttled_ratio", NUMBER, "ratio", "periods of the bridge's cgroup that hit the CPU quota", csv=True),
    Column(
        "cores", NUMBER, "cores", "cores that the bridge may use", csv=True, shown=True,
        missing="CPU cannot be compared with the cores: no CPU limit can be applied",
    ),
    Column(
        "busy_ratio", NUMBER, "ratio",
        "how busy these cores were, softirq and steal included; null under a CPU quota", csv=True, shown=True,
    ),
    Column(
        "jvb_cpu_ratio", NUMBER, "ratio",
        "CPU as the bridge's own cpu-usage measurement reads it; null if the generator runs on the host",
    ),
    Column("jvb_scope", TEXT, "", "what `jvb_cpu_ratio` is a share of: `host`, `cpuset` or `quota`"),
    Column("jvb_scope_cores", NUMBER, "cores", "cores of that scope"),
    Column("rx_thread_ratio", NUMBER, "ratio", "CPU of the thread that receives, of one core", csv=True, shown=True),
    Column("gc_ratio", NUMBER, "ratio", "time in garbage collections", csv=True),
    Column("tenants_cpu_ratio", NUMBER, "ratio", "CPU of other processes, of the cores that the bridge may use"),
    Column("cpu_mhz", NUMBER, "MHz", "mean clock of these cores; null if the kernel does not report it"),
    Column(
        "loss_ratio", NUMBER, "ratio", "packets lost of packets offered, end to end", csv=True, shown=True,
        missing="no loss limit can be applied",
    ),
    Column(
        "socket_drops", COUNT, "packets", "dropped by the bridge's sockets in the window", csv=True, shown=True
    ),
    Column(
        "socket_peak_bytes", COUNT, "bytes", "most that the socket's queue held in a burst trial, by 1 kHz polling",
        shown=True,
    ),
    Column("bursts", COUNT, "", "bursts that were seen in the socket's queue", shown=True),
    Column("bursts_dropping", COUNT, "", "bursts of which the socket dropped packets", shown=True),
    Column("burst_peaks_bytes", COUNTS, "bytes", "most that the socket's queue held, of each burst"),
    Column("burst_drops", COUNTS, "packets", "dropped by the socket, of each burst"),
    Column("backlog_drops", COUNT, "packets", "dropped by the softnet backlog of the host", shown=True),
    Column("interface_drops", COUNT, "packets", "dropped by network interfaces"),
    Column("queue_drops", COUNT, "packets", "dropped by the bridge's own queues", csv=True, shown=True),
    Column("udp_rcvbuf_errors", COUNT, "packets", "Udp RcvbufErrors of the bridge's network namespace"),
    Column("udp_mem_errors", COUNT, "packets", "Udp MemErrors of that namespace"),
    Column("udp_sndbuf_errors", COUNT, "packets", "Udp SndbufErrors of that namespace"),
    Column("squeezes", COUNT, "", "softnet: NAPI polls that ran out of budget with work left"),
    Column("delay_p50_ms", NUMBER, "ms", "median delay through the bridge"),
    Column("delay_p95_ms", NUMBER, "ms", "95th percentile of that delay"),
    Column(
        "delay_p99_ms", NUMBER, "ms", "99th percentile of that delay", csv=True, shown=True,
        missing="no delay limit can be applied",
    ),
    Column("delay_p999_ms", NUMBER, "ms", "99.9th percentile of that delay"),
    Column("delayed_50ms_ratio", NUMBER, "ratio", "packets delayed by more than 50 ms"),
    Column("delay_counts", COUNTS, "packets", "sampled, by delay: twelve bins a decade from 50 µs to 10 s, and above"),
    Column("late_ratio", NUMBER, "ratio", "packets delayed by more than the limit that the fit holds", shown=True),
    Column("agent_cpu_ratio", NUMBER, "ratio", "what jvbtune itself costs the host, of one core"),
    Column("generator_cpu_ratio", NUMBER, "ratio", "CPU of the generator, of one core"),
    Column("lateness_p99_ms", NUMBER, "ms", "99th percentile of how late the generator sent"),
    Column("generator_limited", TRUTH, "", "the generator was the limit", csv=True),
    Column(
        "socket_rcvbuf_bytes", COUNT, "bytes", "receive buffer by sock_diag, of the socket that receives", csv=True,
        shown=True,
    ),
    Column("started_unix", NUMBER, "s", "start of the measured window, Unix time of the controller", shown=True),
    Column(
        "clock_offset_seconds", NUMBER, "s", "the host's clock minus the controller's, measured before the trial",
        shown=True,
    ),
    Column("valid", TRUTH, "", "the trial may be used in a fit", csv=True, shown=True),
    Column("invalid_because", LIST, "", "why it may not, in words", shown=True),
    Column("invalid_codes", LIST, "", "the same as codes: see the reasons below the table", shown=True),
)  # fmt: skip

BY_NAME = {column.name: column for column in COLUMNS}
TRIAL_SCHEMA: dict[str, pl.DataType] = {column.name: column.type for column in COLUMNS}
#: What follows when a column was not measured; only those that change what can be said.
CONSEQUENCES = {column.name: column.missing for column in COLUMNS if column.missing}
SHOWN = tuple(column.name for column in COLUMNS if column.shown)
CSV = {column.name: column for column in COLUMNS if column.csv}
