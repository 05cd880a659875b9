"""Every shipped mix held for minutes, and whether all of it was as it should be. Needs root.

    bench_each_mix.py [--seconds 300] [--mix NAME ...]

On the lab's own bridge, or on the one in $JVBTUNE_JVB_HOME, warm. Small conferences are as many as make 8 kpps; of a
large one there is one. A row of the table has

    endpoints     that got media, of those that were asked for
    offered       packets a second that were sent, or that receivers got, and what the bridge's own queues counted
    lost          packets that did not arrive, of those that should have; what the bridge chose not to send is none
    as asked      of the videos that were asked for in a height, those that the bridge forwards in that height; a bridge
                  names layers by their place, the first of three 180, so of a single layer that it is forwarded
    bandwidth     the bridge's estimate for a receiver, the median, in Mbit/s
    rtt, loss     as the bridge has measured them from the clients' reports

Exit code 1 if an endpoint is silent, a packet is lost, the counts differ by more than 0.5 % (of audio alone 1 %: those
clients do not count the bridge's RTCP), or the generator was late.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Offered, open_generator
from jvbtune.load.mixfile import load_mix, shipped_mixes

PACKET_RATE_PPS = 8_000.0
LOOK_SECONDS, MOST_LOOKS = 6.0, 14
LATE_RATIO = 0.01
#: Clients of audio alone do not count the bridge's own RTCP, which it does.
MOST_APART, MOST_APART_OF_AUDIO = 0.005, 0.01


def main() -> int:
    parser = argparse.ArgumentParser(description="Every shipped mix held for minutes.")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--mix", action="append", choices=list(shipped_mixes()), help="only these")
    wanted = parser.parse_args()
    print("| mix | endpoints | offered, by the bridge (pps) | lost | as asked | bandwidth | rtt | loss |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    good = [hold(name, wanted.seconds) for name in wanted.mix or shipped_mixes()]
    return 0 if all(good) else 1


def hold(name: str, seconds: float) -> bool:
    home, mix = os.environ.get("JVBTUNE_JVB_HOME"), load_mix(name).mix()
    with Lab.up("bench-mix", bridge_home=Path(home) if home else None) as lab, connect(lab.entry()) as host:
        entry = lab.entry()
        with open_generator(entry, host) as generator:
            client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
            load = IntendedLoad.for_packet_rate(PACKET_RATE_PPS, mix)
            for _ in range(MOST_LOOKS):
                seen = generator.offer(load, LOOK_SECONDS, settle_seconds=2.0)
                if not seen.loss_ratio and (seen.delayed_50ms_ratio or 0.0) < LATE_RATIO:
                    break
            offered = generator.offer(load, seconds, edge=client.queue_stats)
            state = client.request("GET", "/debug?full=true")
            stats = client.request("GET", "/colibri/stats")
    return tell(name, load, offered, state, stats)


def tell(name: str, load: IntendedLoad, offered: Offered, state: dict[str, Any], stats: dict[str, Any]) -> bool:
    before, after = offered.extra["edges"]
    counts = bridge_counts(before, after, offered.duration_seconds, offered.relayed_in)
    asked = load.conferences * load.mix.participants
    silent = len(offered.extra["silent_endpoints"])
    lost = offered.expected_packets - offered.received_packets
    heights = list(forwarded(state))
    layers = load.mix.video.layers if load.mix.video else ()
    good = [got > 0 if len(layers) == 1 else got == wanted for wanted, got in heights]
    as_asked = f"{sum(good) / len(good):.1%}" if good else "–"
    estimates = [found["bweBps"] for one in endpoints(state) if "bweBps" in (found := allocator_of(one))]
    bandwidth = f"{statistics.median(estimates) / 1e6:.1f}" if estimates and load.mix.video else "–"
    rates = f"{offered.offered_pps:.0f}, {counts.packet_rate_pps:.0f}"
    print(
        f"| {name} | {offered.endpoints - silent} of {asked} | {rates} | {lost} of {offered.expected_packets} | "
        f"{as_asked} | {bandwidth} | {stats.get('rtt_aggregate', 0):.1f} ms | {stats.get('overall_loss', 0):.3%} |"
        + (f" generator: {'; '.join(offered.generator_limited_because)}" if offered.generator_limited else ""),
        flush=True,
    )
    apart = abs(counts.packet_rate_pps / offered.offered_pps - 1)
    most = MOST_APART if load.mix.meeting else MOST_APART_OF_AUDIO
    return offered.endpoints == asked and not (silent or lost or offered.generator_limited) and apart <= most


def endpoints(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for conference in state["conferences"].values() for one in conference["endpoints"].values()]


def allocator_of(endpoint: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = endpoint.get("bitrate_controller", {}).get("bitrate_allocator", {})
    return found


def forwarded(state: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """(height that was asked for, height that the bridge has chosen) of each video; the lab's bridge does not tell."""
    for one in endpoints(state):
        allocator = allocator_of(one)
        chosen = allocator.get("allocation", {}).get("allocations", {})
        for source, constraints in (allocator.get("allocationSettings") or {}).get("video_constraints", {}).items():
            wanted = (constraints if isinstance(constraints, dict) else json.loads(constraints))["maxHeight"]
            target = chosen.get(source, {}).get("target")
            yield wanted, target["height"] if target else 0


if __name__ == "__main__":
    sys.exit(main())
