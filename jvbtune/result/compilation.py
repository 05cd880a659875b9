"""What compilation cost after the restarts of a run: read from the journal's events ``warmed_up``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from jvbtune.result.model import Compilation
from jvbtune.store import Run
from jvbtune.sweep.warmup import Ended


def compilation_of(run: Run) -> Compilation | None:
    """None where no restart tells: runs of before compilers were sampled, CSV, a JVM whose threads are not known.

    A warm-up of the bridge as it was found (before a probe) has no step, and tells nothing of a start.
    """
    warm_ups = [event for event in run.events("warmed_up") if event.get("step") and event.get("ended")]
    known = [event for event in warm_ups if event["ended"] != Ended.UNKNOWN.value]
    if not known:
        return None
    seconds = [float(event["seconds"]) for event in known]
    return Compilation(
        restarts=len(known),
        still_compiling=sum(event["ended"] == Ended.LONGEST.value for event in known),
        warm_after_seconds=median(seconds),
        longest_seconds=max(seconds),
        compiler_core_seconds=_median(known, "compiler_core_seconds"),
        bridge_core_seconds=_median(known, "bridge_core_seconds"),
    )


def _median(events: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [float(event[name]) for event in events if event.get(name) is not None]
    return median(values) if values else None
