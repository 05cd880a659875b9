"""``jvbtune flame diff``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jvbtune.cli.common import say
from jvbtune.cli.flame_common import event_option, page_options, reader_of, reading_options, write_page, write_text

if TYPE_CHECKING:
    from jvbtune.flame.table import Row

DEFAULT_PAGE = "flame-diff.html"


@click.command("diff")
@click.argument("sides", nargs=-1, metavar="A B")
@click.option("-a", "more_a", multiple=True, metavar="A", help="A file or capture of side A; repeatable, instead of A.")
@click.option("-b", "more_b", multiple=True, metavar="B", help="A file or capture of side B; repeatable, instead of B.")
@click.option(
    "--format",
    "as_format",
    type=click.Choice(["html", "json", "markdown", "svg"]),
    default="html",
    show_default=True,
    help="html: a page to look at; json and markdown: the table of frames; svg: the picture alone.",
)
@click.option(
    "--normalise",
    metavar="HOW",
    help="samples, seconds, share, packets, or FACTOR_A:FACTOR_B; default: packets where both sides know them, else "
    "seconds, else samples.",
)
@click.option(
    "--level", type=click.FloatRange(0, 1, True, True), default=0.05, show_default=True, help="False-discovery rate."
)
@click.option(
    "--fail-above",
    type=click.FloatRange(0),
    metavar="PERCENT",
    help="Exit with 1 where the whole or a frame grew, significantly, by more than so many percent of A's total.",
)
@click.option("--force", is_flag=True, help="Compare captures of unlike engines or events all the same.")
@event_option
@page_options(DEFAULT_PAGE)
@reading_options
def command(
    sides: tuple[str, ...],
    more_a: tuple[str, ...],
    more_b: tuple[str, ...],
    as_format: str,
    normalise: str | None,
    level: float,
    fail_above: float | None,
    force: bool,
    event: str | None,
    output: Path | None,
    no_open: bool,
    threads: str,
    no_rules: tuple[str, ...],
    runs_dir: Path | None,
    captures_dir: Path | None,
) -> int:
    """Compare two profiles: what became dearer, what cheaper, and what is only noise.

    A and B are each a file (collapsed stacks, perf script, JFR, speedscope, pprof), a capture's directory or id,
    several by commas or a pattern, or RUN:CAPTURE of a run (also RUN:lowest, RUN:highest).

    \b
        jvbtune flame diff before.collapsed after.collapsed
        jvbtune flame diff latest:lowest latest:highest -o load.html
        jvbtune flame diff A B --format json --fail-above 1
    """
    from jvbtune.errors import UsageError
    from jvbtune.flame import table
    from jvbtune.flame.compare import merge
    from jvbtune.flame.compare.normalise import check

    chosen_a, chosen_b = _both(sides, more_a, more_b)
    check(normalise)
    reader = reader_of(threads, no_rules, runs_dir, captures_dir, event)
    label_a, profiles_a = reader.side(chosen_a)
    label_b, profiles_b = reader.side(chosen_b)
    if label_a == label_b:
        label_a, label_b = ", ".join(chosen_a), ", ".join(chosen_b)
    tree = merge(
        [profiles_a, profiles_b],
        labels=(label_a, label_b),
        normalise=normalise,
        level=level,
        force=force,
        rules=reader.sentences,
    )
    for note in tree.notes:
        say(note)
    for label, side in zip((label_a, label_b), tree.sides, strict=True):
        if not side.total:
            raise UsageError(f"{label}: the profile is empty: nothing was seen")
    if as_format == "html":
        from jvbtune.flame.viewer import render_html

        page = render_html(tree, title=f"{label_a} → {label_b}")
        write_page(page, output or Path(DEFAULT_PAGE), no_open=no_open)
    else:
        if as_format == "svg":
            from jvbtune.flame.formats import svg

            text = svg.render(tree)
        else:
            text = json.dumps(table.as_json(tree), indent=1) + "\n" if as_format == "json" else table.as_markdown(tree)
        if output is None:
            click.echo(text, nl=False)
        else:
            write_text(text, output)
            click.echo(output)
    return 0 if fail_above is None else _failed(table.grown(tree, fail_above), fail_above, tree.chosen.unit)


def _both(
    sides: tuple[str, ...], more_a: tuple[str, ...], more_b: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The references of A and of B, from arguments or options."""
    if len(sides) == 2 and not (more_a or more_b):
        return (sides[0],), (sides[1],)
    if not sides and more_a and more_b:
        return more_a, more_b
    raise click.UsageError(
        "two sides are compared: A and B. Several files of a side go by commas, or by -a FILE -a FILE … -b FILE …"
    )


def _failed(rows: Sequence[Row], percent: float, unit: str) -> int:
    for row in rows[:10]:
        say(f"grew: {row.frame}: {row.total_a:.4g} to {row.total_b:.4g} {unit}")
    if rows:
        say(f"{len(rows)} grew significantly by more than {percent:g} % of A's total")
    return 1 if rows else 0
