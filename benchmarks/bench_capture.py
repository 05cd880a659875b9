"""What profiling costs a bridge: its CPU per packet with each engine's profiler on over off. Needs root; 5 minutes.

Windows with and without take turns under one steady load; the interval is Student's over the logarithms of their pairs.
JFR's first start, the most expensive one, happens before the windows. Exit code 1 where a profiler is shown to cost
more than the limit, at its lower bound.

    bench_capture.py [PACKET_RATE_PPS [PAIRS [SECONDS]]]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from jvbtune.capture import Cost, Request, capture
from jvbtune.errors import CaptureError
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import bridge_arguments
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator
from jvbtune.protocol.agent import BridgeQuery

LIMIT_RATIO = 1.10
WARM_UP_SECONDS = 20.0


def main(rate_pps: float = 20_000, pairs: int = 10, seconds: float = 3.0) -> int:
    load = IntendedLoad.for_packet_rate(rate_pps, Mix(10, 6, 50.0))
    worst = 0.0
    with Lab.up("bench") as lab, connect(lab.entry()) as host, AgentClient(host) as agent:
        bridge = bridge_arguments(lab.entry())
        with open_generator(lab.entry(), host) as generator, tempfile.TemporaryDirectory() as directory:
            generator.offer(load, WARM_UP_SECONDS)
            for engine in ("async-profiler", "perf", "jfr"):
                try:
                    if engine == "jfr":
                        _take(agent, Request(engine="jfr", slices=1, slice_seconds=12.0), directory, bridge)
                    request = Request(engine=engine, slices=pairs, slice_seconds=seconds, measure_cost=True)
                    document = _take(agent, request, directory, bridge)
                except CaptureError as error:
                    print(f"{engine:15} not measured: {error.message}")
                    continue
                cost = Cost.from_json(document["cost"])
                rate = sum(one["packets"] for one in document["slices"]) / (pairs * seconds)
                print(f"{engine:15} {cost}, at {rate:.0f} pps, {request.interval_ns / 1e6:g} ms between samples")
                worst = max(worst, cost.low)
    print(f"limit: {LIMIT_RATIO - 1:+.0%}, at the lower end of the interval")
    return 0 if worst <= LIMIT_RATIO else 1


def _take(agent: AgentClient, request: Request, directory: str, bridge: BridgeQuery) -> dict[str, object]:
    (path,) = capture(agent, request, Path(directory), host="bench", bridge=bridge)
    document: dict[str, object] = json.loads((path / "capture.json").read_text())
    return document


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(
        main(
            *(float(value) for value in arguments[:1]),
            *(int(value) for value in arguments[1:2]),
            *(float(value) for value in arguments[2:3]),
        )
    )
