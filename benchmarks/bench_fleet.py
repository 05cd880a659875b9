"""What a fleet costs its controller: CPU and memory for each host, for 1 to 50 hosts that stream samples at once.

    python benchmarks/bench_fleet.py [--seconds 20] [--hosts 1,10,50]

Each host is a light one (``tests.fleet.light``): namespaces of its own, a real sshd, the real agent, which samples once
a second. Compared are a process for each host, as ``jvbtune.fleet`` has it, and threads in one process. The CPU is that
of the controller with all its processes, in the time in which they only stream; the memory is their PSS, which shares
out what they have in common. Needs root.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from jvbtune.fleet.nursery import LOOKING, MEASURING, Message, Nursery
from jvbtune.fleet.run import Fleet, Member, Rules
from jvbtune.inventory import HostEntry, load_inventory
from tests.fleet.jobs import Streams
from tests.fleet.light import LightFleet, light_hosts

PROCESSES, FOR_SWEEPS, THREADS = "processes", "processes, loaded for sweeps", "threads of one process"
#: Hosts connect one after the other; all must be there by then.
APART_SECONDS, CONNECT_SECONDS = 0.8, 120.0
MODELS = (PROCESSES, FOR_SWEEPS, THREADS)


class Meter:
    """Counts hosts that stream; when all do, measures for so long, and then lets them stop."""

    def __init__(self, hosts: int, seconds: float, stop: Path) -> None:
        self._hosts, self._seconds, self._stop = hosts, seconds, stop
        self._streaming = threading.Semaphore(0)
        self.figures: dict[str, float] = {}
        self._thread = threading.Thread(target=self._measure)
        self._thread.start()

    def streams(self) -> None:
        self._streaming.release()

    def join(self) -> None:
        self._thread.join()

    def _measure(self) -> None:
        deadline = time.monotonic() + CONNECT_SECONDS
        for _ in range(self._hosts):
            self._streaming.acquire(timeout=max(0.0, deadline - time.monotonic()))
        me = psutil.Process()
        processes = [me, *me.children(recursive=True)]
        self.figures["connect"] = _cpu_seconds(processes)
        self.figures["pss"] = sum(one.memory_full_info().pss for one in processes) / 2**20
        before, at = _cpu_seconds(processes), time.monotonic()
        time.sleep(self._seconds)
        self.figures["stream"] = (_cpu_seconds(processes) - before) / (time.monotonic() - at)
        self._stop.touch()


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(one.cpu_times().user + one.cpu_times().system for one in processes)


def controller(entries: list[HostEntry], seconds: float, model: str, stop: Path) -> None:
    """In a process of its own: what is measured is this process and its children. Prints one line of figures."""
    meter = Meter(len(entries), seconds, stop)
    if model == THREADS:
        results = _threads(entries, stop, meter)
    else:

        def observe(event: str, data: Mapping[str, Any]) -> None:
            if event == "phase":
                meter.streams()

        with Nursery(MEASURING if model == FOR_SWEEPS else LOOKING) as nursery:
            members = [Member(one, Streams(one, stop, at * APART_SECONDS)) for at, one in enumerate(entries)]
            fleet = Fleet("stream", members, Rules(len(entries)), observe)
            fleet.run(nursery)
        results = [dict(one.data) for one in fleet.ordered()]
    meter.join()
    hosts, found = len(entries), meter.figures
    whole = sum(bool(one.get("whole")) for one in results)
    late = sum(one.get("samples") == 0 for one in results)
    gaps = sum(one.get("samples", 0) > 0 and not one["whole"] for one in results)
    ends = f"{whole} complete, {gaps} with a gap, {late} late, {hosts - whole - gaps - late} not connected"
    print(
        f"{found['connect'] / hosts:.2f} s | {100 * found['stream'] / hosts:.2f} % | {found['pss']:.0f} MiB | "
        f"{found['pss'] / hosts:.1f} MiB | {ends} |"
    )


def _threads(entries: list[HostEntry], stop: Path, meter: Meter) -> list[Message]:
    """The other model: every host in a thread of one process."""
    results: list[Message] = []

    def stream(at: int, entry: HostEntry) -> None:
        job = Streams(entry, stop, at * APART_SECONDS)
        results.append(job(lambda event, **data: meter.streams())["data"])

    threads = [threading.Thread(target=stream, args=each) for each in enumerate(entries)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def run(fleet: LightFleet, hosts: int, seconds: float, model: str) -> None:
    argv = [sys.executable, __file__, "--controller", model, "--inventory", str(fleet.inventory)]
    done = subprocess.run(
        [*argv, "--hosts", str(hosts), "--seconds", str(seconds)], capture_output=True, text=True, check=False
    )
    print(f"| {model} | {hosts} | {done.stdout.strip() or done.stderr[-600:]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--hosts", default="1,10,50")
    parser.add_argument("--models", default=",".join(str(at) for at in range(len(MODELS))), help="numbers of MODELS")
    parser.add_argument("--controller", help=argparse.SUPPRESS)
    parser.add_argument("--inventory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    counts = [int(text) for text in arguments.hosts.split(",")]
    if arguments.controller:
        entries = list(load_inventory(arguments.inventory).hosts.values())[: counts[0]]
        stop = arguments.inventory.parent / f"stop-{os.getpid()}"
        controller(entries, arguments.seconds, arguments.controller, stop)
        return
    print("| model | hosts | CPU to connect, each | CPU to stream, each | memory of all | memory, each | samples |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |", flush=True)
    with tempfile.TemporaryDirectory() as directory, light_hosts(Path(directory), [{}] * max(counts)) as fleet:
        for model in (MODELS[int(at)] for at in arguments.models.split(",")):
            for hosts in counts:
                run(fleet, hosts, arguments.seconds, model)


if __name__ == "__main__":
    main()
