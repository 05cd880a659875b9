"""Quick sweeps, one after the other, on the lab and on a real bridge: what they say, how far they agree. Needs root.

A sweep takes 8 to 13 minutes on the lab and 15 to 20 on a real bridge, so `make bench` leaves this out. A row of each
is added to FILE, so that sweeps of several days and machines come together; runs that are cut off leave no row.

    quick_sweeps.py run FILE --directory DIRECTORY [--lab 20] [--real 5]
    quick_sweeps.py show benchmarks/quick-sweeps.ndjson

The real bridge is that of $JVBTUNE_JVB_HOME. Printed, for each kind of bridge: how many sweeps say that 212992 bytes
are worse, other verdicts that a metric differs, the spread of the max packet rate, and what each run's exported sysctl
file sets. Exit code 1 if fewer than 19 of 20 say "worse", or if the coefficient of variation is above 3 %.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from jvbtune.errors import NoRecommendation
from jvbtune.export import export
from jvbtune.fit.compare import Comparison
from jvbtune.lab import Lab
from jvbtune.result import RunResult, result_of
from jvbtune.store import open_run

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "udp-buffers-quick.toml"
SMALL = ("net.core.rmem_max", 212992)
LEAST_WORSE_RATIO = 19 / 20
MOST_VARIATION = 0.03


def main() -> int:
    parser = argparse.ArgumentParser(description="Quick sweeps, one after the other.")
    parser.add_argument("action", choices=["run", "show"])
    parser.add_argument("file", type=Path, help="rows, one JSON object for each sweep")
    parser.add_argument("--directory", type=Path, help="where the runs of `run` are kept")
    parser.add_argument("--lab", type=int, default=20, help="sweeps of the lab's own bridge")
    parser.add_argument("--real", type=int, default=5, help="sweeps of the bridge of $JVBTUNE_JVB_HOME")
    wanted = parser.parse_args()
    if wanted.action == "run":
        home = os.environ.get("JVBTUNE_JVB_HOME")
        if wanted.directory is None:
            parser.error("run needs --directory")
        if wanted.real and not home:
            parser.error("JVBTUNE_JVB_HOME is not set, so there is no real bridge: set it, or say --real 0")
        sweep("real", wanted.directory / "real", wanted.real, Path(home) if home else None, wanted.file)
        sweep("lab", wanted.directory / "lab", wanted.lab, None, wanted.file)
    rows = [json.loads(line) for line in wanted.file.read_text().splitlines()]
    return max([show(kind, [row for row in rows if row["bridge"] == kind]) for kind in ("lab", "real")])


def sweep(kind: str, directory: Path, count: int, home: Path | None, file: Path) -> None:
    if count == 0:
        return
    directory.mkdir(parents=True, exist_ok=True)
    with Lab.up("sweeps", bridge_home=home) as lab:
        for number in range(1, count + 1):
            there = set(directory.glob("*/result.json"))
            argv = [sys.executable, "-m", "jvbtune", "sweep", "--host", lab.name, str(EXPERIMENT)]
            argv += ["--inventory", str(lab.inventory), "--runs-dir", str(directory)]
            with open(directory / "log", "ab") as log:
                ended = subprocess.run(argv, stdout=log, stderr=log, check=False)
            print(f"{kind} {number} of {count}: exit code {ended.returncode}", flush=True)
            made = set(directory.glob("*/result.json")) - there
            if not made:
                sys.exit(f"the sweep left no result; see {directory / 'log'}")
            with file.open("a") as rows:
                rows.write(json.dumps(row_of(kind, made.pop().parent, ended.returncode)) + "\n")


def row_of(kind: str, directory: Path, exit_code: int) -> dict[str, Any]:
    """What a sweep found, as one row."""
    result = result_of(open_run(str(directory)))
    found, advice, machine = result.recommendation, result.receive_buffer, result.provenance
    return {
        "bridge": kind,
        "id": result.id,
        "exit_code": exit_code,
        "minutes": round((Path(directory / "result.json").stat().st_mtime - result.created_unix) / 60, 1),
        "machine": {"kernel": machine.kernel, "cpu": machine.cpu, "jvb": machine.jvb_version, "java": machine.java},
        "host_rmem_max": result.measured_with.get(SMALL[0]),
        "verdicts": {one.name: one.verdict.value for one in result.settings},
        "differs": [_differing(one.name, comparison) for one in result.settings for comparison in one.differing],
        "compared": sum(len(one.comparisons) for one in result.settings),
        "max_packet_rate_pps": found and round(found.max_packet_rate_pps),
        "interval_pps": found and [end and round(end) for end in found.interval_pps],
        "load_threshold_pps": found and round(found.load_threshold_pps),
        "binding_limit": found and found.binding_limit,
        "limits_pps": {fit.name: fit.estimate_pps and round(fit.estimate_pps) for fit in result.limit_fits},
        "reasons": [str(reason) for reason in result.reasons],
        "rmem_max_bytes": advice and advice.rmem_max_bytes,
        "sysctl": _sysctl(result),
        "trials": len(result.trials),
        "unused_trials": sum(not trial["valid"] for trial in result.trials),
    }


def _differing(name: str, one: Comparison) -> dict[str, Any]:
    return {
        "setting": name,
        "value": one.value,
        "metric": one.metric.value,
        "worse": one.worse,
        "dropped_packets": one.dropped_packets,
        "overflow": one.overflow is not None,
    }


def _sysctl(result: RunResult) -> list[str] | None:
    """The lines that the exported file sets; None: nothing is exported."""
    try:
        files = export(result, "sysctl")
    except NoRecommendation:
        return None
    return [line for text in files.values() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def show(kind: str, rows: list[dict[str, Any]]) -> int:
    print(f"== {kind}: {len(rows)} quick sweeps")
    if not rows:
        return 0
    worse = [row for row in rows if any(_of_small(one) and one["worse"] for one in row["differs"])]
    drops = [one for row in rows for one in row["differs"] if _of_small(one) and one["metric"] == "burst_drops"]
    others = Counter(
        f"{one['setting']} {one['value']}: {one['metric']} {'worse' if one['worse'] else 'better'}"
        for row in rows
        for one in row["differs"]
        if not _of_small(one)
    )
    compared = sum(row["compared"] for row in rows)
    print(f"{SMALL[0]} {SMALL[1]}: worse in {len(worse)} of {len(rows)}, by drops in bursts in {len(drops)}")
    print(f"other values that differ, of {compared} comparisons: {dict(others) or 'none'}")
    for row in rows:
        rate = "none: " + "; ".join(row["reasons"])
        if row["max_packet_rate_pps"] is not None:
            low, high = row["interval_pps"]
            rate = (
                f"{row['max_packet_rate_pps']} pps ({low} to {high}), threshold {row['load_threshold_pps']}, "
                f"limited by {row['binding_limit']}"
            )
        sysctl = "nothing is exported" if row["sysctl"] is None else ", ".join(row["sysctl"]) or "sets nothing"
        used = f"{row['trials'] - row['unused_trials']} of {row['trials']} trials"
        print(f"  {row['id']} ({row['minutes']} min, {used}): {rate}; sysctl file: {sysctl}")
    for limit in sorted({row["binding_limit"] for row in rows if row["binding_limit"]}):
        rates = [row["max_packet_rate_pps"] for row in rows if row["binding_limit"] == limit]
        print(f"max packet rate, limited by {limit}: {len(rates)} of {len(rows)} sweeps, {_spread(rates)}")
    cpu = [row["limits_pps"]["cpu"] for row in rows if row["limits_pps"].get("cpu")]
    print(f"packet rate at the CPU limit: {len(cpu)} of {len(rows)} sweeps, {_spread(cpu)}")
    rates = [row["max_packet_rate_pps"] for row in rows if row["max_packet_rate_pps"] is not None]
    variation = _variation(rates)
    return int(len(worse) < LEAST_WORSE_RATIO * len(rows) or variation > MOST_VARIATION)


def _of_small(one: dict[str, Any]) -> bool:
    return (one["setting"], one["value"]) == SMALL


def _variation(rates: list[float]) -> float:
    return statistics.stdev(rates) / statistics.mean(rates) if len(rates) > 1 else 0.0


def _spread(rates: list[float]) -> str:
    if not rates:
        return "none"
    return f"mean {statistics.mean(rates):.0f} pps, coefficient of variation {_variation(rates):.1%}"


if __name__ == "__main__":
    sys.exit(main())
