"""A trial's row: the columns of the one data frame that ``fit`` reads, with their types and units."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

#: column -> type. What was not measured is null. Ratios are 0..1 unless they count cores.
TRIAL_SCHEMA: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "host": pl.String(),
    "block": pl.Int64(),
    "step": pl.String(),  # "baseline": the values found on arrival
    "settings": pl.String(),  # JSON object of what the step changes
    "trial": pl.String(),
    "kind": pl.String(),  # steady | burst | probe | profiled
    "order": pl.Int64(),  # 0-based, in order of execution
    "intended_pps": pl.Float64(),
    "offered_pps": pl.Float64(),
    "in_pps": pl.Float64(),  # exact, from the bridge's queue counters
    "out_pps": pl.Float64(),
    "relay_pps": pl.Float64(),
    "bridge_pps": pl.Float64(),  # in + out + relay
    "stats_pps": pl.Float64(),  # the bridge's own windowed stats
    "endpoints": pl.Int64(),
    "conferences": pl.Int64(),
    "mix": pl.String(),  # the shape of a conference
    "duration_s": pl.Float64(),
    "cpu_cores": pl.Float64(),  # of the bridge's process
    "host_cpu_cores": pl.Float64(),
    "softirq_cores": pl.Float64(),
    "steal_ratio": pl.Float64(),  # of all cores
    "throttled_ratio": pl.Float64(),  # of the bridge's cgroup periods
    "cores": pl.Float64(),  # that the bridge may use
    "busy_ratio": pl.Float64(),  # of those cores: all but idle, softirq and steal in it; null under a quota
    "jvb_cpu_ratio": pl.Float64(),  # as its own cpu-usage measurement sees it; null: the generator is on the host
    "jvb_scope": pl.String(),  # of which that is a share: host | cpuset | quota
    "jvb_scope_cores": pl.Float64(),
    "rx_thread_ratio": pl.Float64(),  # of one core
    "gc_ratio": pl.Float64(),  # share of time in collections
    "tenants_cpu_ratio": pl.Float64(),  # other processes, of the cores that the bridge may use
    "cpu_mhz": pl.Float64(),  # mean clock of those cores; null where the kernel does not tell
    "loss_ratio": pl.Float64(),  # end to end
    "socket_drops": pl.Int64(),  # packets, in the measured window
    "backlog_drops": pl.Int64(),
    "interface_drops": pl.Int64(),
    "queue_drops": pl.Int64(),  # the bridge's own queues
    "udp_rcvbuf_errors": pl.Int64(),  # of the bridge's network namespace
    "udp_mem_errors": pl.Int64(),
    "udp_sndbuf_errors": pl.Int64(),
    "squeezes": pl.Int64(),  # softnet: NAPI polls that ran out of budget with work left
    "delay_p50_ms": pl.Float64(),
    "delay_p95_ms": pl.Float64(),
    "delay_p99_ms": pl.Float64(),
    "delay_p999_ms": pl.Float64(),
    "delayed_50ms_ratio": pl.Float64(),
    "agent_cpu_ratio": pl.Float64(),  # of one core: what jvbtune itself costs the host
    "generator_cpu_ratio": pl.Float64(),  # of one core
    "lateness_p99_ms": pl.Float64(),
    "generator_limited": pl.Boolean(),
    "socket_rcvbuf_bytes": pl.Int64(),  # sock_diag's, of the socket that receives
    "started_unix": pl.Float64(),
    "valid": pl.Boolean(),
    "invalid_because": pl.List(pl.String()),
}


def trials_frame(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows (any subset of the columns; others are dropped) as the frame that ``fit`` reads."""
    clean = [{name: _clean(row.get(name)) for name in TRIAL_SCHEMA} for row in rows]
    return pl.DataFrame(clean, schema=TRIAL_SCHEMA, strict=False)


def _clean(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    return value


def flatten(sample: Mapping[str, Any]) -> dict[str, float | int | str | bool | None]:
    """A nested sample as flat columns: ``bridge.cpu_user_s``, ``cores.0.user_s``, ``sockets.10000.drops``.

    Elements of a list are named by their own key (``cpu``, else ``port`` with the inode where ports repeat, else their
    place).
    """
    flat: dict[str, float | int | str | bool | None] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), inner)
        elif isinstance(value, list | tuple):
            names = _names(value)
            for name, inner in zip(names, value, strict=True):
                walk(f"{prefix}.{name}", inner)
        else:
            flat[prefix] = value

    walk("", sample)
    return flat


def _names(items: list[Any] | tuple[Any, ...]) -> list[str]:
    for key in ("cpu", "inode", "port", "name"):
        names = [str(item[key]) for item in items if isinstance(item, Mapping) and key in item]
        if len(names) == len(items) and len(set(names)) == len(names):
            return names
    return [str(index) for index in range(len(items))]


def samples_frame(samples: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Samples as one flat frame, a row each, in order of arrival; columns that a sample lacks are null."""
    rows = [flatten(sample) for sample in samples]
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    data = {name: [row.get(name) for row in rows] for name in columns}
    return pl.DataFrame(data, strict=False)
