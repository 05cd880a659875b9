"""Folding perf script and reading a pair of large collapsed files, against single-threaded inferno.

inferno's own jobs stand nearest: ``inferno-collapse-perf`` folds the same text, ``inferno-diff-folded`` reads the same
pair (and writes it once more, but never looks into a stack). Each round runs both, one after the other, so that a
machine that is busy is busy for both; the ratio is of the fastest rounds. Times of a job are those of a process of its
own, with its start left out of ours: an interpreter and its imports are paid once a command, not once a file; memory is
the whole process's. inferno is built by cargo into ``.cache/inferno`` at the first call.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5
INFERNO = Path(".cache/inferno")
VERSION = "0.12.8"
LEAST_RATIO, MOST_MEMORY = 1.0, 2.0

OURS = """
import json, resource, sys, time
from jvbtune.flame.formats import read
begun, cpu = time.perf_counter(), time.process_time()
profiles = read(sys.argv[1:])
wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
print(json.dumps({"wall": wall, "cpu": cpu, "kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                  "total": sum(profile.total for profile in profiles)}))
"""


@dataclass
class Best:
    wall: float = float("inf")
    cpu: float = float("inf")
    kib: int = 0

    def __str__(self) -> str:
        return f"{self.wall:.2f} s ({self.cpu:.2f} s CPU, {self.kib >> 10} MiB)"

    def take(self, wall: float, cpu: float, kib: int) -> None:
        self.wall, self.cpu, self.kib = min(self.wall, wall), min(self.cpu, cpu), max(self.kib, kib)


def inferno() -> Path | None:
    """inferno's programs, built where they are not; None where there is no cargo."""
    if not (INFERNO / "bin/inferno-collapse-perf").exists():
        if shutil.which("cargo") is None:
            return None
        print("building inferno by cargo…", file=sys.stderr)
        subprocess.run(
            ["cargo", "install", "--quiet", "--locked", "--root", str(INFERNO), "--version", VERSION, "inferno"],
            check=True,
        )
    return INFERNO / "bin"


def run_peer(argv: list[str], best: Best) -> None:
    begun = os.times()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{argv[0]} failed with status {process.returncode}")
    best.take(os.times().elapsed - begun.elapsed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def run_ours(files: list[Path], best: Best, **environment: str) -> float:
    argv = [sys.executable, "-c", OURS, *map(str, files)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, **environment})
    told = json.loads(done.stdout)
    best.take(told["wall"], told["cpu"], told["kib"])
    return float(told["total"])


def total_of(files: list[Path]) -> float:
    """The sum of all weights, by the shortest program there is."""
    if files[0].suffix == ".txt":
        return sum(10101010.0 for line in files[0].open() if "cpu-clock:" in line)
    return sum(float(line.rpartition(" ")[2]) for file in files for line in file.open())


def main() -> int:
    programs = inferno()
    if programs is None:
        print("skipped: no cargo here, which builds inferno to compare with")
        return 0
    status = 0
    with tempfile.TemporaryDirectory(prefix="jvbtune-bench-") as directory:
        text, a, b = (Path(directory, name) for name in ("perf.txt", "a.collapsed", "b.collapsed"))
        # By a process of its own: a child's peak of memory begins at its parent's.
        make = "import sys, pathlib, flame_workload as w; text, a, b = map(pathlib.Path, sys.argv[1:]);"
        make += "w.write_perf_script(text); w.write_collapsed_pair(a, b)"
        subprocess.run([sys.executable, "-c", make, str(text), str(a), str(b)], check=True, cwd=Path(__file__).parent)
        jobs = (
            ("fold perf script", [text], ["inferno-collapse-perf", "-n", "1", str(text)]),
            ("read a pair of collapsed files", [a, b], ["inferno-diff-folded", str(a), str(b)]),
        )
        for name, files, (program, *arguments) in jobs:
            megabytes = sum(file.stat().st_size for file in files) / 1e6
            ours, python, peer = Best(), Best(), Best()
            expected = total_of(files)
            for _ in range(ROUNDS):
                run_peer([str(programs / program), *arguments], peer)
                totals = run_ours(files, ours), run_ours(files, python, JVBTUNE_NATIVE="0")
                if set(totals) != {expected}:
                    raise SystemExit(f"{name}: the total is not the input's")
            ratio, memory = peer.wall / ours.wall, ours.kib / peer.kib
            held = ratio >= LEAST_RATIO and memory <= MOST_MEMORY
            status |= not held
            print(f"{name}, {megabytes:.0f} MB: jvbtune {ours}, {program} {VERSION} {peer}")
            print(
                f"    {ratio:.2f} times as fast (at least {LEAST_RATIO:g}), {memory:.2f} times the memory "
                f"(at most {MOST_MEMORY:g}){'' if held else '   MISSED'}"
            )
            print(f"    where there is no C compiler: {python}, {peer.wall / python.wall:.2f} times as fast")
    return status


if __name__ == "__main__":
    sys.exit(main())
