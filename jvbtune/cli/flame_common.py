"""What the commands on profiles share: how names and threads are read, and where a page goes."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jvbtune.cli.common import captures_dir_option, put, runs_dir_option, say

if TYPE_CHECKING:
    from jvbtune.flame.model import Profile

Command = TypeVar("Command", bound=Callable[..., Any])


def reading_options(command: Command) -> Command:
    """``--no-rule``, ``--threads``, and where runs and captures are kept."""
    for option in (
        captures_dir_option,
        runs_dir_option,
        click.option(
            "--threads",
            type=click.Choice(["split", "merge", "drop"]),
            default="merge",
            show_default=True,
            help="split: a first frame for each thread. merge: one for each pool of threads. drop: none.",
        ),
        click.option(
            "--no-rule",
            "no_rules",
            multiple=True,
            metavar="RULE",
            help="Do not apply this rule that makes names comparable, such as lambda-numbers. all: none. Repeatable.",
        ),
    ):
        command = option(command)
    return command


def remark_on_speed(references: Sequence[str | Path]) -> None:
    """Says once, before files are read, that large ones are read slowly, if they are."""
    from jvbtune.flame.formats import native

    if remark := native.remark([Path(reference) for reference in references]):
        say(remark)


event_option = click.option("--event", help="The event to read if a file holds several (perf script, JFR, pprof).")


def page_options(default: str) -> Callable[[Command], Command]:
    """``-o`` and ``--no-open``."""

    def add(command: Command) -> Command:
        command = click.option("--no-open", is_flag=True, help="Do not open the page in a browser.")(command)
        return click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            help=f"Output file. Default: {default} for HTML, else standard output.",
        )(command)

    return add


def reader_of(
    threads: str,
    no_rules: tuple[str, ...],
    runs_dir: Path | None,
    captures_dir: Path | None,
    event: str | None = None,
    counts: str = "auto",
) -> Any:
    """How sides are found and read. Raises UsageError for a rule that does not exist."""
    from jvbtune.capture.sources import Reader
    from jvbtune.flame.names import RULE_NAMES, NameRules

    off = frozenset(name for rule in no_rules for name in (RULE_NAMES if rule == "all" else (rule,)))
    return Reader(NameRules(off), threads, runs_dir, captures_dir, event, counts)


def refuse_empty(label: str, profiles: Sequence[Profile]) -> None:
    """Raises UsageError for a side in which nothing was seen."""
    from jvbtune.errors import UsageError

    if not any(profile.total for profile in profiles):
        raise UsageError(
            f"{label}: the profile is empty", hint="It holds no samples. Was the bridge idle, or the file cut short?"
        )


def write_page(text: str, path: Path, *, no_open: bool) -> None:
    """Write a page whole or not at all, print its path, and open it in a browser if there is a screen."""
    write_text(text, path)
    put(path)
    if not no_open and sys.stdout.isatty() and has_display() and not webbrowser.open(path.resolve().as_uri()):
        say(f"no browser opened: open {path} yourself")


def write_text(text: str, path: Path) -> None:
    """Raises UsageError where the path cannot be written."""
    from jvbtune.errors import UsageError
    from jvbtune.store.atomic import write_bytes

    try:
        write_bytes(path, text.encode("utf-8", errors="replace"))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def has_display() -> bool:
    """Without one, a browser of the terminal would take the terminal over."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
