"""A sweep ends when all is answered or the time is spent, and not before."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from jvbtune.errors import NoRecommendation
from jvbtune.fit import Limits
from jvbtune.fit.compare import SIGNIFICANT, compare_settings
from jvbtune.fit.questions import early_level, last_level, open_questions
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, simulate
from jvbtune.store import RunWriter, create_run
from jvbtune.sweep.experiment import Experiment, read_experiment
from jvbtune.sweep.plan import Step, Trial, make_plan
from jvbtune.sweep.run import execute
from jvbtune.sweep.session import Session
from jvbtune.sweep.stopping import Stopping, verdict_level

STEPS = {"baseline": {}, "net.core.wmem_max=1": {"net.core.wmem_max": 1}}
RATES = (12e3, 24e3, 36e3, 48e3, 60e3)


def trials(blocks: int, *, effect: float = 1.0, **noise: float) -> pl.DataFrame:
    design = Design(RATES, blocks, STEPS)
    disturbance = Disturbance(step_effects={"net.core.wmem_max=1": effect}, **noise)
    return simulate(SimulatedHost(), design, disturbance, seed=4)


class FakeRun:
    def __init__(self, frame: pl.DataFrame, events: Sequence[dict[str, Any]] = ()) -> None:
        self.frame, self._events = frame, list(events)

    def events(self, *names: str) -> list[dict[str, Any]]:
        return [event for event in self._events if event["event"] in names]

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


def sessions(*minutes: float) -> list[dict[str, Any]]:
    """The journal of a run that was interrupted after so many minutes of trials, days apart, and goes on."""
    events: list[dict[str, Any]] = []
    for day, of_session in enumerate((*minutes, None)):
        begun = 86_400.0 * day
        events += [{"event": "run_resumed" if day else "run_started", "unix": begun}]
        events += [{"event": "planned", "unix": begun + 300}]  # the search for packet rates is no block
        if of_session is not None:
            end = begun + 300 + 60 * of_session
            events += [{"event": "trial_finished", "unix": end - 9}, {"event": "run_finished", "unix": end}]
    return events


def test_a_resumed_run_has_what_is_left_of_the_budget_and_no_more() -> None:
    run = FakeRun(trials(3, restart_sd=0.08), sessions(60.0, 40.0))
    stopping = Stopping(experiment(budget_minutes=120.0), run, lambda: 0.0)  # type: ignore[arg-type]
    said = "the budget of 120 min is spent: another block takes 33 min"
    assert stopping.before_block(3) == said
    assert stopping.before_block(2, missing=0.6) == "the budget of 120 min is spent: the rest of the block takes 25 min"
    assert stopping.before_block(2, missing=0.4) is None
    larger = Stopping(experiment(budget_minutes=134.0), run, lambda: 0.0)  # type: ignore[arg-type]
    assert larger.before_block(3) is None


def test_a_block_that_was_begun_is_not_looked_at_again() -> None:
    run = FakeRun(trials(5, **QUIET), sessions(60.0))
    stopping = Stopping(experiment(min_blocks=3), run, lambda: 0.0)  # type: ignore[arg-type]
    assert stopping.before_block(5, missing=0.5) is None
    assert stopping.before_block(5) == "every question is answered after 5 blocks"


@dataclass
class Swept:
    """A session whose trials take ``minutes`` each, on a clock of its own."""

    experiment: Experiment
    run: FakeRun
    minutes: float
    now: float = 0.0
    held: list[str] = field(default_factory=list)
    blocks: dict[int, None] = field(default_factory=dict)
    stopped: list[dict[str, Any]] = field(default_factory=list)

    @property
    def writer(self) -> Any:
        return SimpleNamespace(run=self.run)

    def begin_step(self, step: Step) -> None:
        self.blocks.setdefault(step.block)

    def refuse_live_calls(self) -> None: ...
    def observe(self, event: str, data: object) -> None: ...

    def hold(self, step: Step, trial: Trial, order: int, expected: None) -> str:
        self.now += 60 * self.minutes
        return trial.id

    def finish(self, trial: str) -> None:
        self.held.append(trial)

    def record(self, event: str, **data: Any) -> None:
        self.stopped.append(data)


@pytest.mark.parametrize(
    ("done_blocks", "spent_minutes", "begins"), [(3, 100.0, []), (3, 60.0, [3, 4, 5]), (2.5, 50.0, [2, 3, 4, 5])]
)
def test_a_sweep_that_goes_on_asks_only_before_blocks_that_have_trials_left(
    monkeypatch: pytest.MonkeyPatch, done_blocks: float, spent_minutes: float, begins: list[int]
) -> None:
    wanted = experiment(min_blocks=8, budget_minutes=125.0)
    plan = make_plan(wanted, RATES, seed=1)
    ids = [trial.id for _, trial in plan.trials()]
    of_block = len(ids) // 10
    done = ids[: int(done_blocks * of_block)]
    opened = Swept(wanted, FakeRun(trials(3, restart_sd=0.08), sessions(spent_minutes)), 20.0 / of_block)
    monkeypatch.setattr("jvbtune.sweep.run.Stopping", partial(Stopping, clock=lambda: opened.now))
    execute(cast(Session, opened), plan, set(done))
    assert opened.held == (ids[len(done) : (begins[-1] + 1) * of_block] if begins else [])
    assert list(opened.blocks) == begins
    (stopped,) = opened.stopped
    assert stopped["block"] == (begins[-1] + 1 if begins else 3)
    assert "the budget of 125 min is spent" in stopped["because"]
    assert spent_minutes + opened.now / 60 <= 125


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
