"""Quick sweeps, one after the other, on the lab and on a real bridge: what they say, how far they agree. Needs root.

Each takes about 6 minutes, so `make bench` leaves this out. It can be stopped and started again with the same
DIRECTORY: sweeps that are there are counted, and only missing ones are run.

    quick_sweeps.py DIRECTORY [--lab 20] [--real 5] [--show]

The real bridge is that of $JVBTUNE_JVB_HOME. Printed at the end, for each kind of bridge: how many sweeps say that
212992 bytes are worse, false verdicts on settings that change nothing, the spread of the max packet rate, the advised
receive buffers, and each run's exported sysctl file. Exit code 1 if fewer than 19 of 20 say "worse", or if the
coefficient of variation is above 3 %.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

from jvbtune.errors import NoRecommendation
from jvbtune.export import export
from jvbtune.fit.compare import Verdict
from jvbtune.lab import Lab
from jvbtune.result import RunResult, result_of
from jvbtune.store import open_run

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "udp-buffers-quick.toml"
RMEM_MAX = "net.core.rmem_max"
LEAST_WORSE_RATIO = 19 / 20
MOST_VARIATION = 0.03


def main() -> int:
    parser = argparse.ArgumentParser(description="Quick sweeps, one after the other.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--lab", type=int, default=20, help="sweeps of the lab's own bridge")
    parser.add_argument("--real", type=int, default=5, help="sweeps of the bridge of $JVBTUNE_JVB_HOME")
    parser.add_argument("--show", action="store_true", help="sweep nothing, print what is there")
    wanted = parser.parse_args()
    real_home = os.environ.get("JVBTUNE_JVB_HOME")
    status = 0
    for kind, count, home in (("lab", wanted.lab, None), ("real", wanted.real, real_home)):
        directory: Path = wanted.directory / kind
        if kind == "real" and not home and not wanted.show:
            print("real: JVBTUNE_JVB_HOME is not set, so no real bridge was swept")
        elif not wanted.show:
            _sweep(directory, count, Path(home) if home else None)
        status |= _tell(kind, [result_of(open_run(str(path))) for path in _done(directory)])
    return status


def _done(directory: Path) -> list[Path]:
    return sorted(path.parent for path in directory.glob("*/result.json"))


def _sweep(directory: Path, count: int, home: Path | None) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if len(_done(directory)) >= count:
        return
    with Lab.up("sweeps", bridge_home=home) as lab:
        while (done := len(_done(directory))) < count:
            argv = [sys.executable, "-m", "jvbtune", "sweep", "--host", lab.name, str(EXPERIMENT)]
            argv += ["--inventory", str(lab.inventory), "--runs-dir", str(directory)]
            with open(directory / "log", "ab") as log:
                ended = subprocess.run(argv, stdout=log, stderr=log, check=False)
            print(f"{directory.name} {done + 1} of {count}: exit code {ended.returncode}", flush=True)
            if len(_done(directory)) == done:
                sys.exit(f"the sweep left no result; see {directory / 'log'}")


def _tell(kind: str, results: list[RunResult]) -> int:
    print(f"== {kind}: {len(results)} quick sweeps")
    if not results:
        return 0
    verdicts = {result.id: {one.name: one for one in result.settings} for result in results}
    small = [of_run[RMEM_MAX].verdict for of_run in verdicts.values() if RMEM_MAX in of_run]
    print(f"{RMEM_MAX} 212992: {_counted(small)}")
    others = Counter(
        f"{name} {one.verdict.value}"
        for of_run in verdicts.values()
        for name, one in of_run.items()
        if name != RMEM_MAX
    )
    print(f"other settings: {dict(others) or 'none swept'}")
    rates = [one.recommendation.max_packet_rate_pps for one in results if one.recommendation is not None]
    variation = statistics.stdev(rates) / statistics.mean(rates) if len(rates) > 1 else 0.0
    for result in results:
        found = result.recommendation
        rate = "none: " + "; ".join(str(reason) for reason in result.reasons)
        if found is not None:
            low, high = (end or 0.0 for end in found.interval_pps)
            rate = (
                f"{found.max_packet_rate_pps:.0f} pps ({low:.0f} to {high:.0f}), threshold "
                f"{found.load_threshold_pps:.0f}, limited by {found.binding_limit}"
            )
        advice = result.receive_buffer
        print(f"  {result.id}: {rate}; buffer {advice.rmem_max_bytes if advice else None}")
    print(f"max packet rate: {len(rates)} of {len(results)}, coefficient of variation {variation:.1%}")
    for result in results:
        try:
            files = export(result, "sysctl")
        except NoRecommendation as none:
            print(f"  {result.id}: nothing is exported: {none.message}")
            continue
        for name, text in files.items():
            lines = [line for line in text.splitlines() if line and not line.startswith("#")]
            print(f"  {result.id} {name}: {', '.join(lines) or 'sets nothing'}")
    worse = sum(verdict is Verdict.WORSE for verdict in small)
    return int(worse < LEAST_WORSE_RATIO * len(small) or variation > MOST_VARIATION)


def _counted(verdicts: list[Verdict]) -> str:
    counts = Counter(verdict.value for verdict in verdicts)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


if __name__ == "__main__":
    sys.exit(main())
