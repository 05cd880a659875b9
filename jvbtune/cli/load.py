"""``jvbtune load``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvbtune.cli.common import (
    AUDIO_SHAPE,
    DEFAULT_MIX,
    Number,
    PacketRate,
    captures_dir_option,
    conference_options,
    find_host,
    host_option,
    inventory_option,
    json_option,
    mix_asked_for,
    mix_option,
    owner,
    print_json,
    put,
    say,
)
from jvbtune.text import counted

if TYPE_CHECKING:
    from jvbtune.hosts.base import Host
    from jvbtune.inventory import HostEntry
    from jvbtune.load import Generator, IntendedLoad, Mix
    from jvbtune.settings.tuning import Tuning

#: A look at what a meeting causes: bandwidth estimates need seconds to rise.
PILOT_SECONDS, PILOT_SETTLE_SECONDS = 3.0, 10.0


@click.command("load")
@host_option(required=False)
@click.option("--packet-rate", type=PacketRate(1), help="Packets per second, received + sent by the bridge.")
@click.option("--duration", type=Number(1, 3600), help="Length, in seconds.")
@click.option(
    "--calibrate",
    is_flag=True,
    help="Measure how much load this machine can make, without a bridge, and store it.",
)
@click.option(
    "--compare",
    type=click.Choice(["browser"]),
    help="Hold one conference with jvbtune's clients, then the same with browsers, and compare their packets.",
)
@click.option("--grid", metavar="URL", help="Selenium Grid that has the browsers. Default: Chromium of this machine.")
@conference_options
@click.option(
    "--burst-packets",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help=f"Packets that each sender sends at once. 1: a steady stream. {AUDIO_SHAPE}",
)
@mix_option(DEFAULT_MIX)
@click.option("--profile", is_flag=True, help="Also profile jvbtune's own generator with py-spy.")
@captures_dir_option
@inventory_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    host_name: str | None,
    packet_rate: float | None,
    duration: float | None,
    calibrate: bool,
    compare: str | None,
    grid: str | None,
    participants: int,
    senders: int,
    burst_packets: int,
    mix_name: str | None,
    profile: bool,
    captures_dir: Path | None,
    inventory: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Hold one load on a bridge, and report what was offered, lost and delayed.

    The load is whole conferences, so the packet rate is met to the nearest one. With video the bridge decides how much
    it forwards: jvbtune predicts that packet rate, looks at what one conference really causes, and corrects their
    number once.

    jvbtune refuses a bridge with participants. It drains the bridge while the load lasts, and a guard on the host
    undoes that if jvbtune dies.

    Exit code 1 means that the generator, not the bridge, was the limit.

    With --calibrate, jvbtune loads no bridge. It measures the highest packet rate that this machine sends and receives
    on schedule, against a process of its own, and stores it. From then on load, sweep and capacity refuse higher packet
    rates of the same mix. --host is then optional: it says which cores the generator uses.

    With --compare browser, the load is one conference, first of jvbtune's clients and then of Chromium. The table has
    the packets that either sends and receives, by kind of stream. Exit code 1 means that a kind differs by more than
    10 %, or that the browsers lacked CPU. The mix needs cameras of VP8. It takes the extra `jvbtune[browser]`.

    \b
    Examples:
      jvbtune load --host jvb-eu-1 --packet-rate 20000 --duration 30
      jvbtune load --host jvb-eu-1 --packet-rate 20000 --duration 60 --mix webinar
      jvbtune load --calibrate
      jvbtune load --host jvb-eu-1 --compare browser --mix one-to-one --duration 30
    """
    shape = {"participants": participants, "senders": senders, "burst_packets": burst_packets}
    mix = mix_asked_for(context, mix_name, shape).mix(burst_packets)
    if calibrate:
        for name in ("packet_rate", "duration", "burst_packets", "profile", "compare"):
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--calibrate cannot be combined with --{name.replace('_', '-')}")
        return _calibrate(host_name, inventory, mix, as_json)
    if compare is not None:
        return _compare(context, host_name, inventory, mix, duration, grid, as_json)
    if grid is not None:
        raise click.UsageError("--grid goes with --compare browser")
    if host_name is None or packet_rate is None or duration is None:
        options = {"--host": host_name, "--packet-rate": packet_rate, "--duration": duration}
        raise click.UsageError(f"Missing option '{next(name for name, value in options.items() if value is None)}'.")
    from jvbtune.bridge.client import BridgeClient
    from jvbtune.bridge.counts import bridge_counts
    from jvbtune.capture.pyspy import MIN_SECONDS, GeneratorProfile
    from jvbtune.capture.store import captures_directory
    from jvbtune.errors import BridgeError, LoadError
    from jvbtune.load import IntendedLoad
    from jvbtune.load.calibration import refuse_above
    from jvbtune.sweep.check import look_at_generator

    if profile and duration < MIN_SECONDS:
        raise click.BadParameter(f"a profile needs at least {MIN_SECONDS:g} s", param_hint="--duration")
    entry = find_host(host_name, inventory)
    if profile and entry.generator.elsewhere is not None:
        raise click.BadParameter(f"the load on {entry.name} is not made by this machine", param_hint="--profile")
    load = IntendedLoad.for_packet_rate(packet_rate, mix)
    refuse_above(entry, load)
    if (fault := look_at_generator(entry)).state == "problem":
        raise LoadError(fault.text, hint=fault.hint)
    with _drained(entry, relays=mix.relayed is not None) as (host, _, generator):
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        if mix.meeting:
            load = _corrected(generator, load, packet_rate)
        about = "about " if mix.meeting else ""
        conferences = counted(load.conferences, "conference")
        say(f"{conferences} of {mix.participants}: {about}{load.packet_rate_pps:.0f} pps for {duration:g} s")
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
    try:
        counts = bridge_counts(before, after, offered.duration_seconds, offered.relayed_in)
    except ValueError as error:
        raise BridgeError(f"{host_name}: the bridge's packets cannot be counted: {error}") from error
    answer: dict[str, Any] = {
        "schema_version": 1,
        "host": host_name,
        **asdict(offered),
        "bridge_pps": counts.packet_rate_pps,
        "bridge_in_pps": counts.in_pps,
        "bridge_out_pps": counts.out_pps,
        "bridge_relay_in_pps": counts.relay_in_pps,
        "bridge_relay_out_pps": counts.relay_out_pps,
        "bridge_queue_drops": counts.dropped_packets,
    }
    if as_json:
        print_json(answer)
    else:
        delay = offered.delay_ms
        put(f"intended   {offered.intended_pps:10.0f} pps")
        put(f"offered    {offered.offered_pps:10.0f} pps")
        ways = f"in {counts.in_pps:.0f}, out {counts.out_pps:.0f}"
        if counts.relay_pps:
            ways += f", relayed in {counts.relay_in_pps:.0f} and out {counts.relay_out_pps:.0f}"
        put(f"bridge     {counts.packet_rate_pps:10.0f} pps  ({ways})")
        lost = offered.expected_packets - offered.received_packets
        put(f"loss       {offered.loss_ratio:10.2e}      ({lost} of {offered.expected_packets} packets)")
        if delay:
            put(f"delay      p50 {delay['p50']:.1f} ms, p99 {delay['p99']:.1f} ms, max {delay['max']:.1f} ms")
        for kind, counts in offered.extra["kinds"].items():
            text = ", ".join(f"{name} {counts[name]}" for name in ("sent", "expected", "received"))
            put(f"{kind:<10} {text}")
        for share in offered.extra.get("hosts") or ():
            put(
                f"{share['host']:<10} {share['offered_pps']:10.0f} pps  ({share['cpu_ratio']:.0%} of a core, clock "
                f"{share['clock_offset_ms']:+.1f} ± {share['clock_uncertainty_ms']:.1f} ms)"
            )
        put(f"generator  {offered.cpu_ratio:.0%} of a core, {offered.lateness_p99_ms:.1f} ms late (p99)")
    for reason in offered.generator_limited_because:
        say(f"the generator was the limit: {reason}")
    return 1 if offered.generator_limited else 0


def _compare(
    context: click.Context,
    host_name: str | None,
    inventory: tuple[Path, ...],
    mix: Mix,
    duration: float | None,
    grid: str | None,
    as_json: bool,
) -> int:
    """One conference of clients, and one of browsers."""
    from jvbtune.load.browser.compare import compare, refuse
    from jvbtune.load.browser.conference import SETTLE_SECONDS

    for name in ("packet_rate", "burst_packets", "profile"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--compare cannot be combined with --{name.replace('_', '-')}")
    if host_name is None or duration is None:
        raise click.UsageError(f"Missing option '{'--host' if host_name is None else '--duration'}'.")
    refuse(mix)
    entry = find_host(host_name, inventory)
    say(f"one conference of {mix}, of jvbtune's clients and then of browsers: {2 * (SETTLE_SECONDS + duration):.0f} s")
    with _drained(entry) as (host, tuning, generator):
        found = compare(entry, host, generator, mix, duration, grid, tuning.check)
    if as_json:
        streams = [asdict(one) | {"apart": one.apart, "differs": one.differs} for one in found.streams]
        print_json(
            {
                "schema_version": 1,
                "host": host_name,
                **asdict(found),
                "streams": streams,
                "lacks_cpu": found.lacks_cpu,
                "alike": found.alike,
            }
        )
        return int(not found.alike)
    put(f"{'packets per second':<24}{'browser':>9}{'jvbtune':>9}")
    for one in found.streams:
        apart = f"{one.apart:+7.1%}" if one.apart is not None else ""
        differs = "differs" if one.differs else ""
        put(f"{one.stream:<24}{one.browser_pps:9.1f}{one.client_pps:9.1f}  {apart:<9}{differs}".rstrip())
    rate = f"{found.frames_per_second:.1f} of {found.wanted_frames_per_second:g} frames per second"
    if found.lacks_cpu:
        say(f"The browsers encoded {rate}: they lack CPU, so this compares nothing. Use --grid, or smaller layers.")
    else:
        put(f"The browsers encoded {rate}.")
    return int(not found.alike)


@contextmanager
def _drained(entry: HostEntry, *, relays: bool = False) -> Iterator[tuple[Host, Tuning, Generator]]:
    """The host with its bridge drained, and what makes load on it; undone at the end, or by a guard on the host."""
    from jvbtune.bridge.client import BridgeClient
    from jvbtune.hosts import connect
    from jvbtune.hosts.agent_client import AgentClient
    from jvbtune.interrupts import handled
    from jvbtune.inventory import bridge_arguments
    from jvbtune.load import open_generator, refuse_without_relays
    from jvbtune.settings.tuning import Tuning

    with handled(say), connect(entry) as host, AgentClient(host) as agent:
        if relays:
            client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
            refuse_without_relays(entry.name, client.request("GET", "/colibri/stats"))
        tuning = Tuning(
            agent, owner=owner(), run_id="load", lease_seconds=30, bridge=bridge_arguments(entry), settings=[]
        )
        with tuning, open_generator(entry, host, leased=True) as generator:
            tuning.watch(generator.keep_alive, generator.abort)
            yield host, tuning, generator


def _calibrate(
    host_name: str | None,
    inventory: tuple[Path, ...],
    mix: Mix,
    as_json: bool,
) -> int:
    """Measure and store the limit of this machine's generator."""
    from jvbtune.load.calibration import Trial, calibrate, keep

    entry = find_host(host_name, inventory) if host_name is not None else None

    def tell(trial: Trial) -> None:
        kept = "on schedule" if not trial.because else "; ".join(trial.because)
        if trial.disturbed:
            kept += f" (other processes used {trial.others_ratio:.0%} of this machine)"
        say(f"{trial.intended_pps:8.0f} pps  {trial.lateness_p99_ms:5.1f} ms late  {trial.cpu_ratio:4.0%} CPU  {kept}")

    say("jvbtune measures how much load this machine can make. This takes about two minutes, and needs it to be quiet.")
    limit = calibrate(entry, mix, tell)
    path = keep(limit)
    if as_json:
        print_json({"schema_version": 1, **asdict(limit), "stored_in": str(path)})
        return 0
    at_least = "" if limit.limited_by == "generator" else "at least "
    put(f"limit      {at_least}{limit.limit_pps:.0f} pps of {limit.mix_name}")
    put(f"sent       {limit.sent_pps:10.0f} packets/s")
    put(f"received   {limit.received_pps:10.0f} packets/s")
    put(f"lateness   {limit.lateness_p99_ms:10.1f} ms (p99), at most {limit.max_lateness_p99_ms:g} ms is allowed")
    put(f"CPU        {limit.cpu_ratio:10.0%} of a core, at most {limit.max_cpu_ratio:.0%} is allowed")
    put(f"cores      {', '.join(map(str, limit.cores))} of {limit.machine}")
    why = "; ".join(limit.because) or "no higher packet rate was tried"
    put(f"above it   {why}")
    say(f"The limit is stored in {path}")
    if at_least:
        say("Something other than the generator was the limit, so no load is refused because of it.")
    return 0


def _corrected(generator: Generator, load: IntendedLoad, packet_rate: float) -> IntendedLoad:
    """A load of meetings whose number follows from what one of them really causes on this bridge."""
    offered = generator.offer(load, PILOT_SECONDS, settle_seconds=PILOT_SETTLE_SECONDS)
    each = offered.offered_pps / load.conferences
    say(
        f"a conference was predicted to cause {load.mix.packet_rate_pps():.0f} pps, and causes {each:.0f} pps on this "
        "bridge"
    )
    return replace(load, conferences=max(1, round(packet_rate / each)), seen_pps=each)
