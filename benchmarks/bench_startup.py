"""Start-up: `jvbtune --version` over a bare interpreter; limit 150 ms."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

LIMIT_MS = 150.0
ROUNDS = 20


def _median_ms(argv: list[str]) -> float:
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def main() -> int:
    bare = _median_ms([sys.executable, "-c", "pass"])
    version = _median_ms([sys.executable, "-m", "jvbtune", "--version"])
    print(f"bare interpreter    {bare:7.1f} ms")
    print(f"jvbtune --version   {version:7.1f} ms   over it {version - bare:.1f} ms, limit {LIMIT_MS:g} ms")
    return 0 if version - bare <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
