"""How long a run still takes: by the plan at first, then at the pace of the trials that were done."""

from __future__ import annotations

import time
from collections.abc import Mapping

#: Trials of so many seconds tell how fast a host really goes; before that the estimate stands.
PACE_SECONDS = 30.0


class Pace:
    """Begins when it is made. ``estimates``: seconds of each trial that is still to be done."""

    def __init__(self, estimates: Mapping[str, float]) -> None:
        self._missing = dict(estimates)
        self.planned_seconds = sum(self._missing.values())
        self._begun = self._finished = time.monotonic()

    def __len__(self) -> int:
        """How many trials are missing."""
        return len(self._missing)

    def done(self, trial: str) -> bool:
        """A trial has ended; whether it was one of the plan's."""
        self._finished = time.monotonic()
        return self._missing.pop(trial, None) is not None

    def left_seconds(self) -> float:
        missing = sum(self._missing.values())
        done = self.planned_seconds - missing
        pace = (self._finished - self._begun) / done if done >= PACE_SECONDS else 1.0
        return missing * pace
