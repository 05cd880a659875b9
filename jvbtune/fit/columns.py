"""Rows of trials, made uniform: whoever measured them, with whatever columns.

What comes out has every column that ``fit`` reads, of one type, null where it was not measured, and the derived ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from jvbtune.fit.validity import with_drifting_blocks

NUMBERS = (
    "intended_pps",
    "offered_pps",
    "in_pps",
    "out_pps",
    "relay_pps",
    "bridge_pps",
    "endpoints",
    "duration_s",
    "cpu_cores",
    "host_cpu_cores",
    "steal_ratio",
    "cores",
    "busy_ratio",
    "jvb_cpu_ratio",
    "jvb_scope_cores",
    "rx_thread_ratio",
    "gc_ratio",
    "loss_ratio",
    "socket_drops",
    "queue_drops",
    "delay_p99_ms",
)
TEXTS = ("host", "step", "kind", "settings", "jvb_scope", "mix")

#: What follows when a column was not measured. Only those that change what can be said.
CONSEQUENCES = {
    "host": "all rows are taken as one host's",
    "block": "restarts cannot be told apart",
    "step": "all rows are taken as of one combination of settings",
    "in_pps": "in and out cannot be told apart",
    "out_pps": "in and out cannot be told apart",
    "relay_pps": "relayed packets are taken as none",
    "cpu_cores": "no CPU limit can be applied",
    "cores": "CPU cannot be set against a share of the cores: no CPU limit can be applied",
    "loss_ratio": "no loss limit can be applied",
    "delay_p99_ms": "no delay limit can be applied",
    "duration_s": "trials that are too short to mean anything cannot be told",
}


@dataclass(frozen=True)
class Prepared:
    """``frame``: every column of NUMBERS and TEXTS, ``block`` (text), ``valid``, ``invalid_because``, ``cpu_ratio``."""

    frame: pl.DataFrame
    missing: tuple[str, ...]  #: columns of CONSEQUENCES that are absent or wholly null


def prepare(trials: pl.DataFrame) -> Prepared:
    """Uniform rows, with ``bridge_pps`` (in + out + relay) and ``offered_pps`` derived where absent, and ``cpu_ratio``.

    ``cpu_ratio`` is what the CPU limit is held against: how busy the bridge's cores were where that was measured (the
    softirqs of its packets are in it, and in no process's account), else the bridge's process alone.

    What only the whole run tells is judged here: a block whose baseline drifted is invalid.
    """
    present = {name for name in trials.columns if trials[name].null_count() < trials.height}
    missing = tuple(name for name in CONSEQUENCES if name not in present)
    columns: list[pl.Expr] = []
    for name in NUMBERS:
        column = pl.col(name).cast(pl.Float64, strict=False) if name in present else pl.lit(None, pl.Float64)
        columns.append(pl.when(column.is_finite()).then(column).alias(name))
    defaults = {"host": "host", "step": "baseline", "kind": "steady", "settings": "{}", "jvb_scope": "", "mix": ""}
    for name in TEXTS:
        column = pl.col(name).cast(pl.String) if name in present else pl.lit(None, pl.String)
        columns.append(column.fill_null(defaults[name]).alias(name))
    block = pl.col("block").cast(pl.String) if "block" in present else pl.lit(None, pl.String)
    columns.append(block.fill_null("").alias("block"))
    valid = pl.col("valid").cast(pl.Boolean, strict=False) if "valid" in present else pl.lit(True)
    columns.append(valid.fill_null(True).alias("valid"))
    because = pl.col("invalid_because") if "invalid_because" in present else pl.lit([], pl.List(pl.String))
    columns.append(because.alias("invalid_because"))
    frame = trials.select(columns) if trials.height else _empty(columns)
    total = pl.col("in_pps") + pl.col("out_pps") + pl.col("relay_pps").fill_null(0.0)
    frame = frame.with_columns(bridge_pps=pl.coalesce("bridge_pps", total))
    frame = frame.with_columns(
        cpu_ratio=pl.max_horizontal(
            pl.when(pl.col("cores") > 0).then(pl.col("cpu_cores") / pl.col("cores")), "busy_ratio"
        ),
        offered_pps=pl.coalesce(
            "offered_pps", pl.col("bridge_pps") / (1 - pl.col("loss_ratio").clip(0.0, 0.99)), "bridge_pps"
        ),
    )
    return Prepared(with_drifting_blocks(frame), missing)


def cpu_ratio_of(row: Mapping[str, Any]) -> float | None:
    """``prepare``'s ``cpu_ratio`` of a single row, as a search sees it; None where no CPU was measured."""
    cores, used, busy = row.get("cores"), row.get("cpu_cores"), row.get("busy_ratio")
    own = float(used) / float(cores) if cores and used is not None else None
    return max((share for share in (own, busy) if share is not None), default=None)


def main_shape(rows: pl.DataFrame) -> str:
    """The shape of conference of most trials: the one that the figures are for; the rest are there to tell costs."""
    counts = rows.group_by("mix").len().sort(["len", "mix"], descending=[True, False])
    return str(counts["mix"][0]) if counts.height else ""


def of_main_shape(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("mix") == main_shape(rows))


def _empty(columns: list[pl.Expr]) -> pl.DataFrame:
    return pl.DataFrame({"_": [None]}).select(columns).clear()
