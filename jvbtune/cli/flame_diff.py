"""``jvbtune flame diff``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jvbtune.cli.common import Number, put, say
from jvbtune.cli.flame_common import (
    event_option,
    page_options,
    reader_of,
    reading_options,
    refuse_empty,
    remark_on_speed,
    write_page,
    write_text,
)
from jvbtune.text import counted

if TYPE_CHECKING:
    from jvbtune.flame.document import Document
    from jvbtune.flame.table import Rank

DEFAULT_PAGE = "flame-diff.html"


@click.command("diff")
@click.argument("sides", nargs=-1, metavar="A B")
@click.option("-a", "more_a", multiple=True, metavar="A", help="A file or capture of side A. Repeatable; replaces A.")
@click.option("-b", "more_b", multiple=True, metavar="B", help="A file or capture of side B. Repeatable; replaces B.")
@click.option(
    "--format",
    "as_format",
    type=click.Choice(["html", "json", "markdown", "svg"]),
    default="html",
    show_default=True,
    help="html: a page to explore. json, markdown: the table of frames. svg: the picture only.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--rank",
    type=click.Choice(["explains", "total", "self"]),
    default="explains",
    show_default=True,
    help="Order of the table. explains: the deepest frames that explain the difference. total: frames with all they "
    "call. self: frames by themselves.",
)
@click.option(
    "--normalise",
    metavar="HOW",
    help="What a value is relative to: packets, seconds, samples, share, or two factors such as 1:0.5. Default: the "
    "first of packets, seconds and samples that both sides support.",
)
@click.option(
    "--counts",
    type=click.Choice(["auto", "samples", "weights"]),
    default="auto",
    show_default=True,
    help="What the numbers in plain files of collapsed stacks are: numbers of samples, or weights such as cycles or "
    "bytes. auto decides by their sizes. Without numbers of samples, single files are not tested.",
)
@click.option(
    "--level",
    type=Number(0, 1, True, True),
    default=0.05,
    show_default=True,
    help="False-discovery rate: the expected share of false ones among the significant frames.",
)
@click.option(
    "--fail-above",
    type=Number(0),
    metavar="PERCENT",
    help="Exit with 1 if the whole or a frame grew significantly by more than PERCENT of A's total, and with 5 if "
    "nothing could be tested.",
)
@click.option("--force", is_flag=True, help="Compare captures of different engines or events. Nothing is tested then.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of --format json, and exit.")
@event_option
@page_options(DEFAULT_PAGE)
@reading_options
def command(
    sides: tuple[str, ...],
    more_a: tuple[str, ...],
    more_b: tuple[str, ...],
    as_format: str,
    as_json: bool,
    rank: Rank,
    normalise: str | None,
    counts: str,
    level: float,
    fail_above: float | None,
    force: bool,
    schema: bool,
    event: str | None,
    output: Path | None,
    no_open: bool,
    threads: str,
    no_rules: tuple[str, ...],
    runs_dir: Path | None,
    captures_dir: Path | None,
) -> int:
    """Compare two profiles: what costs more, what costs less, and what is noise.

    A and B are each a file (collapsed stacks, perf script, JFR, speedscope, pprof), a capture's directory or id,
    several of these separated by commas, a pattern such as 'a-*.collapsed', or RUN:CAPTURE (also RUN:lowest and
    RUN:highest, the captures at the lowest and the highest packet rate).

    \b
    Examples:
      jvbtune flame diff before.collapsed after.collapsed
      jvbtune flame diff latest:lowest latest:highest -o load.html
      jvbtune flame diff A B --json --fail-above 1
    """
    from jvbtune.flame import document, table
    from jvbtune.flame.compare import merge
    from jvbtune.flame.compare.normalise import check

    if schema:
        put(json.dumps(document.schema(), indent=1))
        return 0
    if as_json:
        as_format = "json"
    chosen_a, chosen_b = _both(sides, more_a, more_b)
    check(normalise)
    reader = reader_of(threads, no_rules, runs_dir, captures_dir, event, counts)
    remark_on_speed([*chosen_a, *chosen_b])
    label_a, profiles_a = reader.side(chosen_a)
    label_b, profiles_b = reader.side(chosen_b)
    if label_a == label_b:
        label_a, label_b = ", ".join(chosen_a), ", ".join(chosen_b)
    for label, profiles in ((label_a, profiles_a), (label_b, profiles_b)):
        refuse_empty(label, profiles)
    tree = merge(
        [profiles_a, profiles_b],
        labels=(label_a, label_b),
        normalise=normalise,
        level=level,
        force=force,
        rules=reader.sentences,
    )
    found = table.document(tree, rank)
    if as_format != "markdown":  # which begins with the same
        for line in table.summary(found):
            say(line)
    if as_format == "html":
        from jvbtune.flame.viewer import render_html

        page = render_html(tree, title=f"{label_a} → {label_b}")
        write_page(page, output or Path(DEFAULT_PAGE), no_open=no_open)
    else:
        if as_format == "svg":
            from jvbtune.flame.formats import svg

            text = svg.render(tree)
        elif as_format == "json":
            text = json.dumps(document.as_json(found), indent=1, allow_nan=False) + "\n"
        else:
            text = table.as_markdown(found)
        if output is None:
            put(text, nl=False)
        else:
            write_text(text, output)
            put(output)
    return 0 if fail_above is None else _gate(found, fail_above)


def _both(
    sides: tuple[str, ...], more_a: tuple[str, ...], more_b: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The references of A and of B, from arguments or options."""
    if len(sides) == 2 and not (more_a or more_b):
        return (sides[0],), (sides[1],)
    if not sides and more_a and more_b:
        return more_a, more_b
    raise click.UsageError(
        "Two sides are needed: A and B. Separate several files of a side by commas, or use -a FILE -a FILE -b FILE."
    )


def _gate(found: Document, percent: float) -> int:
    """The exit code of ``--fail-above``."""
    from jvbtune.errors import NoRecommendation
    from jvbtune.flame.table import grown

    if found.test.method == "none":
        raise NoRecommendation(
            "--fail-above cannot decide, because nothing was tested", hint="Give several files or captures a side."
        )
    rows = grown(found, percent)
    for row in rows[:10]:
        say(f"{row.frame} grew: {row.total_a:.4g} to {row.total_b:.4g} {found.unit}")
    if rows:
        say(f"{counted(len(rows), 'frame')} grew significantly by more than {percent:g} % of A's total")
    return 1 if rows else 0
