"""``jvbtune flame scaling``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from jvbtune.cli.common import Number, put, say
from jvbtune.cli.flame_common import page_options, reader_of, reading_options, write_page, write_text

DEFAULT_PAGE = "flame-scaling.html"


@click.command("scaling")
@click.argument("run", nargs=-1, required=True, metavar="RUN")
@click.option("--step", help="Use the captures of this step. Default: baseline, or the only step.")
@click.option("--event", help="Use the captures of this event. Default: cpu, or the only event.")
@click.option(
    "--format",
    "as_format",
    type=click.Choice(["html", "json", "markdown"]),
    default="html",
    show_default=True,
    help="html: a flamegraph coloured by elasticity; json and markdown: the frames that bend the host's curve.",
)
@click.option("--level", type=Number(0, 1, True, True), default=0.05, show_default=True, help="False-discovery rate.")
@click.option("--force", is_flag=True, help="Use captures of different engines or events together.")
@page_options(DEFAULT_PAGE)
@reading_options
def command(
    run: tuple[str, ...],
    step: str | None,
    event: str | None,
    as_format: str,
    level: float,
    force: bool,
    output: Path | None,
    no_open: bool,
    threads: str,
    no_rules: tuple[str, ...],
    runs_dir: Path | None,
    captures_dir: Path | None,
) -> None:
    """Show which frames grow faster than the packet rate: the ones that set the host's limit.

    RUN is a run with captures at three or more loads. Or give the captures themselves, one for each load.

    \b
    Examples:
      jvbtune flame scaling latest
      jvbtune flame scaling LOW MIDDLE HIGH --format markdown
    """
    from jvbtune.flame.compare import scaling as scale
    from jvbtune.store import open_run

    reader = reader_of(threads, no_rules, runs_dir, captures_dir)
    if len(run) == 1:
        from jvbtune.capture.sources import captures_of, choose

        opened = open_run(run[0], runs_dir)
        captures = choose(captures_of(opened), opened.id, step, event)
        labels = [capture.title for capture in captures]
        profiles = [reader.capture(capture) for capture in captures]
        title = f"{opened.id}: growth with the packet rate"
    else:
        sides = [reader.side([reference]) for reference in run]
        labels, profiles = [label for label, _ in sides], [slices for _, slices in sides]
        title = "Growth with the packet rate"
    found = scale.scaling(profiles, labels=labels, level=level, force=force, rules=reader.sentences)
    for note in found.tree.notes:
        say(note)
    if as_format == "html":
        from jvbtune.flame.viewer import elasticity_columns, render_html

        by_frame = {name: getattr(found.total, name) for name in scale.COLUMNS}
        page = render_html(found.tree, title=title, columns=elasticity_columns(by_frame))
        write_page(page, output or Path(DEFAULT_PAGE), no_open=no_open)
        return
    text = json.dumps(scale.as_json(found), indent=1) + "\n" if as_format == "json" else scale.as_markdown(found)
    if output is None:
        put(text, nl=False)
    else:
        write_text(text, output)
        put(output)
