"""What captures permit is what their metadata carries; what is missing is named."""

from __future__ import annotations

import pytest

from jvbtune.errors import UsageError
from jvbtune.flame.compare import merge
from jvbtune.flame.model import Meta, Tree
from tests.flame.compare.build import profile

COUNTS = {("main", "work"): 600.0, ("main", "idle"): 400.0}


def of(a: Meta, b: Meta, normalise: str | None = None, **more: object) -> Tree:
    return merge([[profile(COUNTS, a)], [profile(COUNTS, b)]], labels=("before", "after"), normalise=normalise, **more)


def shown(tree: Tree) -> list[float]:
    return [float(tree.total[s, 0] * f) for s, f in enumerate(tree.chosen.factors)]


def test_per_packet_holds_for_other_lengths_and_sampling_rates() -> None:
    # 1000 samples of 1 ms for 10,000 packets, and 1000 of 10 ms for 50,000: 100 and 200 µs a packet.
    tree = of(Meta(interval_ns=1e6, seconds=10, packets=10_000), Meta(interval_ns=1e7, seconds=60, packets=50_000))
    assert tree.chosen.name == "packets"
    assert tree.chosen.unit == "µs of CPU per packet"
    assert shown(tree) == pytest.approx([100, 200])


def test_cpu_seconds_are_per_second_where_lengths_differ() -> None:
    tree = of(Meta(interval_ns=1e6, seconds=10), Meta(interval_ns=1e7, seconds=40), "seconds")
    assert (tree.chosen.unit, shown(tree)) == ("CPU seconds per second", pytest.approx([0.1, 0.25]))
    tree = of(Meta(interval_ns=1e6, seconds=10), Meta(interval_ns=1e7, seconds=10.1), "seconds")
    assert (tree.chosen.unit, shown(tree)) == ("CPU seconds", pytest.approx([1, 10]))


def test_a_unit_of_time_needs_no_interval() -> None:
    tree = of(Meta(unit="ns", packets=10), Meta(unit="us", packets=10), "packets")
    assert shown(tree) == pytest.approx([0.1, 100])


def test_bytes_per_packet() -> None:
    tree = of(Meta(unit="bytes", event="alloc", packets=10), Meta(unit="bytes", event="alloc", packets=20))
    assert (tree.chosen.unit, shown(tree)) == ("bytes per packet", [100, 50])


def test_wall_clock_is_not_called_cpu() -> None:
    tree = of(*[Meta(interval_ns=1e6, event="wall", packets=10)] * 2)
    assert tree.chosen.unit == "µs of wall-clock time per packet"


def test_share_and_factors_always_hold() -> None:
    assert shown(of(Meta(), Meta(), "share")) == pytest.approx([100, 100])
    tree = of(Meta(), Meta(), "1:0.5")
    assert (tree.chosen.name, shown(tree)) == ("1:0.5", [1000, 500])


def test_without_metadata_samples_are_compared_and_the_head_says_so() -> None:
    tree = of(Meta(), Meta())
    assert (tree.chosen.name, shown(tree)) == ("samples", [1000, 1000])
    assert "--normalise share" in tree.notes[0]


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (Meta(), Meta(), "length of the captures and their load are unknown: samples are"),
        (Meta(unit="bytes"), Meta(unit="bytes"), "load are unknown: bytes are"),
        (Meta(interval_ns=1e6), Meta(interval_ns=1e6, seconds=9), "load are unknown: CPU seconds are"),
        (Meta(unit="ns", event="lock"), Meta(unit="ns", event="lock"), "load are unknown: waiting seconds are"),
        (Meta(seconds=10), Meta(seconds=60), "not equally long, and their load is unknown: samples are"),
        (Meta(seconds=10), Meta(seconds=10.1), None),
        (Meta(interval_ns=1e6, seconds=10), Meta(interval_ns=1e6, seconds=60), None),  # per second
        (Meta(interval_ns=1e6, packets=10), Meta(interval_ns=1e6, packets=60), None),
    ],
)
def test_the_head_says_if_values_are_relative_to_nothing(a: Meta, b: Meta, said: str | None) -> None:
    notes = [note for note in of(a, b).notes if "compared as they are" in note]
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]
    assert not any("compared as they are" in note for note in of(a, b, "share").notes)


@pytest.mark.parametrize(
    ("a", "b", "asked", "said"),
    [
        (Meta(), Meta(packets=1, interval_ns=1e6), "packets", "no packet count is recorded: before"),
        (Meta(packets=1), Meta(packets=1, interval_ns=1e6), "packets", "one sample stands for is not recorded: before"),
        (Meta(interval_ns=1e6), Meta(), "seconds", "one sample stands for is not recorded: after"),
        (Meta(interval_ns=1e6), Meta(interval_ns=1e7), "samples", "before: 1 ms, after: 10 ms"),
        (Meta(unit="ns"), Meta(), "samples", "count different things"),
        (Meta(), Meta(), "pakets", "'pakets' is no normalisation"),
        (Meta(), Meta(), "0:1", "'0:1' is no normalisation"),
        (Meta(), Meta(), "1:2:3", "'1:2:3' is no normalisation"),
        (Meta(), Meta(), "1..2:1", "is no normalisation"),
    ],
)
def test_what_is_missing_is_named(a: Meta, b: Meta, asked: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        of(a, b, asked)
    assert said in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (Meta(engine="perf"), Meta(engine="jfr"), "engines do not compare: before: perf; after: jfr"),
        (Meta(event="cpu"), Meta(event="wall"), "events do not compare: before: cpu; after: wall"),
        (
            Meta(event="cpu", extra={"kernel_frames": True}),
            Meta(event="cpu", extra={"kernel_frames": False}),
            "after: without kernel frames",
        ),
    ],
)
def test_unlike_captures_are_refused_unless_forced(a: Meta, b: Meta, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        of(a, b)
    assert said in refused.value.message
    assert "--force" in (refused.value.hint or "")
    notes = of(a, b, force=True).notes
    assert any("forced together" in note for note in notes)


def test_what_nobody_recorded_is_not_unlike() -> None:
    assert of(Meta(engine="perf", event="cpu"), Meta()).notes == of(Meta(), Meta()).notes
