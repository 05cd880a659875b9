"""An observer of a sweep or a search that reports what the controller's table shows: phase, rate, CPU, time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from jvbtune.fleet.nursery import Tell
from jvbtune.sweep.pace import Pace


class Phases:
    """``budget_seconds``: of a search, which has no plan of trials."""

    def __init__(self, tell: Tell, budget_seconds: float | None = None) -> None:
        self._tell = tell
        self._budget_seconds = budget_seconds
        self._begun: float | None = None
        self._pace: Pace | None = None

    def __call__(self, event: str, data: Mapping[str, Any]) -> None:
        handler = getattr(self, f"_on_{event}", None)
        if handler is not None:
            handler(data)

    def _phase(self, phase: str, **more: Any) -> None:
        self._tell("phase", phase=phase, left_seconds=self._left_seconds(), **more)

    def _left_seconds(self) -> float | None:
        if self._pace is not None:
            return self._pace.left_seconds()
        if self._budget_seconds is None or self._begun is None:
            return self._budget_seconds
        return max(0.0, self._budget_seconds - (time.monotonic() - self._begun))

    def _on_run_started(self, data: Mapping[str, Any]) -> None:
        self._tell("run", run=data["run"])
        self._phase("connecting")

    def _on_connected(self, data: Mapping[str, Any]) -> None:
        self._phase("looking")

    def _on_baseline(self, data: Mapping[str, Any]) -> None:
        self._begun = time.monotonic()
        self._phase("drained")

    def _on_planned(self, data: Mapping[str, Any]) -> None:
        self._pace = Pace(data["seconds"])

    def _on_step_started(self, data: Mapping[str, Any]) -> None:
        self._phase(f"block {int(data['block']) + 1}: applying")

    def _on_step_verified(self, data: Mapping[str, Any]) -> None:
        self._phase("warming up")

    def _on_trial_started(self, data: Mapping[str, Any]) -> None:
        self._phase("measuring", rate_pps=float(data["intended_pps"]))

    def _on_trial_finished(self, row: Mapping[str, Any]) -> None:
        if self._pace is not None:
            self._pace.done(str(row["trial"]))
        rate = row.get("bridge_pps") or row.get("offered_pps")
        cores, used = row.get("cores"), row.get("cpu_cores")
        ratio = float(used) / float(cores) if used is not None and cores else None
        self._phase("measuring", rate_pps=rate, cpu_ratio=ratio)
        if not row["valid"]:
            self._tell("said", text=f"trial {row['trial']} is not used: {'; '.join(row['invalid_because'])}")

    def _on_stopped(self, data: Mapping[str, Any]) -> None:
        self._tell("said", text=f"stopped before block {int(data['block']) + 1}: {data['because']}")

    def _on_reverted(self, data: Mapping[str, Any]) -> None:
        for name, values in data["report"].get("foreign", {}).items():
            text = f"{name} is {values['found']}: somebody else changed it, and jvbtune left it"
            self._tell("said", text=text)
        self._phase("put back")
