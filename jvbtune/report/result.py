"""What a run found, derived from its directory alone: the one answer that show, report and export all tell.

It may be made again at any time, of any old run, by a newer jvbtune.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from jvbtune.errors import StoreError
from jvbtune.fit import Limits, Recommendation, compare_settings, recommend
from jvbtune.fit.buffers import OPUS_TRUESIZE_BYTES, BufferAdvice, buffer_advice, queued_seconds
from jvbtune.fit.history import read_history
from jvbtune.fit.thresholds import Thresholds, thresholds
from jvbtune.fit.validity import with_drifting_blocks
from jvbtune.store import Run
from jvbtune.sweep.stopping import verdict_level

SCHEMA_VERSION = 1
#: The columns of a trial that ``show --json`` lists, as ``trials[]``.
TRIAL_FIELDS = (
    "trial",
    "block",
    "step",
    "kind",
    "intended_pps",
    "offered_pps",
    "bridge_pps",
    "in_pps",
    "out_pps",
    "loss_ratio",
    "socket_drops",
    "backlog_drops",
    "queue_drops",
    "delay_p99_ms",
    "bridge_cpu_cores",
    "rx_thread_ratio",
    "socket_rcvbuf_bytes",
    "valid",
    "invalid_because",
)


def limits_of(run: Run) -> Limits:
    """The limits that the run's experiment states."""
    return Limits(**(run.manifest["experiment"].get("limits") or {}))


#: What the host carried in production, where somebody gave it to ``jvbtune fit --history``.
HISTORY = "history.csv"


def history_of(run: Run) -> pl.DataFrame | None:
    """The run's history of production; None where none was given."""
    path = run.path / HISTORY
    return read_history(path) if path.exists() else None


def keep_history(run: Run, file: Path) -> Path:
    """Keep a history with the run, in place of an earlier one. Raises as ``read_history`` where it is none."""
    read_history(file)
    return run.write_derived(HISTORY, file.read_bytes())


def fit_run(run: Run, limits: Limits | None = None, *, force: bool = False) -> list[Recommendation]:
    """``recommend`` of a run's trials, with its own seed, its history, and its limits unless there are others."""
    seed = int(run.manifest.get("seed") or 0)
    return recommend(run.trials(), limits or limits_of(run), seed=seed, force=force, history=history_of(run))


def result_of(run: Run) -> dict[str, Any]:
    """Recommendation, verdicts and trials of a run, as ``jvbtune show --json`` prints them."""
    trials = with_drifting_blocks(run.trials())
    seed = int(run.manifest.get("seed") or 0)
    status = run.status()
    reasons: list[str] = []
    figures: dict[str, Any] | None = None
    settings: list[dict[str, Any]] = []
    told: Thresholds | None = None
    advice: BufferAdvice | None = None
    if trials.height == 0:
        reasons.append("no trial was finished")
    else:
        of_host = fit_run(run)
        figures, reasons = of_host[0].figures(), list(of_host[0].reasons)
        told = thresholds(of_host[0])
        advice = _buffer(run, of_host[0], trials)
        settings = [
            verdict.to_json()
            for verdict in compare_settings(trials, limits_of(run), seed=seed, level=verdict_level(run))
        ]
    if status not in ("done", "running"):
        ended = run.events("run_finished")
        why = f": {ended[-1]['message']}" if ended and ended[-1].get("message") else ""
        reasons.insert(0, f"the run is {status}{why}")
    rows = []
    for row in trials.iter_rows(named=True):
        rows.append({name: row["cpu_cores" if name == "bridge_cpu_cores" else name] for name in TRIAL_FIELDS})
    return {
        "schema_version": SCHEMA_VERSION,
        "id": run.id,
        "host": run.host,
        "experiment": run.experiment_name,
        "status": status,
        "created_unix": run.manifest["created_unix"],
        "path": str(run.path),
        "recommendation": figures,
        "thresholds": None if told is None else told.to_json(),
        "receive_buffer": None if advice is None else {**advice.to_json(), "sentence": advice.sentence()},
        "reasons": reasons,
        "settings": settings,
        "trials": rows,
        "provenance": provenance_in_short(run),
    }


def _buffer(run: Run, found: Recommendation, trials: pl.DataFrame) -> BufferAdvice | None:
    """From the delays of the trials and from the socket's queue in every sample of them."""
    if found.export_pps is None:
        return None
    sizes = run.provenance("before").get("udp_truesize_bytes") or {}
    load = run.manifest["experiment"].get("load") or {}
    payload = int((load.get("mix") or {}).get("payload_bytes") or 80)
    charged = float(next(iter(sizes.values()), OPUS_TRUESIZE_BYTES))
    queued: list[float] = []
    steady = trials.filter(pl.col("valid") & (pl.col("kind") == "steady") & (pl.col("bridge_pps") <= found.export_pps))
    for trial, in_pps in steady.select("trial", "in_pps").drop_nulls().iter_rows():
        try:
            queued += queued_seconds(run.samples(trial), in_pps, charged)
        except StoreError:
            continue
    return buffer_advice(found, trials, queued_seconds=queued, truesizes=sizes, payload_bytes=payload)


def provenance_in_short(run: Run) -> dict[str, Any]:
    """What the figures hold for: kernel, machine, bridge, JVM."""
    before = run.provenance("before")
    bridge = before.get("bridge") or {}
    return {
        "jvbtune_version": run.manifest.get("jvbtune_version"),
        "kernel": before.get("kernel"),
        "os": (before.get("os") or {}).get("PRETTY_NAME"),
        "cpu": (before.get("cpu") or {}).get("model"),
        "cores": bridge.get("cores"),
        "jvb_version": before.get("jvb_version"),
        "java": (bridge.get("java") or {}).get("version"),
    }


def derive(run: Run) -> dict[str, Any]:
    """``result_of``, stored beside the raw data as recommendation.json and trials.parquet."""
    result = result_of(run)
    run.write_derived("recommendation.json", result)
    run.trials().write_parquet(run.path / "trials.parquet")
    return result
