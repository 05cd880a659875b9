"""How the work on each host of a fleet ended, and the exit code of all of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jvbtune.errors import SOME_HOSTS, Interrupted, NoRecommendation


class State(StrEnum):
    """Of one host's work."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    NO_RECOMMENDATION = "no recommendation"  #: measured, and the data support none
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    HELD_BACK = "held back"  #: too many other hosts were out of service
    NOT_STARTED = "not started"  #: another host failed first, or the command was interrupted


#: Whatever ``--resume`` does not repeat.
FINISHED = frozenset({State.DONE, State.NO_RECOMMENDATION})


@dataclass(frozen=True)
class Outcome:
    """Of one host. ``reason``: what went wrong, or a short result. ``advice``: what to do. ``run``: its run's id.

    ``not_put_back``: why the host is still out of service by this command's doing; empty: it is not.
    """

    host: str
    state: State
    exit_code: int = 0
    reason: str = ""
    advice: str | None = None
    run: str | None = None
    seconds: float = 0.0
    not_put_back: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def state_of(exit_code: int) -> State:
    known = {
        0: State.DONE,
        NoRecommendation.exit_code: State.NO_RECOMMENDATION,
        Interrupted.exit_code: State.INTERRUPTED,
    }
    return known.get(exit_code, State.FAILED)


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """0 if all hosts succeeded, 4 if some did. If none did: the exit code of the failures if they are alike, else 4.
    130 after an interrupt."""
    found = list(outcomes)
    if any(one.state is State.INTERRUPTED for one in found):
        return Interrupted.exit_code
    if all(one.state is State.DONE for one in found):
        return 0
    if any(one.state is State.DONE for one in found):
        return SOME_HOSTS
    tried = {one.exit_code for one in found if one.state not in (State.HELD_BACK, State.NOT_STARTED)}
    if not tried:
        return 1
    return tried.pop() if len(tried) == 1 else SOME_HOSTS
