"""The invariants that the record of a fault answers for afterwards; the others are watched while it runs (``world``).

1  Within the lease and a restart everything is as found; or the journal is there, and one revert brings that.
2  No restart with foreign participants on the bridge, and none after the first undrain.
3  Each value in force is the baseline's, journalled, or foreign.
4  The bridge never takes conferences under a swept value.
5  What is changed has a living guard or agent, or a journal.
6  Nothing is left: no directory, file, process or mount.
7  "Put back" is said if and only if 1 holds; no traceback.
8  A foreign value is never written over.
9  A second revert does nothing.
10 No trial is valid that outlived the lease by a second.
11 An interrupt is never lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.host import Host
from tests.faults.plan import Fault

LOOKS = ("http GET /debug", "http GET /colibri/stats")
#: Between the look and the restart: a write into the journal, on a busy machine.
LOOK_SECONDS = 3.0

Line = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """An invariant that does not hold, and why."""

    invariant: int
    text: str


def judge(host: Host, fault: Fault) -> list[Finding]:
    timeline = host.timeline()
    return [
        *(Finding(2, text) for text in restarts(timeline)),
        *(Finding(4, text) for text in undrains(timeline, host)),
        *(Finding(7, text) for text in tracebacks(host)),
        *(Finding(9, text) for text in last_revert(timeline)),
        *(Finding(10, text) for text in late_trials(timeline)),
    ]


def restarts(timeline: list[Line]) -> Iterator[str]:
    """A restart right after a look that found nobody is allowed, though somebody may have joined in between."""
    joined = 0.0
    undrained = False
    looked: dict[int, float] = {}
    spawned: dict[int, float] = {}
    for line in timeline:
        event, at = line.get("event"), float(line["t"])
        if event == "3 join" or (event == "FAULT" and "participants unknown" in line["fault"]):
            joined = at
        elif line.get("effect") in LOOKS:
            looked[line["pid"]] = at
        elif line.get("effect") == "spawn restart":
            spawned[line["pid"]] = at
        elif event == "undrained" and line["by"] == "jvbtune":
            undrained = True
        elif event == "restart":
            look, at = looked.get(line["parent"], -math.inf), spawned.get(line["parent"], at)
            if line["participants"] != "0" and (joined < look or at - look > LOOK_SECONDS):
                yield f"the {line['by']} restarted the bridge with participants = {line['participants']}"
            if undrained:
                yield f"the {line['by']} restarted the bridge after it was undrained"


def undrains(timeline: list[Line], host: Host) -> Iterator[str]:
    for line in timeline:
        if line.get("event") != "undrained" or line["by"] != "jvbtune":
            continue
        for name, value in line["values"].items():
            if value not in (host.baseline[name], host.foreign.get(name)):
                yield f"the bridge was undrained with {name} = {value} in force"


def tracebacks(host: Host) -> Iterator[str]:
    files = [*host.directory.glob("*.out"), *Path("/run").glob("jvbtune*/guard.log")]
    for path in files:
        text = path.read_text(errors="replace")
        if "Traceback" in text:
            yield f"a traceback in {path.name}: {text.strip().splitlines()[-1]}"


def last_revert(timeline: list[Line]) -> Iterator[str]:
    began = next((line["t"] for line in timeline if line.get("event") == "the last revert begins"), None)
    if began is None:
        return
    for line in timeline:
        if line["t"] <= began:
            continue
        if line.get("event") in ("restart", "drained", "undrained"):
            yield f"a revert of a host that is as it was found: {line['event']}"
        if line["who"] == "watch" and "values" in line:
            yield f"a revert of a host that is as it was found: {line['values']}"


def late_trials(timeline: list[Line]) -> Iterator[str]:
    """A valid trial during which, more than a second before its end, its step's values were no longer in force."""
    for ended in timeline:
        if ended.get("event") != "trial ended" or not ended["valid"]:
            continue
        step = next(line for line in timeline if line.get("event") == "trial" and line["number"] == ended["number"])
        for line in timeline:
            if line["who"] != "watch" or "values" not in line or not step["t"] < line["t"] < ended["t"] - 1.0:
                continue
            other = {name: value for name, value in line["values"].items() if value != step["values"].get(name, value)}
            if other:
                late = ended["t"] - line["t"]
                yield f"trial {ended['number']} is valid, and {other} was in force {late:.1f} s before its end"
