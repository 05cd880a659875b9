"""From two large profiles to one page: reading, merging with significance, encoding to HTML.

    python benchmarks/bench_flame_compare.py

The pair is that of the other flame benchmarks: two captures of 96,000 stacks, 41 deep, 139 MB each, 2.0 million nodes
together; then the same as two sides of 6 slices. Each job is a process of its own, the fastest of several; memory is
its peak. Merging and encoding may take 4 s. Peers draw a picture of the same pair: ``inferno-diff-folded`` and
``inferno-flamegraph`` by one thread (built by cargo, see ``bench_flame_formats.py``; the picture has no table, no
frames of A alone, no test), with the narrow frames that it leaves out by itself, and without leaving any out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_flame_formats import inferno

LIMIT_SECONDS = 4.0
ROUNDS = 5

OURS = """
import json, resource, sys, time
from jvbtune.flame.compare import merge
from jvbtune.flame.formats import read
from jvbtune.flame.viewer import render_html
slices = int(sys.argv[3])
begun = time.perf_counter()
both = read(sys.argv[1:3])
was_read = time.perf_counter()
if slices > 1:
    import numpy as np
    from dataclasses import replace
    rng = np.random.default_rng(1)
    both = [[replace(p, counts=rng.poisson(p.counts).astype(float)) for _ in range(slices)] for p in both]
    sides, was_read = both, time.perf_counter()
else:
    sides = [[p] for p in both]
expected = [sum(p.total for p in side) for side in sides]
started = time.perf_counter()
tree = merge(sides)
merged = time.perf_counter()
page = render_html(tree, title="benchmark")
done = time.perf_counter()
assert tree.total[:, 0].tolist() == expected, "the total is not the input's"
print(json.dumps({"read": was_read - begun, "merge": merged - started, "encode": done - merged, "nodes": len(tree),
                  "mb": len(page.encode()) / 1e6, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}))
"""


def ours(a: Path, b: Path, slices: int) -> dict[str, float]:
    """The fastest round."""
    rounds = []
    for _ in range(ROUNDS):
        argv = [sys.executable, "-c", OURS, str(a), str(b), str(slices)]
        rounds.append(json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout))
    return min(rounds, key=lambda one: one["merge"] + one["encode"])


def peer(programs: Path, a: Path, b: Path, directory: Path, *options: str) -> tuple[float, float, int]:
    """(seconds, MB of the picture, peak MiB) of inferno, the faster of two rounds."""
    seconds, folded, picture = float("inf"), directory / "folded", directory / "diff.svg"
    peak = 0
    for _ in range(2):
        begun = time.perf_counter()
        with folded.open("wb") as out:
            subprocess.run([programs / "inferno-diff-folded", a, b], check=True, stdout=out)
        with picture.open("wb") as out:
            process = subprocess.Popen([programs / "inferno-flamegraph", *options, folded], stdout=out, stderr=out)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit("inferno-flamegraph failed")
        seconds, peak = min(seconds, time.perf_counter() - begun), usage.ru_maxrss >> 10
    return seconds, picture.stat().st_size / 1e6, peak


def main() -> int:
    missed = False
    with tempfile.TemporaryDirectory(prefix="jvbtune-bench-") as name:
        directory = Path(name)
        a, b = directory / "a.collapsed", directory / "b.collapsed"
        make = "import sys, pathlib, flame_workload as w; w.write_collapsed_pair(*map(pathlib.Path, sys.argv[1:]))"
        subprocess.run([sys.executable, "-c", make, a, b], check=True, cwd=Path(__file__).parent)
        for slices in (1, 6):
            best = ours(a, b, slices)
            spent = best["merge"] + best["encode"]
            held = spent <= LIMIT_SECONDS
            missed |= not held
            print(
                f"{slices} × 96,000 stacks a side, {best['nodes']:,} nodes: merge {best['merge']:.2f} s + encode "
                f"{best['encode']:.2f} s = {spent:.2f} s (at most {LIMIT_SECONDS:g}){'' if held else '   MISSED'}; "
                f"reading {best['read']:.2f} s before; {best['mb']:.1f} MB, {best['mib']:.0f} MiB of memory",
                flush=True,
            )
        programs = inferno()
        if programs is None:
            print("no cargo here, which builds inferno to compare with")
            return int(missed)
        for text, options in (("as it is", ()), ("no frame left out", ("--minwidth", "0"))):
            seconds, megabytes, peak = peer(programs, a, b, directory, *options)
            print(f"inferno, {text}: {seconds:.2f} s with reading, {megabytes:.1f} MB, {peak} MiB", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
