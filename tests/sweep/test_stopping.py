"""A sweep ends when all is answered or the time is spent, and not before."""

import polars as pl
import pytest

from jvbtune.fit import Limits
from jvbtune.fit.questions import open_questions
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, simulate
from jvbtune.sweep.experiment import Experiment, read_experiment
from jvbtune.sweep.stopping import Stopping

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
        if any("not yet sure" in question for question in open_questions(frame, Limits(), looks=8)):
            assert not any("wmem" in question for question in open_questions(frame, Limits(), looks=1))
            return
    raise AssertionError("no run of 40 has such a difference")


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


def test_without_a_stop_table_all_blocks_are_run() -> None:
    plain = read_experiment({"name": "x", "blocks": 10, "load": {"packet_rates_pps": list(RATES)}})
    stopping = Stopping(plain, FakeRun(trials(4, **QUIET)))  # type: ignore[arg-type]
    assert stopping.before_block(9) is None
