"""``jvbtune capacity``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvbtune.cli.common import (
    find_host,
    host_option,
    inventory_option,
    json_option,
    owner,
    print_json,
    runs_dir_option,
    say,
)
from jvbtune.cli.fit import Milliseconds, Ratio

if TYPE_CHECKING:
    from jvbtune.capacity.result import Capacity, Rate


class LateShare(click.ParamType[tuple[float, float]]):
    """``50ms:0.001``: at most that share of the packets later than that."""

    name = "delay"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        delay, colon, share = str(value).partition(":")
        if not colon:
            self.fail(f"{value!r} is not a delay and a share, such as 50ms:0.001", param, ctx)
        return Milliseconds().convert(delay, param, ctx), Ratio().convert(share, param, ctx)


@click.command("capacity")
@host_option()
@click.option("--loss", "loss_ratio", type=Ratio(), default="0.001", show_default=True, help="Loss ratio of the PDR.")
@click.option(
    "--delay",
    type=LateShare(),
    default="50ms:0.001",
    show_default=True,
    help="How late packets may be, and the share that may be later: 0.5, 0.05, 0.01 or 0.001.",
)
@click.option(
    "--cpu", "cpu_ratio", type=Ratio(), default="0.8", show_default=True, help="CPU limit, of the bridge's cores."
)
@click.option(
    "--rx-thread",
    "rx_thread_ratio",
    type=Ratio(),
    default="0.7",
    show_default=True,
    help="Limit of the receiving thread.",
)
@click.option("--width", type=Ratio(), default="0.03", show_default=True, help="Relative width at which a search ends.")
@click.option("--minutes", type=click.FloatRange(0.5, 600), default=10.0, show_default=True, help="Budget of time.")
@click.option(
    "--restarts",
    type=click.IntRange(1, 20),
    default=3,
    show_default=True,
    help="Searches, each after a restart of the bridge: restarts differ by 4 to 9 %.",
)
@click.option("--start-pps", type=click.FloatRange(100), default=6000.0, show_default=True, help="The first load.")
@click.option("--max-pps", type=click.FloatRange(100), default=200_000.0, show_default=True, help="No load above it.")
@click.option("--trial-seconds", type=click.FloatRange(2, 600), default=10.0, show_default=True, help="Of a trial.")
@click.option("--settle-seconds", type=click.FloatRange(0, 120), default=2.0, show_default=True, help="Before a trial.")
@click.option(
    "--warm-up-seconds", type=click.FloatRange(0, 600), default=20.0, show_default=True, help="After a restart."
)
@click.option("--participants", type=click.IntRange(2, 500), default=5, show_default=True, help="Of a conference.")
@click.option("--senders", type=click.IntRange(1, 500), default=3, show_default=True, help="Of a conference.")
@click.option("--stream-pps", type=click.FloatRange(1, 1000), default=50.0, show_default=True, help="Of a sender.")
@inventory_option
@runs_dir_option
@json_option
def command(
    host_name: str,
    loss_ratio: float,
    delay: tuple[float, float],
    cpu_ratio: float,
    rx_thread_ratio: float,
    width: float,
    minutes: float,
    restarts: int,
    start_pps: float,
    max_pps: float,
    trial_seconds: float,
    settle_seconds: float,
    warm_up_seconds: float,
    participants: int,
    senders: int,
    stream_pps: float,
    inventory: Path | None,
    runs_dir: Path | None,
    as_json: bool,
) -> int:
    """Find a host's NDR, PDR and max packet rate by adaptive trials, until they are known to a relative width.

    The bridge is drained and restarted as in a sweep, no setting is changed, and the host is left as it was found.
    What the search found is held against the curves that are fitted to the same trials. The trials are a run: fit,
    report and explain read it. Exit code 5 where a limit could not be placed.

    \b
    Example:
      jvbtune capacity --host jvb-eu-1 --loss 0.001 --delay 50ms:0.001 --cpu 0.8
    """
    from jvbtune.capacity.goals import goals, limits_of
    from jvbtune.capacity.run import Search, find_capacity
    from jvbtune.cli.progress import Progress
    from jvbtune.report import write_report
    from jvbtune.report.result import derive
    from jvbtune.store import runs_directory
    from jvbtune.sweep.experiment import MixSection
    from jvbtune.sweep.run import Options

    if senders > participants:
        raise click.UsageError(f"--senders {senders} is more than --participants {participants}")
    wanted = goals(loss_ratio=loss_ratio, cpu_ratio=cpu_ratio, rx_thread_ratio=rx_thread_ratio, delay=delay)
    search = Search(
        wanted,
        limits_of(wanted),
        MixSection(participants=participants, senders=senders, stream_pps=stream_pps),
        start_pps=min(start_pps, max_pps),
        max_pps=max_pps,
        width=width,
        restarts=restarts,
        minutes=minutes,
        trial_seconds=trial_seconds,
        settle_seconds=settle_seconds,
        warm_up_seconds=warm_up_seconds,
    )
    options = Options(runs_directory(runs_dir), owner(), 0, None, tuple(sys.argv))
    with Progress() as progress:
        run, capacity = find_capacity(find_host(host_name, inventory), search, options, progress)
    derive(run)
    if as_json:
        print_json({"schema_version": 1, "run": run.id, "host": run.host, **capacity.to_json()})
    else:
        click.echo(text_of(capacity))
    say(f"report: {write_report(run)}")
    return 0 if capacity.max_packet_rate is not None else 5


def text_of(capacity: Capacity) -> str:
    """For people."""
    best = capacity.max_packet_rate
    if best is None or best.pps is None:
        lines = ["Max packet rate  none: the trials cannot carry one"]
    else:
        lines = [f"Max packet rate  {best.pps:.0f} pps{_interval(best)}", f"Bound by         {best.goal.label}"]
    lines += [f"  - {reason}" for reason in capacity.reasons]
    lines += ["", f"{capacity.trials} trials after {capacity.restarts} restarts, {capacity.minutes:.1f} min"]
    lines += [f"  {_line(rate)}" for rate in capacity.rates]
    return "\n".join(lines)


def _interval(rate: Rate) -> str:
    if rate.interval_pps is None:
        return " (one restart: no interval)"
    return f"   (95 % interval over restarts {rate.interval_pps[0]:.0f} to {rate.interval_pps[1]:.0f})"


def _line(rate: Rate) -> str:
    if rate.pps is None:
        return f"{rate.goal.label}: {rate.state}"
    if rate.state in ("at least", "generator"):
        why = "; above it the generator is the limit" if rate.state == "generator" else ""
        return f"{rate.goal.label}: not met, kept up to {rate.pps:.0f} pps{why}"
    fit = ""
    if rate.fitted_pps is not None:
        word = {True: "agrees", False: "DISAGREES", None: ""}[rate.agrees]
        fit = f"; fitted curve {rate.fitted_pps:.0f} pps {word}".rstrip()
    return f"{rate.goal.label}: {rate.pps:.0f} pps{_interval(rate)}, width {rate.relative_width or 0:.1%}{fit}"
