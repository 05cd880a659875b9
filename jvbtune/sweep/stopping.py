"""When a sweep may end before its last block: all that was asked is answered, or its time is spent."""

from __future__ import annotations

import time
from collections.abc import Callable

import polars as pl

from jvbtune.errors import NoRecommendation
from jvbtune.fit.compare import SIGNIFICANT
from jvbtune.fit.questions import early_level, last_level, open_questions
from jvbtune.fit.recommend import common_reasons
from jvbtune.store import Run
from jvbtune.sweep.experiment import Experiment, StopSection

#: How the reason of an early look begins.
ANSWERED = "every question is answered"
#: Fewer trials than these may be of no use by chance.
LEAST_TRIALS = 6


class Stopping:
    """Asked before each block that has trials left; says why to stop, or None. Without a ``[stop]`` table it never
    stops a sweep. What the run's earlier sessions took is part of the time that is spent."""

    def __init__(self, experiment: Experiment, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self._experiment, self._run, self._clock = experiment, run, clock
        self._begun = clock() - _seconds_before(run)

    def before_block(self, block: int, missing: float = 1.0) -> str | None:
        """``block``: 0-based, about to begin, or to go on: ``missing`` is the share of its trials that is not done, and
        the blocks before it are. Raises NoRecommendation where nothing that was run can be used."""
        self._refuse_to_go_on_for_nothing(block)
        rules = self._experiment.stop
        if rules is None:
            return None
        elapsed = (self._clock() - self._begun) / 60
        run = block + 1 - missing
        takes = missing * elapsed / run if run else 0.0
        if rules.budget_minutes is not None and block > 0 and elapsed + takes > rules.budget_minutes:
            what = "another block" if missing == 1 else "the rest of the block"
            return f"the budget of {rules.budget_minutes:g} min is spent: {what} takes {takes:.0f} min"
        if block < rules.min_blocks or missing < 1:  # the look at a block that was begun has been taken
            return None
        limits = self._experiment.limits.limits()
        looks = rules.looks(self._experiment.blocks)
        questions = open_questions(self._run.trials(), limits, looks=looks, relative_width=rules.relative_width)
        return None if questions else f"{ANSWERED} after {block} blocks"

    def _refuse_to_go_on_for_nothing(self, block: int) -> None:
        """Hours of a production host are not spent on trials of which a whole block was not valid."""
        if block == 0:
            return
        trials = self._run.trials().filter(pl.col("kind").is_in(["steady", "burst"]))
        if trials.height < LEAST_TRIALS or trials["valid"].any():
            return
        raise NoRecommendation(
            f"none of the {trials.height} trials so far can be used: {'; '.join(common_reasons(trials))}",
            hint="Mend what they name, then begin again; `jvbtune show --trials` lists them.",
        )


def _seconds_before(run: Run) -> float:
    """What the run's earlier sessions took from their plan on, by its journal: this one was resumed after them."""
    seconds = 0.0
    begun = last = None
    for event in run.events("planned", "trial_finished", "run_finished", "run_resumed"):
        if event["event"] == "run_resumed":
            seconds += max(0.0, last - begun) if begun is not None and last is not None else 0.0
            begun = None
        elif event["event"] == "planned":
            begun = float(event["unix"])
        last = float(event["unix"])
    return seconds


def verdict_level(run: Run) -> float:
    """The error that the look may spend at which a run ended: all of it where it could not have ended earlier."""
    stop = run.manifest["experiment"].get("stop")
    if stop is None:
        return SIGNIFICANT
    looks = StopSection.model_validate(stop).looks(int(run.manifest["experiment"].get("blocks") or 1))
    early = any(str(event["because"]).startswith(ANSWERED) for event in run.events("stopped"))
    return early_level(looks) if early else last_level(looks)
