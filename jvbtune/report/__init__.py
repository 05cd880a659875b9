"""The HTML report of a run: one file, offline, derived from the run directory alone."""

from __future__ import annotations

from pathlib import Path

from jvbtune.store import Run


def write_report(run: Run) -> Path:
    """Write ``report.html`` into the run directory; its path."""
    from jvbtune.report.html import render

    return run.write_derived("report.html", render(run).encode())
