"""Verdicts on settings, against a simulated truth."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvbtune.fit import Limits, SettingVerdict, compare_settings
from jvbtune.fit.compare import holm
from jvbtune.fit.effects import sign_flip_p
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, simulate

HOST = SimulatedHost()
RMEM, DEFAULT, WMEM = "net.core.rmem_max", "net.core.rmem_default", "net.core.wmem_max"
QUICK = {
    "baseline": {},
    f"{RMEM}=212992": {RMEM: 212_992},
    f"{DEFAULT}=10485760": {DEFAULT: 10_485_760},
    f"{WMEM}=10485760": {WMEM: 10_485_760},
}


def quick(seed: int, blocks: int = 3, burst: int = 2400, **more: object) -> pl.DataFrame:
    rates = tuple(np.linspace(15_000, 55_000, 4).tolist())
    design = Design(rates, blocks, QUICK, duration_seconds=7.0, burst_packets=burst, burst_pps=24_000.0)
    return simulate(HOST, design, Disturbance(**more), seed=seed)  # type: ignore[arg-type]


def by_name(trials: pl.DataFrame) -> dict[str, SettingVerdict]:
    return {verdict.name: verdict for verdict in compare_settings(trials)}


def test_a_small_buffer_is_found_by_its_drops_and_the_controls_are_not() -> None:
    found = Counter()
    for seed in range(30):
        verdicts = by_name(quick(seed))
        found[RMEM] += verdicts[RMEM].verdict == "worse" and verdicts[RMEM].metric == "burst_drops"
        found["controls"] += sum(verdicts[name].verdict in ("better", "worse") for name in (DEFAULT, WMEM))
    assert found[RMEM] >= 27
    assert found["controls"] <= 3


def test_a_large_buffer_is_recommended_where_a_small_one_was_found() -> None:
    trials = quick(2).with_columns(
        step=pl.col("step").replace({"baseline": f"{RMEM}=10485760", f"{RMEM}=212992": "baseline"}),
        settings=pl.col("settings").replace({"{}": f'{{"{RMEM}": 10485760}}', f'{{"{RMEM}": 212992}}': "{}"}),
    )
    verdict = by_name(trials)[RMEM]
    assert verdict.verdict == "better"
    assert verdict.recommended == 10_485_760
    assert verdict.effect is not None
    assert verdict.effect < -0.9
    assert verdict.to_json()["values"] == [10_485_760]


def test_what_a_change_of_cpu_means_for_the_packet_rate_at_the_limit() -> None:
    dear = {f"{WMEM}=10485760": 1.1}
    verdict = by_name(quick(4, blocks=6, burst=0, restart_sd=0.01, noise_sd=0.005, step_effects=dear))[WMEM]
    cpu = next(c for c in verdict.comparisons if c.metric == "cpu_per_packet")
    assert cpu.max_packet_rate is not None
    gain, low, high = cpu.max_packet_rate
    truth = HOST.truth(Limits(), factor=1.1)["cpu"] / HOST.truth(Limits())["cpu"] - 1
    assert truth < -0.12  # a concave curve: 10 % dearer packets cost more than 10 % of the rate
    assert low < truth < high
    assert gain == pytest.approx(truth, abs=0.03)
    assert "the packet rate at the CPU limit" in verdict.reason


def test_a_cost_of_a_quarter_is_found_and_a_tiny_one_is_no_difference() -> None:
    dear = {f"{WMEM}=10485760": 1.25}
    verdict = by_name(quick(4, blocks=5, burst=0, restart_sd=0.03, step_effects=dear))[WMEM]
    assert verdict.verdict == "worse"
    cpu = next(c for c in verdict.comparisons if c.metric == "cpu_per_packet")
    assert cpu.significant
    assert cpu.interval[0] < 0.25 < cpu.interval[1]
    same = by_name(quick(5, blocks=10, burst=0, restart_sd=0.004, noise_sd=0.004))[WMEM]
    assert same.verdict == "no difference"


def test_what_is_unresolved_says_how_many_blocks_it_would_take() -> None:
    verdict = by_name(quick(6, burst=0))[DEFAULT]
    assert verdict.verdict == "unresolved"
    assert "more blocks" in verdict.reason
    assert verdict.recommended is None


def test_one_block_compares_nothing() -> None:
    verdict = by_name(quick(7, blocks=1))[RMEM]
    assert verdict.verdict == "unresolved"
    assert "3 blocks" in verdict.reason


def test_without_a_baseline_or_rows_there_is_nothing_to_say() -> None:
    trials = quick(8)
    assert {v.verdict for v in compare_settings(trials.filter(pl.col("step") != "baseline"))} == {"unresolved"}
    assert compare_settings(trials.clear()) == []


def test_invalid_trials_are_not_used() -> None:
    trials = quick(9)
    spoilt = trials.with_columns(valid=pl.col("step") != f"{RMEM}=212992")
    assert by_name(spoilt)[RMEM].verdict == "unresolved"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 50))
def test_the_order_of_rows_changes_no_verdict(seed: int) -> None:
    trials = quick(3)
    shuffled = trials.sample(fraction=1.0, shuffle=True, seed=seed)
    assert [v.verdict for v in compare_settings(shuffled)] == [v.verdict for v in compare_settings(trials)]


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, 0.2], [3.0, 1.0]) == pytest.approx([0.01 * 4 / 3, 0.2])
    assert holm([]) == []


def test_sign_flips_by_hand() -> None:
    assert sign_flip_p(np.array([1.0, 1.0, 1.0, 1.0])) == pytest.approx(2 / 16)
    assert sign_flip_p(np.array([1.0, -1.0])) == 1.0
