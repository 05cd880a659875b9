"""``jvbtune flame convert``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from jvbtune.cli.common import say
from jvbtune.flame.captures import is_capture, load_capture
from jvbtune.flame.formats import WRITTEN, format_of_name, path_title, read, together, write
from jvbtune.flame.model import Meta
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
    """Convert profiles, or add several up into one file. A FILE may be a capture's directory: its slices are added up.

    Reads collapsed stacks, the text of perf script, JFR recordings, speedscope and pprof, plain or compressed, told by
    content. Writes collapsed stacks, speedscope, pprof and SVG. The total stays what it was.

    \b
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
    profile = together(read(paths, rules, metas, event=event, may_be_empty=all(metas)))
    if len(files) > 1:
        profile = replace(profile, meta=replace(profile.meta, title=path_title(output)))
    write(profile, output, format_)
    rows = f"{len(profile)} rows, total {profile.total:,.12g} {profile.meta.unit}"
    say(f"{output}: {format_}, {rows}")
