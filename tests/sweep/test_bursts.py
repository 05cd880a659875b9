"""The row of a burst trial: each burst of the window is one, and its drops are what the watch of the queue counted."""

from __future__ import annotations

from typing import Any

from jvbtune.load.base import IntendedLoad, Mix
from jvbtune.protocol.samples import Burst, QueueSeen
from jvbtune.sweep.plan import Step, Trial
from jvbtune.sweep.trial import Context, measure
from jvbtune.trials.frame import trials_frame
from tests.load.offers import went_well

START, SECONDS, OFFSET = 1000.0, 4.0, 30.0  # the host's clock is 30 s ahead


def _row(queue_seen: QueueSeen | None) -> dict[str, Any]:
    context = Context("r", "h", 1.0, None, clock_offset_seconds=OFFSET, clock_uncertainty_seconds=0.0)
    trial = Trial("t", "burst", IntendedLoad(8, Mix(10, 6, burst_packets=64)), SECONDS, 0)
    offered = went_well(
        trial.load,
        SECONDS,
        intended_pps=24_000.0,
        offered_pps=24_000.0,
        sent_packets=9600,
        expected_packets=86_400,
        received_packets=86_400,
        endpoints=80,
        started_unix=START,
    )
    step = Step(0, "baseline", {}, True, (trial,))
    return measure(context, step, trial, 0, offered, [], [], queue_seen).row


def _burst(after: float, peak_bytes: int, drops: int = 0) -> Burst:
    return Burst(START + OFFSET + after, peak_bytes, drops)


def test_only_the_bursts_of_the_window_count_and_a_packet_of_ice_is_none() -> None:
    seen = QueueSeen(
        bursts=[
            _burst(-2.0, 5_000_000, 9),  # of the settling
            _burst(-0.05, 2_000_000),  # the first of the window: the clocks do not agree to the millisecond
            _burst(1.0, 832),
            _burst(1.3, 2_400_000, 7),
            _burst(2.6, 1_900_000),
            _burst(3.0, 900, 3),  # small, but packets were lost
            _burst(4.5, 2_000_000, 1),  # what drains after it
        ]
    )
    row = _row(seen)
    assert row["burst_peaks_bytes"] == [2_000_000, 2_400_000, 1_900_000, 900]
    assert row["burst_drops"] == [0, 7, 0, 3]
    assert (row["bursts"], row["bursts_dropping"], row["socket_drops"]) == (4, 2, 10)
    assert row["socket_peak_bytes"] == 2_400_000
    frame = trials_frame([row])
    assert frame["burst_drops"].to_list() == [[0, 7, 0, 3]]


def test_a_trial_whose_queue_nobody_watched_has_no_bursts() -> None:
    row = _row(None)
    assert "burst_drops" not in row
    assert trials_frame([row])["burst_peaks_bytes"].to_list() == [None]
