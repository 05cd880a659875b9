"""When a sweep may end before its last block: all that was asked is answered, or its time is spent."""

from __future__ import annotations

import time
from collections.abc import Callable

from jvbtune.fit.limits import Limits
from jvbtune.fit.questions import open_questions
from jvbtune.store import Run
from jvbtune.sweep.experiment import Experiment


class Stopping:
    """Asked before each block; says why to stop, or None. Without a ``[stop]`` table it never stops a sweep."""

    def __init__(self, experiment: Experiment, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self._experiment, self._run, self._clock = experiment, run, clock
        self._begun = clock()
        self._blocks_begun = 0

    def before_block(self, block: int) -> str | None:
        """``block``: 0-based, about to begin."""
        rules = self._experiment.stop
        if rules is None:
            return None
        elapsed = (self._clock() - self._begun) / 60
        each = elapsed / self._blocks_begun if self._blocks_begun else 0.0
        self._blocks_begun += 1
        if rules.budget_minutes is not None and self._blocks_begun > 1 and elapsed + each > rules.budget_minutes:
            return f"the budget of {rules.budget_minutes:g} min is spent: another block takes {each:.0f} min"
        if block < rules.min_blocks:
            return None
        limits = Limits(**self._experiment.limits.model_dump())
        looks = self._experiment.blocks - rules.min_blocks + 1
        questions = open_questions(self._run.trials(), limits, looks=looks, relative_width=rules.relative_width)
        return None if questions else f"every question is answered after {block} blocks"
