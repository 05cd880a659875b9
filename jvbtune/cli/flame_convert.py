"""``jvbtune flame convert``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from jvbtune.capture.stored import is_capture, load_capture
from jvbtune.cli.common import say
from jvbtune.cli.flame_common import remark_on_speed
from jvbtune.flame.formats import WRITTEN, format_of_name, path_title, read, together, write
from jvbtune.flame.model import Meta
from jvbtune.flame.names import RULE_NAMES, NameRules
from jvbtune.text import counted


@click.command("convert")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT",
    help="File to write. A name that ends in .gz or .zst is compressed.",
)
@click.option("--to", type=click.Choice(list(WRITTEN)), help="Format to write. Default: the one that OUT's name says.")
@click.option("--event", help="The event to read if a file holds several (perf script, JFR, pprof).")
@click.option("--normalise-names", is_flag=True, help="Remove numbers from names, as comparisons do.")
@click.option(
    "--no-rule",
    "switched_off",
    multiple=True,
    type=click.Choice(RULE_NAMES),
    help="With --normalise-names: do not apply this rule. Repeatable.",
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

    It reads collapsed stacks, the text of perf script, JFR recordings, speedscope and pprof, plain or compressed; the
    content decides. It writes collapsed stacks, speedscope, pprof and SVG. The total does not change. FILE may be the
    directory of a capture: its slices are added up.

    \b
    Examples:
      jvbtune flame convert perf.txt -o perf.collapsed.gz
      jvbtune flame convert recording.jfr --event wall -o wall.speedscope.json
      jvbtune flame convert flamegraphs/ID -o bridge.svg
    """
    format_ = to or format_of_name(output)
    rules = NameRules.without(switched_off) if normalise_names else NameRules.none()
    paths: list[Path] = []
    metas: list[Meta | None] = []
    for file in files:
        if is_capture(file):
            capture = load_capture(file)
            paths += [capture.path / one.file for one in capture.slices]
            metas += [replace(meta, title=capture.title) for meta in capture.metas()]
        else:
            paths.append(file)
            metas.append(None)
    remark_on_speed(paths)
    profile = together(read(paths, rules, metas, event=event, may_be_empty=all(metas)))
    if len(files) > 1:
        profile = replace(profile, meta=replace(profile.meta, title=path_title(output)))
    write(profile, output, format_)
    rows = f"{counted(len(profile), 'row')}, total {profile.total:,.12g} {profile.meta.unit}"
    say(f"{output}: {format_}, {rows}")
