"""``jvbtune simulate``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import Number, PacketRate, json_option, print_json, put, say


@click.command("simulate")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory of the run.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31),
    default=1,
    show_default=True,
    help="Seed. The same seed writes the same run.",
)
@click.option("--name", default="simulated", show_default=True, help="Name of the host.")
@click.option(
    "--streams",
    type=click.Choice(["few-fast", "many-slow"]),
    default="few-fast",
    show_default=True,
    help="Kind of load. A packet of many slow streams costs twice as much.",
)
@click.option("--cores", type=Number(1, 256), default=1.0, show_default=True, help="Size of the host, in cores.")
@click.option(
    "--curvature",
    type=Number(0, 10),
    default=0.0,
    show_default=True,
    help="Convexity of CPU against the packet rate. 0: concave, as a real bridge.",
)
@click.option("--blocks", type=click.IntRange(1, 100), default=4, show_default=True, help="Restarts of each step.")
@click.option("--levels", type=click.IntRange(1, 50), default=6, show_default=True, help="Number of packet rates.")
@click.option(
    "--top",
    type=Number(0.05, 2),
    default=1.1,
    show_default=True,
    help="Highest load, relative to the true max packet rate.",
)
@click.option("--seconds", type=Number(2, 3600), default=60.0, show_default=True, help="Trial length, in seconds.")
@click.option(
    "--restart-sd",
    type=Number(0, 1),
    default=0.06,
    show_default=True,
    help="Standard deviation between restarts, relative.",
)
@click.option(
    "--outliers", type=Number(0, 1), default=0.0, show_default=True, help="Share of trials that are outliers."
)
@click.option("--neighbours", type=Number(0, 1), default=0.0, show_default=True, help="Share of trials with CPU steal.")
@click.option(
    "--drift-per-hour", type=Number(), default=0.0, show_default=True, help="Drift of CPU per hour, relative."
)
@click.option(
    "--warm-up",
    type=Number(0, 5),
    default=0.0,
    show_default=True,
    help="Extra CPU at the beginning of a trial, relative.",
)
@click.option(
    "--clock-offset",
    type=Number(),
    default=0.0,
    show_default=True,
    help="Host clock minus controller clock, in seconds.",
)
@click.option(
    "--in-share",
    type=Number(0.01, 0.99),
    default=0.2,
    show_default=True,
    help="Share of packets in among all packets.",
)
@click.option(
    "--relay-share",
    type=Number(0, 0.98),
    default=0.0,
    show_default=True,
    help="Share of relayed packets among all packets.",
)
@click.option(
    "--endpoint-us",
    type=Number(0),
    default=0.0,
    show_default=True,
    help="CPU of an endpoint, in µs per second.",
)
@click.option("--other-shapes", is_flag=True, help="Add two shapes of conference, so that the costs can be separated.")
@click.option(
    "--generator-pps",
    type=PacketRate(1),
    default=None,
    help="Packet rate at which the generator saturates. Default: never.",
)
@click.option("--buffers", is_flag=True, help="Also sweep rmem_max and two negative controls, with bursts.")
@json_option
def command(
    out: Path,
    seed: int,
    name: str,
    streams: str,
    cores: float,
    curvature: float,
    blocks: int,
    levels: int,
    top: float,
    seconds: float,
    restart_sd: float,
    outliers: float,
    neighbours: float,
    drift_per_hour: float,
    warm_up: float,
    clock_offset: float,
    in_share: float,
    relay_share: float,
    endpoint_us: float,
    other_shapes: bool,
    generator_pps: float | None,
    buffers: bool,
    as_json: bool,
) -> None:
    """Write a run of a simulated host with known figures, in the format of a measured run.

    Nothing is measured and no host is touched. The curves are those of a real bridge: see docs/method.md.

    \b
    Example:
      jvbtune simulate --out runs --blocks 6
      jvbtune fit --runs-dir runs latest
    """
    from dataclasses import replace

    from jvbtune.fit import Limits
    from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, SimulatedMix
    from jvbtune.fit.simulator.host import LISTENERS, SMALL, many_slow_streams
    from jvbtune.fit.simulator.run import write_run
    from jvbtune.fit.simulator.samples import SampleNoise

    host = SimulatedHost() if streams == "few-fast" else many_slow_streams()
    host = replace(host.scaled(cores), curvature=curvature, endpoint_us=endpoint_us)
    limits = Limits()
    if in_share + relay_share >= 1:
        raise click.UsageError("--in-share and --relay-share leave nothing for packets out")
    mix = SimulatedMix(in_share, 1 - in_share - relay_share, relay_share)
    truth = host.truth(limits, mix)
    binding = min(truth, key=lambda limit: truth[limit])
    highest = top * truth[binding]
    rates = tuple(highest * (0.2 + 0.8 * level / max(1, levels - 1)) for level in range(levels))
    design = Design(rates if levels > 1 else (highest,), blocks, mix=mix, duration_seconds=seconds)
    if other_shapes:
        design = replace(design, other_mixes={"3 with 2 senders": SMALL, "10 with 1 sender": LISTENERS})
    if buffers:
        swept = {"net.core.rmem_max": 212_992, "net.core.rmem_default": 10_485_760, "net.core.wmem_max": 10_485_760}
        steps: dict[str, dict[str, int]] = {"baseline": {}} | {
            f"{key}={value}": {key: value} for key, value in swept.items()
        }
        design = replace(design, steps=steps, burst_packets=2400, burst_pps=0.5 * truth[binding])
    disturbance = Disturbance(
        restart_sd=restart_sd,
        drift_per_hour=drift_per_hour,
        outlier_ratio=outliers,
        neighbour_ratio=neighbours,
        generator_capacity_pps=generator_pps or float("inf"),
    )
    run = write_run(
        out,
        host,
        design,
        disturbance,
        SampleNoise(warm_up_ratio=warm_up, clock_offset_seconds=clock_offset),
        seed=seed,
        name=name,
    )
    if as_json:
        rounded = {limit: round(rate, 1) for limit, rate in truth.items()}
        print_json(
            {"schema_version": 1, "run": run.id, "path": str(run.path), "truth_pps": rounded, "binding_limit": binding}
        )
    else:
        put(run.path)
        say(f"true max packet rate: {truth[binding]:.0f} pps, limited by {binding}")
