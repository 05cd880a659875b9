"""Time and memory of ``jvbtune fit --from csv`` over size; fails above 60 ms a host, or 1 GiB.

python benchmarks/bench_fit.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from jvbtune.fit.simulator import Design, SimulatedHost, simulate

HEADER = "host,block,step,in_pps,out_pps,relay_pps,cpu_cores,cores,loss_ratio,delay_p99_ms,duration_s"
COLUMNS = HEADER.split(",")
RATES = tuple(6_000.0 * level for level in range(1, 11))
LIMIT_MS_PER_HOST = 60.0
LIMIT_MIB = 1024


def main() -> int:
    one = simulate(SimulatedHost(), Design(RATES, blocks=10), seed=1).select(COLUMNS)
    failed = False
    print("hosts    rows   seconds   ms/host   peak MiB")
    for hosts in (1, 30, 300):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "own.csv"
            pl.concat([one.with_columns(host=pl.lit(f"host-{i:03d}")) for i in range(hosts)]).write_csv(path)
            started = time.perf_counter()
            command = [sys.executable, "-m", "jvbtune", "fit", "--from", "csv", str(path), "--json"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seconds = time.perf_counter() - started
        mebibytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        each = seconds / hosts * 1000
        print(f"{hosts:5d} {hosts * one.height:7d} {seconds:9.2f} {each:9.1f} {mebibytes:10.0f}")
        failed |= mebibytes > LIMIT_MIB or (hosts >= 300 and each > LIMIT_MS_PER_HOST)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
