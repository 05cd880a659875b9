"""What several workers saw of one window, as one: counts add up, quantiles are of all sampled packets together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from jvbtune.errors import LoadError
from jvbtune.protocol.worker import LATENESS_EDGES_US, KindCounts, Measured, MeetingCounts, Window
from jvbtune.trials.delays import delay_histogram

Counts = TypeVar("Counts", KindCounts, MeetingCounts)

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999, "p9999": 0.9999}
LATE_US = 50_000


@dataclass(frozen=True)
class Windows(Measured):
    """Counts are sums. Of the rest the worst is the generator's. The workers of a machine share one counter of
    ``overflows``."""

    workers: int
    workers_apart_ms: float
    delay_ms: dict[str, float]
    delay_us: dict[str, int]  #: sampled packets by the upper edge of their delay, in µs
    delayed_50ms_ratio: float | None
    sampled_packets: int
    kinds: dict[str, KindCounts]
    meetings: MeetingCounts | None
    lateness_us: dict[str, int]  #: packets by the upper edge of their lateness, in µs
    silent_endpoints: tuple[str, ...]  #: that never got a packet of media

    @property
    def offered_pps(self) -> float:
        """What the bridge would count if nothing were lost. Of meetings, what receivers got beside media as well: RTCP
        and RTX are packets too."""
        rest = sum(self.kinds[kind].expected for kind in ("rtx", "rtcp") if kind in self.kinds)
        rest += self.kinds["video"].duplicated if "video" in self.kinds else 0  # retransmissions without RTX
        return (self.sent_packets + self.expected_packets + rest) / self.duration_seconds


def merge_windows(windows: Sequence[Window], machines: Sequence[str] | None = None) -> Windows:
    """At least one. The window is the time that all of them were in it. ``machines``: of each; None: they share one."""
    overflows: dict[str, int] = {}
    for machine, window in zip(machines or [""] * len(windows), windows, strict=True):
        overflows[machine] = max(window.overflows, overflows.get(machine, 0))
    delays = np.sort(np.concatenate([_each(window) for window in windows]))
    begun = [window.started_unix for window in windows]
    return Windows(
        started_unix=min(begun),
        duration_seconds=sum(window.duration_seconds for window in windows) / len(windows),
        sent_packets=sum(window.sent_packets for window in windows),
        unsent_packets=sum(window.unsent_packets for window in windows),
        expected_packets=sum(window.expected_packets for window in windows),
        received_packets=sum(window.received_packets for window in windows),
        reordered_packets=sum(window.reordered_packets for window in windows),
        overflows=sum(overflows.values()),
        drain_seconds=max(window.drain_seconds for window in windows),
        lateness_p99_ms=max(window.lateness_p99_ms for window in windows),
        lateness_max_ms=max(window.lateness_max_ms for window in windows),
        cpu_ratio=max(window.cpu_ratio for window in windows),
        workers=len(windows),
        workers_apart_ms=(max(begun) - min(begun)) * 1000,
        delay_ms=_delays(delays),
        delay_us=delay_histogram(delays),
        delayed_50ms_ratio=float((delays > LATE_US).mean()) if len(delays) else None,
        sampled_packets=len(delays),
        kinds=_kinds(windows),
        meetings=_meetings(windows),
        lateness_us=_lateness(windows),
        silent_endpoints=tuple(name for window in windows for name in window.silent_endpoints),
    )


def _each(window: Window) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The delay of each sampled packet. Raises LoadError."""
    if len(window.delays_us) != len(window.delay_counts) or min(window.delay_counts, default=0) < 0:
        raise LoadError("a worker's delays do not match the numbers of packets that had them")
    return np.repeat(np.array(window.delays_us, np.float64), np.array(window.delay_counts, np.int64))


def _kinds(windows: Sequence[Window]) -> dict[str, KindCounts]:
    names = dict.fromkeys(name for window in windows for name in window.kinds)
    return {name: _summed(KindCounts, [w.kinds[name] for w in windows if name in w.kinds]) for name in names}


def _meetings(windows: Sequence[Window]) -> MeetingCounts | None:
    found = [window.meetings for window in windows if window.meetings is not None]
    return _summed(MeetingCounts, found) if found else None


def _summed(kind: type[Counts], found: Sequence[Counts]) -> Counts:
    """Field by field; lists are joined."""
    first, *others = [vars(one) for one in found]
    for other in others:
        first = {name: value + other[name] for name, value in first.items()}
    return kind(**first)


def _lateness(windows: Sequence[Window]) -> dict[str, int]:
    names = (*map(str, LATENESS_EDGES_US), "more")
    counts = [sum(column) for column in zip(*(w.lateness_us for w in windows), strict=False)]
    return dict(zip(names, counts, strict=False))


def _delays(ordered: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> dict[str, float]:
    if not len(ordered):
        return {}
    found = {name: float(ordered[min(len(ordered) - 1, int(len(ordered) * q))]) for name, q in QUANTILES.items()}
    return {name: value / 1000 for name, value in {**found, "max": float(ordered[-1])}.items()}
