"""The committed runs say what the documentation says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvbtune.fit import compare_settings, recommend
from jvbtune.result.derive import limits_of
from jvbtune.store import Run, open_run

RUNS = Path(__file__).parents[2] / "experiments" / "runs"


def _run(name: str) -> Run:
    return open_run(f"reference-{name}", RUNS)


@pytest.mark.parametrize(
    ("name", "rate", "low", "high"),
    [("lab-aa", 49_750, 48_000, 52_000), ("real-bridge", 38_250, 36_000, 41_000)],
)
def test_each_carries_its_max_packet_rate(name: str, rate: float, low: float, high: float) -> None:
    run = _run(name)
    (found,) = recommend(run.trials(), limits_of(run))
    assert found.max_packet_rate_pps == pytest.approx(rate, rel=0.02)
    assert found.interval_pps is not None
    assert low < found.interval_pps[0] < rate < found.interval_pps[1] < high
    assert found.binding_limit == "cpu"


def test_three_shapes_on_a_real_bridge_tell_what_an_endpoint_costs() -> None:
    (found,) = recommend(_run("real-bridge-shapes").trials())
    assert found.max_packet_rate_pps == pytest.approx(32_750, rel=0.03)
    assert found.mix is not None
    costs = {cost.name: cost for cost in found.mix.costs}
    assert costs["out"].low > 10
    assert costs["out"].estimate == pytest.approx(15.3, abs=1.5)
    assert 700 < costs["endpoints"].low < 1_270 < costs["endpoints"].high < 1_900


def test_a_long_sweep_of_settings_that_change_nothing_finds_nothing() -> None:
    run = _run("lab-aa")
    verdicts = compare_settings(run.trials(), limits_of(run))
    assert len(verdicts) == 2
    assert not [verdict for verdict in verdicts if verdict.verdict in ("better", "worse")]
