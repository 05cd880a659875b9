"""A search read back from its run's journal. Pure but for reading."""

from __future__ import annotations

from jvbtune.capacity.goals import goals
from jvbtune.capacity.result import Search, brackets_from_json, conclude
from jvbtune.fit.limits import Limits
from jvbtune.store import Run

#: Name of the experiment of every search.
NAME = "capacity-search"


def read_search(run: Run) -> Search | None:
    """What the search of a run found; None if it is no search, or ended before its first restart."""
    begun, ended = run.events("search_begun"), run.events("search_ended")
    if not begun or not ended:
        return None
    wanted = goals(Limits(**run.manifest["experiment"]["limits"]))
    return conclude(
        wanted,
        [brackets_from_json(event["brackets"], wanted) for event in run.events("restart_searched")],
        minutes=float(ended[-1]["minutes"]),
        width=float(begun[-1]["width"]),
        given_up=ended[-1].get("given_up"),
    )
