"""Rows of trials, made uniform: whoever measured them, with whatever columns.

What comes out has every column that ``fit`` reads, of one type, null where it was not measured, and the derived ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from jvbtune.trials.columns import COLUMNS, CONSEQUENCES, COUNTS, TEXT, TRIAL_SCHEMA
from jvbtune.trials.judge import with_drifting_blocks

_NUMBERS = tuple(column.name for column in COLUMNS if column.numeric and column.name != "block")
_TEXTS = {column.name: column.default for column in COLUMNS if column.type == TEXT}


def trials_frame(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows (any subset of the columns; others are dropped) as one frame with all columns, of ``TRIAL_SCHEMA``."""
    clean = [{name: _clean(row.get(name)) for name in TRIAL_SCHEMA} for row in rows]
    return pl.DataFrame(clean, schema=TRIAL_SCHEMA, strict=False)


def _clean(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    return value


@dataclass(frozen=True)
class Prepared:
    """``frame``: the columns of a trial, numbers as floats, ``block`` as text, and ``cpu_ratio``."""

    frame: pl.DataFrame
    missing: tuple[str, ...]  #: columns with a consequence that are absent or wholly null


def prepare(trials: pl.DataFrame) -> Prepared:
    """Uniform rows, with ``bridge_pps`` (in + out + relay) and ``offered_pps`` derived where absent, and ``cpu_ratio``.

    ``cpu_ratio`` is what the CPU limit is held against: how busy the bridge's cores were where that was measured (the
    softirqs of its packets are in it, and in no process's account), else the bridge's process alone. The JVM's
    compilers are not in it, nor in ``net_cpu_cores``: what they use after a start is gone when the code is compiled.

    What only the whole run tells is judged here: a block whose baseline drifted is invalid.
    """
    present = {name for name in trials.columns if trials[name].null_count() < trials.height}
    missing = tuple(name for name in CONSEQUENCES if name not in present)
    columns: list[pl.Expr] = []
    for name in _NUMBERS:
        column = pl.col(name).cast(pl.Float64, strict=False) if name in present else pl.lit(None, pl.Float64)
        columns.append(pl.when(column.is_finite()).then(column).alias(name))
    for name, default in _TEXTS.items():
        column = pl.col(name).cast(pl.String) if name in present else pl.lit(None, pl.String)
        columns.append(column.fill_null(default).alias(name))
    block = pl.col("block").cast(pl.String) if "block" in present else pl.lit(None, pl.String)
    columns.append(block.fill_null("").alias("block"))
    valid = pl.col("valid").cast(pl.Boolean, strict=False) if "valid" in present else pl.lit(True)
    columns.append(valid.fill_null(True).alias("valid"))
    for name in ("invalid_because", "invalid_codes"):
        reasons = pl.col(name) if name in present else pl.lit([], pl.List(pl.String))
        columns.append(reasons.alias(name))
    delays = pl.col("delay_counts") if "delay_counts" in present else pl.lit(None, COUNTS)
    columns.append(delays.alias("delay_counts"))
    frame = trials.select(columns) if trials.height else _empty(columns)
    total = pl.col("in_pps") + pl.col("out_pps") + pl.col("relay_pps").fill_null(0.0)
    frame = frame.with_columns(bridge_pps=pl.coalesce("bridge_pps", total))
    # of one host they are the same, so a file may say them once
    frame = frame.with_columns(cores=pl.col("cores").fill_null(pl.col("cores").median().over("host")))
    compiler = pl.col("compiler_cores").fill_null(0.0)
    frame = frame.with_columns(net_cpu_cores=(pl.col("cpu_cores") - compiler).clip(lower_bound=0.0))
    frame = frame.with_columns(
        cpu_ratio=pl.max_horizontal(
            pl.when(pl.col("cores") > 0).then(pl.col("net_cpu_cores") / pl.col("cores")),
            pl.col("busy_ratio") - (compiler / pl.col("cores")).fill_null(0.0),
        ),
        offered_pps=pl.coalesce(
            "offered_pps", pl.col("bridge_pps") / (1 - pl.col("loss_ratio").clip(0.0, 0.99)), "bridge_pps"
        ),
    )
    return Prepared(with_drifting_blocks(frame), missing)


def cpu_ratio_of(row: Mapping[str, Any]) -> float | None:
    """``prepare``'s ``cpu_ratio`` of a single row, as a search sees it; None where no CPU was measured."""
    cores, used, busy = row.get("cores"), row.get("cpu_cores"), row.get("busy_ratio")
    compiler = float(row.get("compiler_cores") or 0.0)
    own = (float(used) - compiler) / float(cores) if cores and used is not None else None
    whole = float(busy) - (compiler / float(cores) if cores else 0.0) if busy is not None else None
    return max((share for share in (own, whole) if share is not None), default=None)


def main_shape(rows: pl.DataFrame) -> str:
    """The shape of conference of most trials: the one that the figures are for; the rest are there to tell costs."""
    counts = rows.group_by("mix").len().sort(["len", "mix"], descending=[True, False])
    return str(counts["mix"][0]) if counts.height else ""


def of_main_shape(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("mix") == main_shape(rows))


def _empty(columns: list[pl.Expr]) -> pl.DataFrame:
    return pl.DataFrame({"_": [None]}).select(columns).clear()
