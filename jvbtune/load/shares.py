"""What each of several machines did in a window, for the raw data and for the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jvbtune.load.windows import merge_windows
from jvbtune.load.workers import Worker
from jvbtune.protocol.worker import Window


@dataclass(frozen=True)
class Share:
    """What the workers of one machine did in a window, and its clock against this machine's."""

    host: str
    workers: int
    sent_packets: int
    expected_packets: int
    received_packets: int
    offered_pps: float
    cpu_ratio: float
    lateness_p99_ms: float
    clock_offset_ms: float
    clock_uncertainty_ms: float


def shares_of(workers: Sequence[Worker], windows: Sequence[Window]) -> list[Share]:
    """What each machine did, for the raw data and for the user."""
    shares = []
    for name in dict.fromkeys(worker.place or "" for worker in workers):
        there = [worker for worker in workers if worker.place == name]
        mine = [window for worker, window in zip(workers, windows, strict=True) if worker.place == name]
        seen, clock = merge_windows(mine), there[0].clock
        shares.append(
            Share(
                host=name,
                workers=len(mine),
                sent_packets=seen.sent_packets,
                expected_packets=seen.expected_packets,
                received_packets=seen.received_packets,
                offered_pps=seen.offered_pps,
                cpu_ratio=seen.cpu_ratio,
                lateness_p99_ms=seen.lateness_p99_ms,
                clock_offset_ms=clock.unix * 1000,
                clock_uncertainty_ms=clock.uncertainty * 1000,
            )
        )
    return shares
