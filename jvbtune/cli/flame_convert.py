"""``jvbtune flame convert``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import say
from jvbtune.flame.formats import WRITTEN, format_of_name, read, together, write
from jvbtune.flame.names import RULE_NAMES, NameRules


@click.command("convert")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT",
    help="The file to write; .gz and .zst are compressed.",
)
@click.option("--to", type=click.Choice(list(WRITTEN)), help="The format to write; default: what OUT's name tells.")
@click.option("--event", help="Which event to read, where a file holds several (perf script, JFR, pprof).")
@click.option("--normalise-names", is_flag=True, help="Take numbers out of names, as comparisons do.")
@click.option(
    "--no-rule",
    "switched_off",
    multiple=True,
    type=click.Choice(RULE_NAMES),
    help="With --normalise-names: a rule that is not applied. May be repeated.",
)
def command(
    files: tuple[Path, ...],
    output: Path,
    to: str | None,
    event: str | None,
    normalise_names: bool,
    switched_off: tuple[str, ...],
) -> None:
    """Convert profiles, or add several up into one file.

    Reads collapsed stacks, the text of perf script, JFR recordings, speedscope and pprof, plain or compressed, told by
    content. Writes collapsed stacks, speedscope, pprof and SVG. The total stays what it was.

    \b
    jvbtune flame convert perf.txt -o perf.collapsed.gz
    jvbtune flame convert recording.jfr --event wall -o wall.speedscope.json
    jvbtune flame convert flamegraphs/ID/slice-*.gz -o bridge.svg
    """
    format_ = to or format_of_name(output)
    rules = NameRules.without(switched_off) if normalise_names else NameRules.none()
    profile = together(read(files, rules, event=event))
    write(profile, output, format_)
    rows = f"{len(profile)} rows, total {profile.total:,.12g} {profile.meta.unit}"
    say(f"{output}: {format_}, {rows}")
