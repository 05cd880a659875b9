"""Profiled trials: the same loads with a profiler on, apart from the measured ones, and never used in fits.

The load is brought up as for any trial; it keeps being sent while the capture takes its slices, each behind a window
without the profiler, so that what profiling costs is measured in the same minutes. A capture that cannot be taken is
told and costs the sweep nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jvbtune.capture import Place, Request, capture
from jvbtune.errors import CaptureError, GeneratorLostError
from jvbtune.protocol.agent import BridgeQuery
from jvbtune.sweep.experiment import ProfileSection
from jvbtune.sweep.plan import Step, Trial
from jvbtune.sweep.session import Session
from jvbtune.trials.judge import Invalid, Why, fields_of

#: Of the load before the profiler: enough to tell that it is really offered.
CHECK_SECONDS = 2.0
#: And behind it, to tell that it still is.
LAST_SECONDS = 0.2


def hold_profiled(sweep: Session, step: Step, trial: Trial, order: int, bridge: BridgeQuery) -> dict[str, Any]:
    """Hold the load, profile it, store both; the trial's row. Its figures are those of the profiled slices."""
    section = sweep.experiment.profile
    assert section is not None
    settle = sweep.experiment.durations.settle_seconds
    offered = sweep.again_if_lost(lambda _: sweep.generator.offer(trial.load, CHECK_SECONDS, settle_seconds=settle))
    row: dict[str, Any] = {
        "run_id": sweep.writer.run.id,
        "host": sweep.entry.name,
        "block": step.block,
        "step": step.name,
        "settings": dict(step.values),
        "trial": trial.id,
        "kind": trial.kind,
        "order": order,
        "cores": sweep.cores,
        "conferences": trial.load.conferences,
        "mix": str(trial.load.mix),
        "endpoints": offered.endpoints,
        "intended_pps": offered.intended_pps,
        "offered_pps": offered.offered_pps,
        **fields_of([]),
    }
    sweep.poller.pause()  # its questions to the bridge are no part of the profile
    try:
        paths = capture(
            sweep.agent,
            request(section, Place(sweep.writer.run.id, step.name, dict(step.values), offered.intended_pps, trial.id)),
            sweep.writer.run.path / "captures",
            host=sweep.entry.name,
            bridge=bridge,
            observe=sweep.observe,
        )
        sweep.generator.offer(trial.load, LAST_SECONDS, settle_seconds=0.0)  # raises if it was lost meanwhile
    except CaptureError as error:
        row.update(fields_of([Invalid(Why.NOT_PROFILED, f"not profiled: {error}")]))
        sweep.record("capture_failed", trial=trial.id, message=error.message, hint=error.hint)
    except GeneratorLostError as lost:
        row.update(fields_of([Invalid(Why.NOT_PROFILED, f"the load ended during the capture: {lost}")]))
        sweep.record("capture_failed", trial=trial.id, message=lost.message, hint=lost.hint)
        sweep.generator.renew(lost)
    else:
        document = json.loads((paths[0] / "capture.json").read_text())
        row.update(_figures(document))
        sweep.record("captured", trial=trial.id, captures=[path.name for path in paths], cost=document["cost"])
    finally:
        sweep.poller.resume()
    sweep.writer.finish_trial(row, samples=(), offered=vars(offered), bridge=())
    return row


def request(section: ProfileSection, place: Place) -> Request:
    """The experiment's section as a capture's request."""
    return Request(
        engine=section.engine,
        events=(section.event,),
        interval_ns=round(section.interval_ms * 1e6),
        slices=section.slices,
        slice_seconds=section.slice_seconds,
        measure_cost=section.cost,
        place=place,
    )


def _figures(document: Mapping[str, Any]) -> dict[str, Any]:
    slices = document["slices"]
    seconds = sum(one["seconds"] for one in slices)
    figures = {
        "duration_s": seconds,
        "started_unix": slices[0]["started_unix"],
        "cpu_cores": sum(one["cpu_seconds"] for one in slices) / seconds,
    }
    if all(one["packets"] is not None for one in slices):
        for name, key in (("in_pps", "in_packets"), ("out_pps", "out_packets"), ("bridge_pps", "packets")):
            figures[name] = sum(one[key] for one in slices) / seconds
    return figures
