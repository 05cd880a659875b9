"""What a storm of joins does to calls that go on: 60 participants in 30 seconds. Needs root.

    bench_join_storm.py [--joins 60] [--seconds 30] [--packet-rate 8000]

Meetings of five hold the packet rate on a warm bridge, the lab's or the one in $JVBTUNE_JVB_HOME. A window without
joins comes first; then one of the same length in which twelve more meetings of five join, two participants a second, by
a generator of their own. Of both windows: what the calls that were there already lost, how late their packets were, and
the CPU of the bridge's process. The storm's packets are not in the calls' counts.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import Generator, IntendedLoad, Offered, open_generator
from jvbtune.load.mixfile import load_mix

PARTICIPANTS = 5
WARM_SECONDS, REST_SECONDS = 60.0, 4.0
MOST_LOSS_RATIO = 1e-4


@dataclass
class Storm:
    """The generator's account of the joins; ``error``: why they failed."""

    seconds: float = 0.0
    endpoints: int = 0
    error: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description="What a storm of joins does to calls that go on.")
    parser.add_argument("--joins", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--packet-rate", type=float, default=8_000.0)
    wanted = parser.parse_args()
    home = os.environ.get("JVBTUNE_JVB_HOME")
    mix = load_mix("meeting-5").mix()
    storm_load = IntendedLoad(
        wanted.joins // PARTICIPANTS, replace(mix, joins_per_second=wanted.joins / wanted.seconds)
    )
    window = wanted.seconds + REST_SECONDS
    with Lab.up("bench-storm", bridge_home=Path(home) if home else None) as lab, connect(lab.entry()) as host:
        entry, pid = lab.entry(), lab.bridge_pid()
        assert pid is not None
        with open_generator(entry, host) as calls, open_generator(entry, host) as joining:
            load = IntendedLoad.for_packet_rate(wanted.packet_rate, mix)
            calls.offer(load, WARM_SECONDS)
            calls.offer(IntendedLoad(load.conferences + 1, mix), 2.0)  # a join is warm too
            before = held(calls, load, window, pid)
            storm = Storm()

            def join() -> None:
                begun = time.monotonic()
                try:
                    offered = joining.offer(storm_load, 1.0, settle_seconds=0.0)
                    storm.seconds = float(offered.extra["set_up_seconds"])
                except Exception as error:
                    storm.error, storm.seconds = str(error), time.monotonic() - begun
                storm.endpoints = joining.endpoints

            thread = threading.Thread(target=join)
            thread.start()
            during = held(calls, load, window, pid)
            thread.join()
    show("before", *before)
    show("during", *during)
    print(f"{storm.endpoints} of {wanted.joins} participants joined in {storm.seconds:.1f} s {storm.error}".strip())
    late = before[0].generator_limited or during[0].generator_limited
    return 0 if storm.endpoints == wanted.joins and during[0].loss_ratio <= MOST_LOSS_RATIO and not late else 1


def held(calls: Generator, load: IntendedLoad, seconds: float, pid: int) -> tuple[Offered, float]:
    """A window of the calls, and the cores that the bridge's process took."""
    begun, used = time.monotonic(), sum(psutil.Process(pid).cpu_times()[:2])
    offered = calls.offer(load, seconds, settle_seconds=0.0)
    return offered, (sum(psutil.Process(pid).cpu_times()[:2]) - used) / (time.monotonic() - begun)


def show(name: str, offered: Offered, cores: float) -> None:
    delay = offered.delay_ms
    late = f"{offered.delayed_50ms_ratio or 0:.2%}"
    print(
        f"{name}: {offered.endpoints} participants, {offered.offered_pps:.0f} pps, lost {offered.loss_ratio:.1e}, "
        f"delay p50 {delay['p50']:.1f} p99 {delay['p99']:.1f} p99.9 {delay['p999']:.1f} ms, {late} later than 50 ms, "
        f"{cores:.0%} of a core"
        + (f"; generator: {'; '.join(offered.generator_limited_because)}" if offered.generator_limited else "")
    )


if __name__ == "__main__":
    sys.exit(main())
