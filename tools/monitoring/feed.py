"""What reaches the servers in a cluster, made without one: samples of three hosts, in the shapes in which they come.

Rows of ``jvbtune observe`` go through its own endpoint and its own line protocol. /colibri/stats goes as telegraf's
JSON parser writes it. The figures follow a packet rate that swells and ebbs, so that pictures show something.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jvbtune.observe import columns
from jvbtune.observe.influxdb import lines_of
from jvbtune.observe.labels import labels_of
from jvbtune.observe.prometheus import LatestRows, serving
from jvbtune.observe.rows import Row

#: Counters begin then.
EPOCH = 1_700_000_000
SWELL_SECONDS = 3600.0


@dataclass(frozen=True)
class MadeHost:
    """A host of the made cluster. ``packet_cost``: CPU per packet, to that of its kind. ``load``: to that of others.
    ``down``: no bridge runs. ``measured``: it has a max packet rate, ``interval``: and one with an interval."""

    name: str
    region: str
    machine_type: str
    max_packet_rate: float
    phase: float = 0.0
    packet_cost: float = 1.0
    drop_rate: float = 0.0
    load: float = 1.0
    down: bool = False
    drained: bool = False
    measured: bool = True
    interval: bool = True

    @property
    def labels(self) -> dict[str, str]:
        return labels_of(self.name, {"region": self.region, "machine_type": self.machine_type})

    def share(self, at: float) -> float:
        """Of the max packet rate, at a Unix time."""
        return self.load * (0.55 + 0.35 * math.sin(at / SWELL_SECONDS + self.phase))

    def packets(self, at: float) -> float:
        """The integral of the packet rate."""
        swell = SWELL_SECONDS * math.cos(at / SWELL_SECONDS + self.phase)
        return self.load * self.max_packet_rate * (0.55 * (at - EPOCH) - 0.35 * swell)


HOSTS = (
    MadeHost("jvb-eu-1", "eu", "c2-standard-4", 46_750, 0.0),
    MadeHost("jvb-eu-2", "eu", "c2-standard-4", 46_750, 0.3, packet_cost=1.45, drop_rate=40),
    MadeHost("jvb-eu-3", "eu", "c2-standard-4", 46_750, 0.6),
    MadeHost("jvb-us-1", "us", "c2-standard-8", 71_200, 2.2),
)
#: For what sums of capacities and medians of a kind are of: hosts that are down, drained, not measured, idle, of no
#: kind, of a kind of its own, and one whose limit has no interval.
ODD_HOSTS = (
    MadeHost("jvb-sa-1", "sa", "c2-standard-4", 46_750, down=True),
    MadeHost("jvb-sa-2", "sa", "c2-standard-4", 46_750, drained=True),
    MadeHost("jvb-sa-3", "sa", "c2-standard-4", 46_750, measured=False),
    MadeHost("jvb-sa-4", "sa", "c2-standard-4", 46_750, load=0.01, packet_cost=3),
    MadeHost("jvb-sa-5", "sa", "", 46_750, packet_cost=2),
    MadeHost("jvb-sa-6", "sa", "c2-standard-16", 90_000),
    MadeHost("jvb-af-1", "af", "", 46_750, interval=False),
)
#: CPU seconds of a packet, and those of the receive thread.
PACKET_SECONDS, RECEIVE_SECONDS = 28e-6, 11e-6


def values(host: MadeHost, at: float) -> dict[str, float]:
    """Every numeric quantity of one host, under its field's name and in its unit."""
    share = host.share(at)
    rate, packets, seconds = share * host.max_packet_rate, host.packets(at), at - EPOCH
    cores = rate * PACKET_SECONDS * host.packet_cost
    core_seconds = packets * PACKET_SECONDS * host.packet_cost
    known: dict[str, float] = {
        "up": 1,
        "bridge_up": 1,
        "healthy": 1,
        "stress_level": share / 0.8,
        "participants": rate / 300,
        "local_endpoints": rate / 320,
        "endpoints_sending_audio": rate / 900,
        "endpoints_sending_video": rate / 700,
        "octo_endpoints": rate / 2000,
        "conferences": rate / 1500,
        "octo_conferences": rate / 9000,
        "largest_conference": 9 + 8 * share,
        "packet_rate_download": 0.3 * rate,
        "packet_rate_upload": 0.62 * rate,
        "octo_receive_packet_rate": 0.05 * rate,
        "octo_send_packet_rate": 0.03 * rate,
        "bit_rate_download": 0.3 * rate * 5.6,
        "bit_rate_upload": 0.62 * rate * 5.9,
        "octo_receive_bitrate": 0.05 * rate * 5600,
        "octo_send_bitrate": 0.03 * rate * 5600,
        "rtt_aggregate": 38 + 30 * share,
        "incoming_loss": 0.002 * share + (0.01 if host.drop_rate else 0),
        "outgoing_loss": 0.004 * share,
        "overall_loss": 0.003 * share,
        "packet_rate": rate,
        "in_packet_rate": 0.35 * rate,
        "out_packet_rate": 0.62 * rate,
        "relay_packet_rate": 0.03 * rate,
        "in_packets": 0.35 * packets,
        "out_packets": 0.62 * packets,
        "relay_packets": 0.03 * packets,
        "socket_drop_rate": host.drop_rate,
        "socket_drops": host.drop_rate * seconds,
        "udp_rcvbuf_errors": host.drop_rate * seconds,
        "receive_thread_busy": rate * RECEIVE_SECONDS * host.packet_cost,
        "receive_thread_cpu_s": packets * RECEIVE_SECONDS * host.packet_cost,
        "process_cpu_cores": cores,
        "process_cpu_s": core_seconds,
        "compiler_cpu_s": 0.02 * core_seconds,
        "collector_cpu_s": 0.06 * core_seconds,
        "softirq_s": 0.12 * core_seconds,
        "bridge_cpu_busy": cores / 4,
        "host_busy_s": 1.15 * core_seconds,
        "host_cpus": 4,
        "bridge_cpus": 4,
        "gc_pause_share": 0.006 * share,
        "gc_collections": 0.4 * seconds,
        "gc_pause_s": 0.006 * seconds,
        "safepoint_s": 0.008 * seconds,
        "steal_share": 0.01 if host.drop_rate else 0.0,
        "transit_mean_ms": 1.5 + 3 * share**4,
        "transit_slow_share": 0.001 * share**4,
        "socket_receive_queue_bytes": 40_000 * share**4,
        "socket_receive_buffer_bytes": 10_485_760,
        "resident_memory_bytes": 2.4e9 + 4e8 * share,
        "process_threads": 118,
        "process_start_unix": at - 86_400,
        "max_packet_rate": host.max_packet_rate,
        "max_packet_rate_low": 0.95 * host.max_packet_rate,
        "max_packet_rate_high": 1.06 * host.max_packet_rate,
        "capacity_used": share,
        "load_threshold": 0.8 * host.max_packet_rate,
        "load_threshold_configured": 0.8 * host.max_packet_rate,
        "load_threshold_in_force": 1,
    }
    missing = [one for one in columns.QUANTITIES if one.kind != "text" and one.name not in known]
    known |= {one.name: 0.01 * seconds if one.kind == "counter" else 0.0 for one in missing}
    known["drain"] = float(host.drained)
    unknown = {one.name for one in columns.MEASURED} if not host.measured else set()
    if not host.interval:
        unknown |= {"max_packet_rate_low", "max_packet_rate_high"}
    if host.down:
        known["bridge_up"] = 0
        unknown |= {one.name for one in (*columns.REPORTED, *columns.COUNTED, *columns.INTERVAL)} | {"capacity_used"}
    return {name: value for name, value in known.items() if name not in unknown}


def row(host: MadeHost, at: float) -> Row:
    """What ``observe`` makes of one sample of that host."""
    packets = host.packets(at)
    known = {"rx_packets": 0.35 * packets, "tx_packets": 0.65 * packets}
    known |= {"rx_bytes": 700 * known["rx_packets"], "tx_bytes": 740 * known["tx_packets"]}
    interface = {one.name: known.get(one.name, 0.0) for one in columns.NETWORK}
    return Row(host.name, host.labels, at, values(host, at), {"eth0": interface})


def colibri_stats(host: MadeHost, at: float) -> dict[str, Any]:
    """The part of an answer of /colibri/stats that ``observe`` does not write."""
    rate, seconds = host.share(at) * host.max_packet_rate, at - EPOCH
    return {
        "receive_only_endpoints": rate / 1200,
        "endpoints_with_high_outgoing_loss": 1,
        "num_eps_oversending": 2,
        "endpoints_with_suspended_sources": 3,
        "total_participants": 0.2 * seconds,
        "total_ice_failed": 0.004 * seconds,
        "total_ice_succeeded": 0.19 * seconds,
        "dtls_failed_endpoints": 0.001 * seconds,
        "drain": False,
        "version": "2.3",
    }


def own_metrics(host: MadeHost, at: float) -> str:
    """Metrics of the bridge itself that ``observe`` does not have, in the text of a bridge's /metrics."""
    stats = colibri_stats(host, at)
    seconds = at - EPOCH
    known = {
        "conferences": values(host, at)["conferences"],  # observe has it too: no query may count it twice
        "endpoints_recvonly": stats["receive_only_endpoints"],
        "endpoints_with_high_outgoing_loss": stats["endpoints_with_high_outgoing_loss"],
        "endpoints_oversending": stats["num_eps_oversending"],
        "endpoints_with_suspended_sources": stats["endpoints_with_suspended_sources"],
        "endpoints_total": 0.2 * seconds,
        "ice_failed_total": 0.004 * seconds,
        "ice_succeeded_total": 0.19 * seconds,
        "endpoints_dtls_failed_total": 0.001 * seconds,
        "jvm_heap_used": 1.1e9 + 6e8 * (seconds % 20) / 20,
        "jvm_heap_committed": 2.1e9,
        "jvm_open_fd_count": 260,
    }
    lines = [f"jitsi_jvb_{name} {value!r}" for name, value in known.items()]
    shares = (("0.0", 0.1), ("5.0", 0.93), ("50.0", 0.999), ("500.0", 1.0), ("+Inf", 1.0))
    packets = host.packets(at)
    lines += [f'jitsi_jvb_rtp_transit_time_bucket{{le="{edge}"}} {share * packets!r}' for edge, share in shares]
    return "\n".join(lines) + "\n"


def telegraf_line(answer: Mapping[str, Any], tags: Mapping[str, str], at: float, measurement: str) -> str:
    """An answer of /colibri/stats as telegraf's inputs.http with data_format = "json" writes it: numbers become float
    fields; strings and booleans are dropped."""
    fields = ",".join(
        f"{name}={float(value)!r}"
        for name, value in answer.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
    labels = "".join(f",{name}={value}" for name, value in sorted(tags.items()))
    return f"{measurement}{labels} {fields} {int(at * 1000)}"


def lines(host: MadeHost, at: float, measurement: str = columns.MEASUREMENT) -> list[str]:
    """What observe and telegraf write of one host at one time."""
    telegraf = [] if host.down else [telegraf_line(colibri_stats(host, at), host.labels, at, measurement)]
    return [*lines_of(row(host, at), measurement), *telegraf]


@contextmanager
def observed(hosts: tuple[MadeHost, ...] = HOSTS) -> Iterator[str]:
    """The endpoint of ``observe`` with rows of now; its address."""
    latest, stop = LatestRows(max_age_seconds=60), threading.Event()

    def keep() -> None:
        while True:
            for host in hosts:
                latest.put(row(host, time.time()))
            if stop.wait(0.5):
                return

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        with serving("127.0.0.1", 0, [latest]) as port:
            yield f"127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join()
