"""How long the generator takes to set up 2,000 endpoints against the lab, and what memory each takes. Needs root.

They say next to nothing, so that the bridge's media do not count: a packet a second in each conference of 20.
"""

from __future__ import annotations

import sys

import psutil

from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix
from jvbtune.load.generator import WorkerGenerator

ENDPOINTS = 2000
PARTICIPANTS = 20
LIMIT_SECONDS, LIMIT_KB = 30.0, 100.0


def main() -> int:
    mix = Mix(PARTICIPANTS, 1, stream_pps=1.0)
    with Lab.up("bench") as lab, connect(lab.entry()) as host, WorkerGenerator(lab.entry(), host) as generator:
        generator.offer(IntendedLoad(5, mix), 1.0)  # a bridge that has just been started is slow
        before = _resident(generator)
        conferences = ENDPOINTS // PARTICIPANTS
        offered = generator.offer(IntendedLoad(5 + conferences, mix), 1.0)
        seconds = float(offered.extra["set_up_seconds"])
        each = (_resident(generator) - before) / ENDPOINTS / 1000
    print(f"{ENDPOINTS} endpoints set up in {seconds:.1f} s, limit {LIMIT_SECONDS:.0f} s")
    print(f"memory of each: {each:.0f} kB, limit {LIMIT_KB:.0f} kB")
    return 0 if seconds <= LIMIT_SECONDS and each <= LIMIT_KB else 1


def _resident(generator: WorkerGenerator) -> int:
    assert generator.worker_pid is not None
    return int(psutil.Process(generator.worker_pid).memory_info().rss)


if __name__ == "__main__":
    sys.exit(main())
