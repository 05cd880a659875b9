"""Runs one target in a process of its own, with bounds of CPU time and memory, and guided by the lines it reaches.

An input that reaches a new line of jvbtune is kept and changed further. A finding is an input after which the target
raised something that it may not, took over ``most_cpu_seconds``, or needed over ``MOST_MEMORY_BYTES`` more than before.
A process that ends (a fault in C code) or hangs leaves the input that it was at.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = str(ROOT / "jvbtune") + os.sep
MOST_SECONDS = 60.0
MOST_MEMORY_BYTES = 192 << 20
#: Of the address space, so that a blow-up is a MemoryError and not the machine's.
ADDRESS_SPACE_BYTES = 1536 << 20
ANY = 10**9


@dataclass
class Report:
    """What became of a target. ``findings``: where -> (what, the input's file)."""

    target: str
    executions: int = 0
    seconds: float = 0.0
    seeds: int = 0
    kept: int = 0  #: inputs that reached new lines
    lines: int = 0  #: of jvbtune, reached
    findings: dict[str, list[str]] = field(default_factory=dict)


class Hang(BaseException):
    """No ``except Exception`` takes it."""


class Lines:
    """The lines of jvbtune that were reached, by ``sys.settrace``: it costs a factor, so every second input goes
    without it."""

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int]] = set()
        self._ours: dict[CodeType, bool] = {}

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        ours = self._ours.get(code)
        if ours is None:
            ours = self._ours[code] = code.co_filename.startswith(PACKAGE)
        return self._line if ours else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.seen.add((frame.f_code, frame.f_lineno))
        return self._line

    def during(self, run: Callable[[], Any]) -> int:
        """How many lines were new."""
        before = len(self.seen)
        threading.settrace(self._call)
        sys.settrace(self._call)
        try:
            run()
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
        return len(self.seen) - before


def inputs(seeds: list[bytes], tokens: tuple[bytes, ...], rng: random.Random) -> Iterator[bytes]:
    """The seeds, then mutations without end; ``seeds`` may grow in the meantime, and the newest come more often."""
    from tests.fuzz.mutate import mutate

    yield from list(seeds)
    while True:
        at = rng.choice((rng.randrange(len(seeds)), max(0, len(seeds) - 1 - rng.randrange(20))))
        yield mutate(seeds[at], seeds, tokens, rng)


def fuzz(name: str, *, executions: int, seconds: float, seed: int, guided: bool, state: Path) -> Report:
    """In this process. What it is at, and what it finds, is below ``state``."""
    from tests.fuzz.harm import HARM
    from tests.fuzz.targets import TARGETS

    target, rng, lines = {**TARGETS, **HARM}[name], random.Random(f"{name} {seed}"), Lines()
    seeds = target.corpus()
    report = Report(name, seeds=len(seeds))
    current = state / "current"
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="jvbtune-fuzz-", dir=_memory()) as scratch:
        for data in inputs(seeds, target.tokens, rng):
            if report.executions >= executions or time.monotonic() - begun >= seconds:
                break
            current.write_bytes(data)
            new = 0

            def run(data: bytes = data) -> None:
                target.run(data, Path(scratch))

            traced = guided and (report.executions < report.seeds or rng.random() < 0.5)
            before = _peak_bytes()
            problem = None
            try:
                _clocks(target.most_cpu_seconds * (5 if traced else 1))
                if traced:
                    new = lines.during(run)
                else:
                    run()
            except target.expected:
                pass
            except Hang:
                problem = ("hang", f"over {target.most_cpu_seconds:g} s of CPU\n{_hung_at}")
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                problem = (_where(error), traceback.format_exc())
            finally:
                _clocks(0)
            grown = _peak_bytes() - before
            if problem is None and grown > MOST_MEMORY_BYTES:
                problem = ("memory", f"{grown >> 20} MiB for {len(data)} bytes")
            report.executions += 1
            if problem is not None:
                note(report, state, *problem, data)
            elif new and report.executions > report.seeds:
                report.kept += 1
                seeds.append(data)
                (state / f"new-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
    report.seconds, report.lines = time.monotonic() - begun, len(lines.seen)
    return report


def note(report: Report, state: Path, where: str, what: str, data: bytes) -> None:
    if where not in report.findings:
        path = state / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        report.findings[where] = [what, str(path)]


def _bound() -> None:
    import tests.fuzz.targets  # noqa: F401  what is loaded once is not the inputs'

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def raise_hang(number: int, frame: FrameType | None) -> None:
        global _hung_at
        _hung_at = "".join(traceback.format_stack(frame)[-12:])
        raise Hang

    signal.signal(signal.SIGPROF, raise_hang)
    signal.signal(signal.SIGALRM, raise_hang)


_hung_at = ""


def _clocks(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS if seconds else 0)


def _where(error: BaseException) -> str:
    """The kind of the error and the last line of jvbtune that it came by."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(PACKAGE)]
    place = f"{frames[-1].filename[len(PACKAGE) :]}:{frames[-1].lineno}" if frames else "harness"
    return f"{type(error).__name__} in {place}"


def _peak_bytes() -> int:
    """The most that this process has had in memory. Not ``ru_maxrss``: a process inherits its parent's, so that what
    it needs itself is not seen below that (seen where the tests' process was large)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def run_targets(
    executions: dict[str, int], *, seconds: float = ANY, seed: int, guided: bool, state: Path
) -> list[Report]:
    """One after the other in a process of its own, which may die: then the last report has the input that it was at.

    ``executions``: by target; ``seconds``: for each of them.
    """
    state.mkdir(parents=True, exist_ok=True)
    arguments = {"executions": executions, "seconds": seconds, "seed": seed, "guided": guided}
    argv = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.engine", json.dumps(arguments), str(state)]
    (state / "reports").write_text("")
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    begun = time.monotonic()
    with open(state / "output", "wb") as output:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=output, stderr=output, env=environment)
        try:
            status: int | None = process.wait(min(seconds * len(executions), 36_000) + 2 * MOST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = None
    reports = [Report(**json.loads(line)) for line in (state / "reports").read_text().splitlines()]
    if status != 0:
        report = Report([*executions, "harness"][len(reports)], seconds=time.monotonic() - begun)
        said = (state / "output").read_text(errors="replace")[-3000:]
        what = "no end" if status is None else f"the process ended with status {status}"
        current = state / "current"
        note(report, state, what, said, current.read_bytes() if current.exists() else b"")
        reports.append(report)
    return reports


def main() -> None:
    arguments, state = json.loads(sys.argv[1]), Path(sys.argv[2])
    _bound()
    for name, executions in arguments.pop("executions").items():
        report = fuzz(name, executions=executions, **arguments, state=state)
        with (state / "reports").open("a") as reports:
            reports.write(json.dumps(asdict(report)) + "\n")


if __name__ == "__main__":
    main()
