"""How many hosts may be out of service at the same time, for each value of a label. Pure.

A host is out if jvbtune works on it, if jvbtune left it drained or not put back, or if it was found drained, unhealthy
or unreachable. A host that is out already may be worked on: nothing more is lost by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jvbtune.inventory import HostEntry

#: Hosts without ``--per`` are one cell; hosts without the label share one as well.
EVERYWHERE = ""


@dataclass(frozen=True)
class Budget:
    """``per``: a label's key. None: one budget for all hosts that are named."""

    max_unavailable: int = 1
    per: str | None = None

    def cell(self, entry: HostEntry) -> str:
        """The hosts with the same value of the label share a budget."""
        return EVERYWHERE if self.per is None else entry.labels.get(self.per, EVERYWHERE)

    def refusal(self, host: str, cell: Iterable[str], at_work: Iterable[str], out: Mapping[str, str]) -> str | None:
        """Why work on ``host`` may not begin now, in words; None: it may.

        ``cell``: the hosts of its cell. ``at_work``: those that jvbtune works on. ``out``: what else is out, and why.
        """
        members = set(cell) - {host}
        working = sorted(members & set(at_work))
        if len(working) >= self.max_unavailable:
            return f"{_listed(working)} {'is' if len(working) == 1 else 'are'} at work"
        lost = sorted(members & set(out) - set(working))
        if host not in out and len(working) + len(lost) >= self.max_unavailable:
            return "; ".join(f"{name} is {out[name]}" for name in lost)
        return None

    def __str__(self) -> str:
        per = "" if self.per is None else f" for each {self.per}"
        return f"at most {self.max_unavailable} unavailable{per}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
