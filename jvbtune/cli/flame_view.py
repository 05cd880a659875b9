"""``jvbtune flame view``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import say
from jvbtune.cli.flame_common import (
    event_option,
    page_options,
    reader_of,
    reading_options,
    refuse_empty,
    remark_on_speed,
    write_page,
)

DEFAULT_PAGE = "flame.html"


@click.command("view")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@event_option
@page_options(DEFAULT_PAGE)
@reading_options
def command(
    files: tuple[str, ...],
    event: str | None,
    output: Path | None,
    no_open: bool,
    threads: str,
    no_rules: tuple[str, ...],
    runs_dir: Path | None,
    captures_dir: Path | None,
) -> None:
    """Show a profile as a flamegraph, in one HTML file that works offline.

    FILE is a file, a capture's directory or id, or RUN:CAPTURE. Several are added together.
    """
    from jvbtune.flame.compare import merge
    from jvbtune.flame.viewer import render_html

    reader = reader_of(threads, no_rules, runs_dir, captures_dir, event)
    remark_on_speed(files)
    label, profiles = reader.side(files)
    refuse_empty(label, profiles)
    tree = merge([profiles], labels=(label,), rules=reader.sentences)
    for note in tree.notes:
        say(note)
    write_page(render_html(tree, title=label), output or Path(DEFAULT_PAGE), no_open=no_open)
