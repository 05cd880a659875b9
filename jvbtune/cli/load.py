"""``jvbtune load``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from jvbtune.cli.common import (
    captures_dir_option,
    find_host,
    host_option,
    inventory_option,
    json_option,
    owner,
    print_json,
    say,
)


@click.command("load")
@host_option()
@click.option("--packet-rate", type=click.FloatRange(min=1), required=True, help="Packets per second, in + out.")
@click.option("--duration", type=click.FloatRange(1, 3600), required=True, help="Seconds.")
@click.option("--participants", type=click.IntRange(2, 500), default=5, show_default=True, help="Of a conference.")
@click.option("--senders", type=click.IntRange(min=1), default=3, show_default=True, help="Of a conference.")
@click.option("--burst-packets", type=click.IntRange(1, 1000), default=1, show_default=True, help="Above 1: bursts.")
@click.option("--profile", is_flag=True, help="Profile the generator itself with py-spy meanwhile.")
@captures_dir_option
@inventory_option
@json_option
def command(
    host_name: str,
    packet_rate: float,
    duration: float,
    participants: int,
    senders: int,
    burst_packets: int,
    profile: bool,
    captures_dir: Path | None,
    inventory: Path | None,
    as_json: bool,
) -> int:
    """Hold one load on a bridge, and report what was offered, lost and delayed.

    The load is whole conferences at 50 packets a second and sender; the packet rate is met to the nearest conference.
    The bridge is drained for the time, under the guard, and refused where participants are on it. Exit code 1 where the
    generator, not the bridge, was the limit.
    """
    if senders > participants:
        raise click.BadParameter(f"{senders} senders are more than {participants} participants", param_hint="--senders")
    from jvbtune.bridge.client import BridgeClient
    from jvbtune.bridge.counts import bridge_counts
    from jvbtune.flame.capture.pyspy import MIN_SECONDS, GeneratorProfile
    from jvbtune.flame.capture.store import captures_directory
    from jvbtune.hosts import connect
    from jvbtune.hosts.agent_client import AgentClient
    from jvbtune.load import IntendedLoad, Mix, open_generator
    from jvbtune.settings.tuning import Tuning
    from jvbtune.sweep.run import bridge_arguments

    if profile and duration < MIN_SECONDS:
        raise click.BadParameter(f"a profile needs {MIN_SECONDS:g} s and more", param_hint="--duration")
    entry = find_host(host_name, inventory)
    load = IntendedLoad.for_packet_rate(packet_rate, Mix(participants, senders, burst_packets=burst_packets))
    with connect(entry) as host, AgentClient(host) as agent:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        tuning = Tuning(
            agent, owner=owner(), run_id="load", lease_seconds=30, bridge=bridge_arguments(entry), settings=[]
        )
        with tuning, open_generator(entry, host) as generator:
            say(f"{load.conferences} conferences of {participants}: {load.packet_rate_pps:.0f} pps for {duration:g} s")
            profiled: list[GeneratorProfile] = []

            def edge() -> Any:
                counters = client.queue_stats()
                pid = generator.worker_pid
                if profile and not profiled and pid is not None:
                    profiled.append(GeneratorProfile(pid, seconds=duration, count=client.queue_stats))
                    profiled[0].start()
                return counters

            offered = generator.offer(load, duration, settle_seconds=2.0, edge=edge)
            for one in profiled:
                one.finish()
                directory = captures_directory(captures_dir)
                path = one.store(directory, host=entry.name, intended_pps=load.packet_rate_pps)
                say(f"the generator's profile: {path}")
    before, after = offered.extra.pop("edges")
    counts = bridge_counts(before, after, offered.duration_seconds)
    answer: dict[str, Any] = {
        "schema_version": 1,
        "host": host_name,
        **asdict(offered),
        "bridge_pps": counts.packet_rate_pps,
        "bridge_in_pps": counts.in_pps,
        "bridge_out_pps": counts.out_pps,
        "bridge_queue_drops": counts.dropped_packets,
    }
    if as_json:
        print_json(answer)
    else:
        delay = offered.delay_ms
        click.echo(f"intended   {offered.intended_pps:10.0f} pps")
        click.echo(f"offered    {offered.offered_pps:10.0f} pps")
        click.echo(f"bridge     {counts.packet_rate_pps:10.0f} pps  (in {counts.in_pps:.0f}, out {counts.out_pps:.0f})")
        lost = offered.expected_packets - offered.received_packets
        click.echo(f"loss       {offered.loss_ratio:10.2e}      ({lost} of {offered.expected_packets} packets)")
        if delay:
            click.echo(f"delay      p50 {delay['p50']:.1f} ms, p99 {delay['p99']:.1f} ms, max {delay['max']:.1f} ms")
        click.echo(f"generator  {offered.cpu_ratio:.0%} of a core, {offered.lateness_p99_ms:.1f} ms late (p99)")
    for reason in offered.generator_limited_because:
        say(f"the generator was the limit: {reason}")
    return 1 if offered.generator_limited else 0
