"""What a storm of joins does to calls that go on: 60 participants in 30 seconds. Needs root.

    bench_join_storm.py [--joins 60] [--seconds 30] [--packet-rate 8000] [--storms 2]

Meetings of five hold the packet rate on a warm bridge, the lab's or the one in $JVBTUNE_JVB_HOME. A window without
joins comes first; then one of the same length in which twelve more meetings of five join, two participants a second, by
a generator of their own; they leave, and join once more: the first storm of a JVM's life has code compiled that later
ones do not. Of each window: what the calls that were there already lost, how late their packets were, and the CPU of
the bridge's process and of its compilers. The storm's packets are not in the calls' counts.
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

from jvbtune.agent import procfs
from jvbtune.agent.jvmthreads import COMPILER, kind_of
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

    def join(self, joining: Generator, load: IntendedLoad) -> None:
        begun = time.monotonic()
        try:
            offered = joining.offer(load, 1.0, settle_seconds=0.0)
            self.seconds = float(offered.extra["set_up_seconds"])
        except Exception as error:
            self.error, self.seconds = str(error), time.monotonic() - begun
        self.endpoints = joining.endpoints


def main() -> int:
    parser = argparse.ArgumentParser(description="What a storm of joins does to calls that go on.")
    parser.add_argument("--joins", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--packet-rate", type=float, default=8_000.0)
    parser.add_argument("--storms", type=int, default=2)
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
            show("before", before)
            good = not before.offered.generator_limited
            for number in range(wanted.storms):
                storm = Storm()
                thread = threading.Thread(target=storm.join, args=(joining, storm_load))
                thread.start()
                during = held(calls, load, window, pid)
                thread.join()
                show(f"storm {number + 1}", during)
                joined = f"{storm.endpoints} of {wanted.joins} participants joined in {storm.seconds:.1f} s"
                print(f"  {joined} {storm.error}".rstrip())
                good &= storm.endpoints == wanted.joins and not during.offered.generator_limited
                good &= during.offered.loss_ratio <= MOST_LOSS_RATIO
                joining.stop()
                time.sleep(REST_SECONDS)
    return 0 if good else 1


@dataclass(frozen=True)
class Held:
    """A window of the calls, and the cores that the bridge's process and its compilers took."""

    offered: Offered
    cores: float
    compiler_cores: float


def held(calls: Generator, load: IntendedLoad, seconds: float, pid: int) -> Held:
    begun, used, compiled = time.monotonic(), cpu_seconds(pid), compiler_seconds(pid)
    offered = calls.offer(load, seconds, settle_seconds=0.0)
    lasted = time.monotonic() - begun
    return Held(offered, (cpu_seconds(pid) - used) / lasted, (compiler_seconds(pid) - compiled) / lasted)


def cpu_seconds(pid: int) -> float:
    return sum(psutil.Process(pid).cpu_times()[:2])


def compiler_seconds(pid: int) -> float:
    """Of the threads that HotSpot has now: one that ends takes its seconds with it."""
    found = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = procfs.read_text(str(task / "stat"))
        if text is not None and kind_of((stat := procfs.parse_stat(text)).name) == COMPILER:
            found += stat.user_s + stat.sys_s
    return found


def show(name: str, one: Held) -> None:
    offered = one.offered
    delay = offered.delay_ms
    late = f"{offered.delayed_50ms_ratio or 0:.2%}"
    print(
        f"{name}: {offered.endpoints} participants, {offered.offered_pps:.0f} pps, lost {offered.loss_ratio:.1e}, "
        f"delay p50 {delay['p50']:.1f} p99 {delay['p99']:.1f} p99.9 {delay['p999']:.1f} ms, {late} later than 50 ms, "
        f"{one.cores:.0%} of a core, of it compilers {one.compiler_cores:.0%}"
        + (f"; generator: {'; '.join(offered.generator_limited_because)}" if offered.generator_limited else "")
    )


if __name__ == "__main__":
    sys.exit(main())
