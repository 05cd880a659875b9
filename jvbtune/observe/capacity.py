"""What was measured of a host: its own latest run, else the runs of its machine type; or what the operator gives.

Nothing is guessed: without a run there is no max packet rate and no capacity used.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jvbtune.errors import JvbtuneError
from jvbtune.export.pool import pool
from jvbtune.export.terraform import MACHINE_TYPE
from jvbtune.result import result_of
from jvbtune.result.model import RunResult, Source
from jvbtune.store import Damaged, Run, list_runs, newest_of_hosts

#: Below this share of the threshold, stress says too little: it is rounded, and refreshed at another moment.
LEAST_LOAD = 0.05
#: Stress and packet rate are refreshed at different moments: a median of so many samples is compared, so loosely.
SAMPLES, TOLERANCE = 6, 1.33


@dataclass(frozen=True)
class Capacity:
    """``source``: where it comes from, in words. ``load_threshold_pps``: what the run recommends."""

    max_packet_rate_pps: float
    source: str
    low_pps: float | None = None
    high_pps: float | None = None
    load_threshold_pps: int | None = None

    def values(self) -> dict[str, float | str]:
        numbers = {
            "max_packet_rate": self.max_packet_rate_pps,
            "max_packet_rate_low": self.low_pps,
            "max_packet_rate_high": self.high_pps,
            "load_threshold": self.load_threshold_pps,
        }
        known: dict[str, float | str] = {name: float(value) for name, value in numbers.items() if value is not None}
        return known | {"max_packet_rate_source": self.source}


class Capacities:
    """Of hosts, from a directory of runs that is looked at again from time to time. ``given``: host -> pps."""

    def __init__(self, runs: Path | None, given: Mapping[str, float], say: Callable[[str], None]) -> None:
        self._runs, self._given, self._say = runs, given, say
        self._known: dict[str, tuple[tuple[str, ...], Capacity | None]] = {}
        self._said: set[str] = set()

    def look(self, hosts: Mapping[str, Mapping[str, str]]) -> dict[str, Capacity]:
        """{host: capacity} of those that have one. ``hosts``: their labels."""
        damaged: list[Damaged] = []
        runs = list_runs(self._runs, damaged)
        found = {}
        for host, labels in hosts.items():
            capacity = self._of(host, labels, runs, damaged)
            if capacity is not None:
                found[host] = capacity
        for error in damaged:
            self._say_once(f"Passed over: {error}")
        return found

    def _of(self, host: str, labels: Mapping[str, str], runs: Sequence[Run], damaged: list[Damaged]) -> Capacity | None:
        if host in self._given:
            return Capacity(self._given[host], "option --capacity")
        chosen = newest_of_hosts((run for run in runs if run.host == host), damaged)[:1]
        kind = labels.get(MACHINE_TYPE)
        if not chosen and kind:
            chosen = newest_of_hosts((run for run in runs if run.labels.get(MACHINE_TYPE) == kind), damaged)
        ids = tuple(run.id for run in chosen)
        if self._known.get(host, (None, None))[0] != ids:
            self._known[host] = ids, self._pooled(host, chosen)
        return self._known[host][1]

    def _pooled(self, host: str, runs: Sequence[Run]) -> Capacity | None:
        try:
            usable = [result for result in map(result_of, runs) if _usable(result)]
            return of_results(host, usable) if usable else None
        except JvbtuneError as error:
            self._say_once(f"{host}: its max packet rate is not known: {error.message}")
            return None

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)


def of_results(host: str, results: Sequence[RunResult]) -> Capacity:
    """From the results of this host, or of hosts of its machine type. Raises UsageError, NoRecommendation."""
    result = pool(results)
    figures = result.recommendation
    assert figures is not None
    own = len(results) == 1 and results[0].host == host
    where = f"run {result.id}" if own else f"machine type {results[0].labels.get(MACHINE_TYPE)}: {result.id}"
    low, high = figures.interval_pps
    threshold = None if result.thresholds is None else int(result.thresholds.load_threshold_pps)
    return Capacity(figures.max_packet_rate_pps, where, low, high, threshold)


def _usable(result: RunResult) -> bool:
    return result.recommendation is not None and result.source != Source.SIMULATED


@dataclass
class ThresholdWatch:
    """Whether a bridge's stress follows the recommended threshold, or a lower one: by its configuration, and by what it
    reports.

    The configuration says what holds at the bridge's next start. Under load, stress = packet rate / threshold shows
    what holds now.
    """

    measurement: str | None = None
    configured_pps: float | None = None
    _shares: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def see(self, stress: float | None, packet_rate_pps: float | None, recommended_pps: float | None) -> None:
        """One sample: both as the bridge reports them."""
        if stress is None or not packet_rate_pps or not recommended_pps:
            return
        if packet_rate_pps >= LEAST_LOAD * recommended_pps:
            self._shares.append(stress / packet_rate_pps)

    def in_force(self, recommended_pps: float | None) -> bool | None:
        """None: not known. A lower threshold than the recommended one is in force too: it is that of a weaker host of
        the same type, and safe."""
        if recommended_pps is None:
            return None
        if self.measurement not in (None, "packet-rate"):
            return False
        if self.configured_pps is not None and int(self.configured_pps) > int(recommended_pps):
            return False
        if len(self._shares) == SAMPLES:
            threshold = recommended_pps if self.configured_pps is None else self.configured_pps
            return 1 / TOLERANCE <= threshold * statistics.median(self._shares) <= TOLERANCE
        if self.measurement is None or self.configured_pps is None:
            return None
        return True
