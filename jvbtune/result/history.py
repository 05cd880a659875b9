"""What the host carried in production, kept with a run."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from jvbtune.fit.history import read_history
from jvbtune.store import Run

#: In the run directory.
HISTORY = "history.csv"


def history_of(run: Run) -> pl.DataFrame | None:
    """The run's history of production; None if nobody gave one."""
    path = run.path / HISTORY
    return read_history(path) if path.exists() else None


def keep_history(run: Run, history: pl.DataFrame) -> Path:
    """Keep a history with the run, in place of an earlier one; under jvbtune's own names, whatever its file had."""
    return run.write_derived(HISTORY, history.drop("bridge_pps").write_csv().encode())
