"""What observe costs a host at its default interval, limit 1 % of a core, and the observer's memory. Needs root."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator

LIMIT_RATIO = 0.01
SECONDS = 60.0


def main() -> int:
    with Lab.up("bench") as lab, connect(lab.entry()) as host, open_generator(lab.entry(), host) as generator:
        generator.offer(IntendedLoad(10, Mix()), 1.0)
        argv = [sys.executable, "-m", "jvbtune", "observe", "--host", lab.name, "--inventory", str(lab.inventory)]
        process = subprocess.Popen([*argv, "--json"], stdout=subprocess.PIPE, text=True)
        time.sleep(SECONDS)
        memory = _resident_mib(process.pid)
        process.terminate()
        assert process.stdout is not None
        rows = [json.loads(line) for line in process.stdout]
        process.wait()
    first, last = rows[0], rows[-1]
    seconds = last["unix"] - first["unix"]
    ratio = (last["values"]["agent_cpu_s"] - first["values"]["agent_cpu_s"]) / seconds
    threads = max(row["values"]["process_threads"] for row in rows)
    print(f"agent at every 10 s, JVM with {threads:.0f} threads: {ratio:.3%} of a core, limit {LIMIT_RATIO:.0%}")
    print(f"its start: {first['values']['agent_cpu_s']:.2f} CPU seconds, once per connection")
    print(f"observer of one host: {memory} MiB")
    return 0 if ratio <= LIMIT_RATIO else 1


def _resident_mib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


if __name__ == "__main__":
    sys.exit(main())
