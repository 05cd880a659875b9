"""Work on light hosts: everything of it is real but the load, which a host without media cannot take.

``Sweep`` is ``jvbtune.fleet.measuring.Sweep`` with a generator that only waits. Its trials are not used by any fit, so
that a finished run has no recommendation.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from jvbtune.errors import JvbtuneError
from jvbtune.fleet import measuring
from jvbtune.fleet.nursery import Message, Tell
from jvbtune.interrupts import pause
from jvbtune.load.base import IntendedLoad, Offered
from tests.load.offers import went_well


class Waits:
    """A generator of nothing, for as long as it is asked for."""

    prefix, worker_pid, endpoints = "jvbtune-standin", None, 0

    def __init__(self) -> None:
        self._aborted: JvbtuneError | None = None

    def offer(self, load: IntendedLoad, duration_seconds: float, **_: Any) -> Offered:
        started = time.time()
        until = time.monotonic() + duration_seconds
        while time.monotonic() < until:
            if self._aborted is not None:
                raise self._aborted
            pause(0.1)
        nothing = {"sent_packets": 0, "expected_packets": 0, "received_packets": 0, "endpoints": 0}
        idle = {"lateness_p99_ms": 0.0, "cpu_ratio": 0.0}
        return went_well(load, duration_seconds, started_unix=started, **nothing, **idle)

    def stop(self) -> None: ...
    def keep_alive(self, seconds: float) -> None: ...
    def close(self) -> None: ...

    def abort(self, error: JvbtuneError) -> None:
        self._aborted = self._aborted or error


@dataclass(frozen=True)
class Sweep:
    entry: Any
    experiment: Any
    options: Any

    def __call__(self, tell: Tell) -> Message:
        import jvbtune.sweep.session as session

        session.open_generator = lambda *_, **__: Waits()  # type: ignore[assignment]
        return measuring.Sweep(self.entry, self.experiment, self.options)(tell)
