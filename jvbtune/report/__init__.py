"""The HTML report of a run: one file, offline, derived from the run directory alone."""

from __future__ import annotations

from pathlib import Path

from jvbtune.result.model import RunResult
from jvbtune.store import Run


def write_report(run: Run, result: RunResult | None = None) -> Path:
    """Write ``report.html`` into the run directory; its path. ``result``: the run's, if it is at hand."""
    from jvbtune.report.html import render
    from jvbtune.result import result_of

    return run.write_derived("report.html", render(run, result or result_of(run)).encode())
