"""What a capture is to be: validated before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass

from jvbtune.errors import UsageError

ENGINES = ("async-profiler", "perf", "jfr")
EVENTS = ("cpu", "ctimer", "wall", "alloc", "lock")
MAX_SECONDS = 3600.0


@dataclass(frozen=True)
class Place:
    """Where in a sweep a capture stands; all None outside of one."""

    run_id: str | None = None
    step: str | None = None
    settings: dict[str, object] | None = None
    intended_pps: float | None = None
    trial: str | None = None


@dataclass(frozen=True)
class Request:
    """One capture: ``slices`` of ``slice_seconds`` each.

    ``measure_cost`` puts a window of the same length without a profiler before each slice. ``allow_sysctls`` lets
    kernel.perf_event_paranoid and kernel.kptr_restrict be changed for the time, under the guard.
    """

    engine: str = "auto"
    events: tuple[str, ...] = ("cpu",)
    interval_ns: int = 10_000_000
    slices: int = 6
    slice_seconds: float = 10.0
    measure_cost: bool = False
    allow_sysctls: bool = False
    place: Place = Place()

    def __post_init__(self) -> None:
        if self.engine not in ("auto", *ENGINES):
            raise UsageError(f"unknown engine {self.engine!r}", hint=f"One of: auto, {', '.join(ENGINES)}")
        unknown = [event for event in self.events if event not in EVENTS]
        if unknown or not self.events or len(set(self.events)) < len(self.events):
            raise UsageError(f"events {', '.join(self.events) or '(none)'}: each once, of {', '.join(EVENTS)}")
        if {"cpu", "ctimer"} <= set(self.events):
            raise UsageError("cpu and ctimer are the same question asked twice: choose one")
        if not 1 <= self.slices <= 200 or self.slice_seconds < 0.5:
            raise UsageError(f"{self.slices} slices of {self.slice_seconds:g} s: 1 to 200 of at least 0.5 s")
        if self.slices * self.slice_seconds * (2 if self.measure_cost else 1) > MAX_SECONDS:
            raise UsageError(f"a capture is at most {MAX_SECONDS:g} s long")
        if not 1_000_000 <= self.interval_ns <= 1_000_000_000:
            raise UsageError("the interval lies between 1 and 1000 ms: shorter ones slow a live bridge down")
        if self.measure_cost and len(self.events) > 1:
            raise UsageError("the cost of a profiler is measured with one event at a time")

    @property
    def seconds(self) -> float:
        return self.slices * self.slice_seconds
