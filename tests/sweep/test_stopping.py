"""A sweep ends when all is answered or the time is spent, and not before."""

from pathlib import Path

import polars as pl
import pytest

from jvbtune.errors import NoRecommendation
from jvbtune.fit import Limits
from jvbtune.fit.compare import SIGNIFICANT, compare_settings
from jvbtune.fit.questions import early_level, last_level, open_questions
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, simulate
from jvbtune.store import RunWriter, create_run
from jvbtune.sweep.experiment import Experiment, read_experiment
from jvbtune.sweep.stopping import Stopping, verdict_level

STEPS = {"baseline": {}, "net.core.wmem_max=1": {"net.core.wmem_max": 1}}
RATES = (12e3, 24e3, 36e3, 48e3, 60e3)


def trials(blocks: int, *, effect: float = 1.0, **noise: float) -> pl.DataFrame:
    design = Design(RATES, blocks, STEPS)
    disturbance = Disturbance(step_effects={"net.core.wmem_max=1": effect}, **noise)
    return simulate(SimulatedHost(), design, disturbance, seed=4)


class FakeRun:
    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    def trials(self) -> pl.DataFrame:
        return self.frame


def experiment(**stop: object) -> Experiment:
    return read_experiment({"name": "x", "blocks": 10, "load": {"packet_rates_pps": list(RATES)}, "stop": stop})


QUIET = {"restart_sd": 0.004, "noise_sd": 0.004}


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (trials(4, **QUIET), []),
        (trials(3, effect=1.3, **QUIET), []),
        (trials(3, restart_sd=0.08), ["net.core.wmem_max: unresolved", "max packet rate"]),
    ],
    ids=["no difference", "a clear difference", "noise"],
)
def test_a_question_is_open_until_it_is_answered_either_way(frame: pl.DataFrame, says: list[str]) -> None:
    found = open_questions(frame, Limits(), looks=8, relative_width=0.2)
    assert [any(question.startswith(words) for question in found) for words in says] == [True] * len(says)
    assert bool(found) == bool(says)


def test_a_difference_that_is_significant_but_for_the_number_of_looks_keeps_the_sweep_going() -> None:
    for seed in range(40):
        design = Design(RATES, 4, STEPS)
        noise = Disturbance(restart_sd=0.03, step_effects={"net.core.wmem_max=1": 1.1})
        frame = simulate(SimulatedHost(), design, noise, seed=seed)
        (alone,) = compare_settings(frame)
        if alone.verdict == "worse" and any("wmem" in one for one in open_questions(frame, Limits(), looks=8)):
            assert not any("wmem" in question for question in open_questions(frame, Limits(), looks=1))
            return
    raise AssertionError("no run of 40 has such a difference")


def test_the_looks_share_the_error_and_a_verdict_is_that_of_its_look() -> None:
    assert 7 * early_level(8) + last_level(8) == pytest.approx(SIGNIFICANT)
    assert (early_level(1), last_level(1)) == (SIGNIFICANT, SIGNIFICANT)
    frame = trials(3, effect=1.3, **QUIET)
    (alone,), (early,) = compare_settings(frame), compare_settings(frame, level=early_level(8))
    for one, other in zip(alone.comparisons, early.comparisons, strict=True):
        assert other.adjusted_p_value == pytest.approx(min(1.0, one.adjusted_p_value * SIGNIFICANT / early_level(8)))


@pytest.mark.parametrize(
    ("stop", "ended", "level"),
    [
        (None, None, SIGNIFICANT),
        ({"min_blocks": 3}, "every question is answered after 4 blocks", early_level(8)),
        ({"min_blocks": 3}, "the budget of 8 min is spent: another block takes 3 min", last_level(8)),
        ({"min_blocks": 3}, None, last_level(8)),
    ],
)
def test_a_run_is_judged_by_the_look_that_it_ended_at(
    tmp_path: Path, stop: dict[str, object] | None, ended: str | None, level: float
) -> None:
    described = {"name": "x", "blocks": 10, "load": {"packet_rates_pps": list(RATES)}, "stop": stop}
    run = create_run(tmp_path, host="h", experiment=described, seed=1, plan={})
    with RunWriter(run) as writer:
        if ended is not None:
            writer.journal.append("stopped", block=4, because=ended)
    assert verdict_level(run) == pytest.approx(level)


def test_it_looks_from_the_least_number_of_blocks_on() -> None:
    stopping = Stopping(experiment(min_blocks=4), FakeRun(trials(4, **QUIET)))  # type: ignore[arg-type]
    assert [stopping.before_block(block) for block in range(4)] == [None] * 4
    assert "every question is answered after 4 blocks" in (stopping.before_block(4) or "")


def test_no_block_is_begun_that_the_budget_cannot_pay() -> None:
    minutes = iter([0.0, 0.0, 3.0, 6.0, 9.0])
    run = FakeRun(trials(3, restart_sd=0.08))
    stopping = Stopping(experiment(budget_minutes=8.0), run, lambda: 60 * next(minutes))  # type: ignore[arg-type]
    assert stopping.before_block(0) is None
    assert stopping.before_block(1) is None
    assert "budget of 8 min is spent" in (stopping.before_block(2) or "")


def test_a_sweep_whose_trials_are_all_of_no_use_ends_and_says_why() -> None:
    because = pl.lit(["other processes took 40 % of the bridge's cores"])
    useless = trials(1, **QUIET).with_columns(valid=pl.lit(False), invalid_because=because)
    plain = read_experiment({"name": "x", "blocks": 10, "load": {"packet_rates_pps": list(RATES)}})
    stopping = Stopping(plain, FakeRun(useless))  # type: ignore[arg-type]
    assert stopping.before_block(0) is None
    with pytest.raises(NoRecommendation, match="none of the 10 trials so far can be used: 10 × other processes"):
        stopping.before_block(1)
    one = useless.with_columns(valid=pl.col("trial") == useless["trial"][0])
    assert Stopping(plain, FakeRun(one)).before_block(1) is None  # type: ignore[arg-type]


def test_without_a_stop_table_all_blocks_are_run() -> None:
    plain = read_experiment({"name": "x", "blocks": 10, "load": {"packet_rates_pps": list(RATES)}})
    stopping = Stopping(plain, FakeRun(trials(4, **QUIET)))  # type: ignore[arg-type]
    assert stopping.before_block(9) is None
