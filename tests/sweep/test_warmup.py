"""Warm means compiled: when a warm-up ends, and which trials measured the compiler. On series of real bridges."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from jvbtune.protocol.codec import build
from jvbtune.protocol.samples import Sample
from jvbtune.sweep.warmup import COMPILED_CORES, Ended, WarmUp, compiler_cores, hold, verdict
from jvbtune.sweep.window import per_second, summarise
from jvbtune.trials.columns import TRIAL_SCHEMA
from jvbtune.trials.frame import cpu_ratio_of, prepare
from jvbtune.trials.judge import Why, judge

RECORDED = json.loads((Path(__file__).parent / "recorded" / "compilation.json").read_text())
REAL, LAB = RECORDED["a real bridge, 21 kpps"], RECORDED["the lab's bridge, 24 kpps"]
SLOW = RECORDED["a real bridge on a slower machine, 21 kpps"]
SECONDS = int(RECORDED["window_seconds"])

Series = Sequence[Sequence[int]]


def samples_of(series: Series, *, threads: bool = True, second: float = 0.0) -> Iterator[Sample]:
    """1 Hz samples as the agent gives them, from percents of a core: the first at the moment the load begins."""
    total, compiler = 0.0, 0.0
    steps = [pair for pair in series for _ in range(SECONDS)]
    for number, (used, compiling) in enumerate([(0, 0), *steps]):
        total, compiler = total + used / 100, compiler + compiling / 100
        groups = {"C1 CompilerThre": 0.25 * compiler, "C2 CompilerThre": 0.75 * compiler, "Global CPU pool": total}
        raw = {
            "t_unix": 1000.0 + second + number,
            "t_mono": second + number,
            "cores": [{"cpu": 0, "user_s": total, "idle_s": number - total}],
            "bridge": {
                "pid": 7,
                "start_ticks": 99,
                "cpu_user_s": total,
                "cpu_sys_s": 0.0,
                "cpus": [0],
                "threads": groups if threads else {},
            },
        }
        yield build(Sample, raw)


def warmed_up(series: Series, *, least: float = 6, longest: float = 90, threads: bool = True) -> WarmUp:
    seen: list[Sample] = []
    for held, sample in enumerate(samples_of(series, threads=threads)):
        seen.append(sample)
        if (found := verdict(seen, float(held), least, longest)) is not None:
            return found
    raise AssertionError("the warm-up did not end within the series")


def windows(series: Series) -> list[dict[str, Any]]:
    """The rows of trials that are as long as the windows that were recorded."""
    samples = list(samples_of(series))
    return [summarise(samples[at : at + SECONDS + 1]) for at in range(0, len(samples) - 1, SECONDS)]


@pytest.mark.parametrize("series", REAL + LAB, ids=["real 1", "real 2", "real 3", "lab 1", "lab 2"])
def test_a_trial_in_the_first_windows_measures_the_compiler_and_in_a_quiet_one_does_not(series: Series) -> None:
    rows = windows(series)
    codes = [{fault.code for fault in judge(row)} for row in rows]
    assert codes[0] == {Why.COMPILING}
    for (_, compiler), found in zip(series, codes, strict=True):
        assert (Why.COMPILING in found) is (compiler > 5), compiler
    text = judge(rows[0])[0].text
    assert text.startswith("still compiling: the JVM's compilers used")
    assert f"{series[0][1]}% of a core" in text


@pytest.mark.parametrize(("series", "after"), [(REAL[0], 25), (REAL[1], 15), (REAL[2], 20), (LAB[0], 25), (LAB[1], 25)])
def test_a_load_is_held_until_the_compilers_are_quiet(series: Series, after: int) -> None:
    went = warmed_up(series)
    assert went.ended is Ended.COMPILED
    assert went.seconds == pytest.approx(after, abs=3)
    assert went.compiler_cores is not None
    assert went.compiler_cores <= COMPILED_CORES
    # 38, 21, 5, 5 % of 5 s and the like: 2 to 4 core-seconds, which a production bridge pays after each start
    assert went.compiler_core_seconds == pytest.approx(sum(c for _, c in series[: after // SECONDS]) / 20, abs=0.3)
    assert went.bridge_core_seconds is not None
    assert went.bridge_core_seconds > went.compiler_core_seconds


def test_a_slower_machine_is_waited_for_and_the_longest_time_is_kept() -> None:
    for series in SLOW:
        assert warmed_up(series, longest=30).ended is Ended.LONGEST
        assert warmed_up(series, longest=30).seconds == 30
        patient = warmed_up(series, longest=120)
        assert patient.ended is Ended.COMPILED
        assert patient.seconds > 40


def test_the_least_time_is_held_whatever_is_seen() -> None:
    assert warmed_up([[40, 0]] * 20, least=33).seconds == 33
    assert warmed_up([[40, 0]] * 20, least=2).seconds == SECONDS  # the quiet time itself


def test_where_nobody_samples_threads_the_least_time_is_held() -> None:
    went = warmed_up(REAL[0], least=12, threads=False)
    assert (went.ended, went.seconds) == (Ended.UNKNOWN, 12)
    assert went.compiler_cores is None
    assert went.compiler_core_seconds is None
    assert verdict([], 20, 12, 60) is None, "samples may still come"
    nothing = verdict([], 60, 12, 60)
    assert nothing is not None
    assert nothing.ended is Ended.UNKNOWN


def test_a_bridge_that_restarts_by_itself_in_its_warm_up_begins_again() -> None:
    before = list(samples_of([[45, 0]] * 2))
    after = [
        replace(sample, bridge=replace(sample.bridge, pid=8))
        for sample in samples_of([[90, 30]], second=11)
        if sample.bridge is not None
    ]
    assert compiler_cores(before) == 0
    assert compiler_cores(before + after[:3]) is None
    assert compiler_cores(before + after) == pytest.approx(0.3)


def test_holding_looks_again_until_it_is_warm() -> None:
    at = [0.0]
    every = list(samples_of(REAL[1]))

    def sleep(seconds: float) -> None:
        at[0] += seconds

    went = hold(lambda: [s for s in every if s.t_mono <= at[0]], 6, 60, 0.0, lambda: at[0], sleep)
    assert went.ended is Ended.COMPILED
    assert went.seconds == pytest.approx(15, abs=0.2)
    assert json.loads(json.dumps(went.to_json())) | {"seconds": 15.0} == {
        "ended": "compiled",
        "seconds": 15.0,
        "compiler_cores": 0.02,
        "compiler_core_seconds": 3.05,
        "bridge_core_seconds": 11.0,
    }


def test_cpu_per_packet_is_fitted_without_the_compiler_and_the_row_has_both() -> None:
    rows = [row | {"cores": 1.0, "bridge_pps": 21_000.0, "kind": "steady"} for row in windows(REAL[0])]
    frame = prepare(pl.DataFrame([{k: v for k, v in row.items() if k in TRIAL_SCHEMA} for row in rows])).frame
    for (total, compiler), row in zip(REAL[0], frame.to_dicts(), strict=True):
        assert row["cpu_cores"] == pytest.approx(total / 100)
        assert row["compiler_cores"] == pytest.approx(compiler / 100)
        assert row["net_cpu_cores"] == pytest.approx((total - compiler) / 100)
        assert row["cpu_ratio"] == pytest.approx((total - compiler) / 100)
        assert cpu_ratio_of(row) == pytest.approx(row["cpu_ratio"])


def test_restarts_agree_without_the_compiler() -> None:
    """After 10 s: 42 to 46 % of the core in all three restarts, where the gross figure goes up to 53."""
    net = [total - compiler for series in REAL for total, compiler in series[2:]]
    gross = [total for series in REAL for total, _ in series[2:]]
    means = [sum(t - c for t, c in series[2:]) / len(series[2:]) for series in REAL]
    assert max(means) / min(means) < 1.05
    assert max(net) - min(net) < max(gross) - min(gross)


def test_steadiness_is_that_of_the_cpu_without_the_compiler() -> None:
    samples = list(samples_of([[45, 0], [53, 8], [45, 0], [60, 15]]))
    assert per_second(samples)["cpu_cores"] == pytest.approx([0.45] * 20)
    assert all(a.t_mono < b.t_mono for a, b in pairwise(samples))
