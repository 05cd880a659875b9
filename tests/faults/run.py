"""Runs faults, several at a time, each in a world of its own, and says what became of them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.plan import INTERRUPT, KINDS, Effects, Fault, draw

ROOT = Path(__file__).parents[2]
JOBS = 8


@dataclass(frozen=True)
class Outcome:
    """What one fault came to. ``findings``: (invariant, text)."""

    fault: Fault
    reached: bool
    restored: str  #: by itself | by revert | no
    seconds: float | None  #: from the fault until the host was as found, if by itself
    restarts_under_calls: int
    findings: tuple[tuple[int, str], ...]
    timeline: tuple[dict[str, Any], ...]


class Nursery:
    """The process that starts worlds (``nursery``). Thread-safe; a context manager."""

    def __init__(self) -> None:
        argv = [sys.executable, "-B", "-m", "tests.faults.nursery"]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._waiting: dict[str, threading.Event] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def live(self, directory: Path) -> None:
        """Start a world in ``directory``, and wait for its end."""
        ended = self._waiting[str(directory)] = threading.Event()
        assert self._process.stdin is not None
        self._process.stdin.write(f"{directory}\n".encode())
        self._process.stdin.flush()
        ended.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._waiting.pop(line.decode().rstrip("\n")).set()
        for ended in self._waiting.values():
            ended.set()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._reader.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()


def run_fault(fault: Fault, directory: Path, nursery: Nursery) -> Outcome:
    """One fault in namespaces of its own; what it writes is below ``directory``."""
    directory.mkdir(parents=True)
    (directory / "fault.json").write_text(json.dumps(fault.to_json()))
    nursery.live(directory)
    timeline = _timeline(directory)
    result = directory / "result.json"
    if not result.exists():
        error = (directory / "world.err").read_text() if (directory / "world.err").exists() else "the nursery ended"
        return Outcome(fault, False, "no", None, 0, ((0, f"harness: {error.strip()[-800:]}"),), timeline)
    found = json.loads(result.read_text())
    return Outcome(
        fault,
        found["reached"],
        found["restored"],
        found["seconds"],
        found["restarts_under_calls"],
        tuple((int(number), str(text)) for number, text in found["findings"]),
        timeline,
    )


def _timeline(directory: Path) -> tuple[dict[str, Any], ...]:
    path = directory / "timeline.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return tuple(sorted((json.loads(line) for line in lines), key=lambda line: float(line["t"])))


def record_effects(directory: Path) -> tuple[Effects, list[Outcome]]:
    """The effects of the agent in a sweep without a fault, and those of a guard that puts back after its agent."""
    plain = Fault(-1, "none", None)
    killed = Fault(-2, "kill agent", None)
    outcomes = list(run_faults([plain, killed], directory))
    found: dict[str, list[tuple[str, int]]] = {}
    for actor, outcome in zip(("agent", "guard"), outcomes, strict=True):
        seen = {(line["effect"], line["n"]) for line in outcome.timeline if line["who"] == actor and "effect" in line}
        found[actor] = sorted(seen)
    return found, outcomes


def run_faults(
    faults: Iterable[Fault], directory: Path, *, jobs: int = JOBS, tell: Callable[[Outcome], None] | None = None
) -> Iterator[Outcome]:
    """Outcomes in the order of the faults."""
    with Nursery() as nursery, ThreadPoolExecutor(jobs) as pool:
        for outcome in pool.map(lambda fault: run_fault(fault, directory / f"seed-{fault.seed}", nursery), faults):
            if tell is not None:
                tell(outcome)
            yield outcome


def run_seeds(
    seeds: Sequence[int],
    *,
    jobs: int = JOBS,
    tell: Callable[[Outcome], None] | None = None,
    drawn: Callable[[int, Effects], Fault] = draw,
) -> list[Outcome]:
    """What ``drawn`` makes of each seed, after the effects were recorded that it draws from."""
    with tempfile.TemporaryDirectory(prefix="jvbtune-faults-") as scratch:
        effects, outcomes = record_effects(Path(scratch, "recorded"))
        for outcome in outcomes:
            if outcome.findings and tell is not None:
                tell(outcome)
        if not all(effects.values()):
            raise RuntimeError(f"a sweep without a fault does not come to its end: {outcomes[0].findings}")
        faults = [drawn(seed, effects) for seed in seeds]
        return list(run_faults(faults, Path(scratch, "seeds"), jobs=jobs, tell=tell))


def table(outcomes: Sequence[Outcome]) -> str:
    """Kind, tried, restored, restarts under calls, median and worst time."""
    rows = [("kind", "tried", "restored", "restarts under calls", "median s", "worst s", "not passed")]
    for kind in [*KINDS, INTERRUPT, "all"]:
        own = [outcome for outcome in outcomes if kind in (outcome.fault.kind, "all")]
        if not own:
            continue
        times = [outcome.seconds for outcome in own if outcome.seconds is not None and outcome.reached]
        rows.append(
            (
                kind,
                str(len(own)),
                str(sum(1 for outcome in own if outcome.restored != "no")),
                str(sum(outcome.restarts_under_calls for outcome in own)),
                f"{statistics.median(times):.1f}" if times else "-",
                f"{max(times):.1f}" if times else "-",
                str(sum(1 for outcome in own if outcome.findings)),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def readable(outcome: Outcome) -> str:
    """The timeline, in seconds from the fault, or from the begin where it did not happen."""
    lines = outcome.timeline
    zero = next((line["t"] for line in lines if line.get("event") == "FAULT"), lines[0]["t"] if lines else 0.0)
    text = []
    for line in lines:
        rest = {key: value for key, value in line.items() if key not in ("t", "who", "pid", "effect", "n", "event")}
        what = f"{line['effect']} #{line['n']}" if "effect" in line else str(line.get("event", ""))
        more = " ".join(f"{key}={json.dumps(value)}" for key, value in rest.items())
        text.append(f"{line['t'] - zero:+8.3f}  {line['who']:<10} {what} {more}"[:400])
    return "\n".join(text)
