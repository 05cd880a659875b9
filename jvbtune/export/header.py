"""The head of every exported file: where its figures come from, what each line rests on, and how to undo it.

Everything in it is a comment on one line: texts of the host were cleaned when the result was made, and are again here,
since what is exported is loaded as root.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from jvbtune import __version__
from jvbtune.result.model import RunResult
from jvbtune.text import clean


def header(result: RunResult, *, why: Sequence[str], undo: Sequence[str]) -> str:
    """Comment lines: version, run, host, kernel, bridge, date, why, how to undo."""
    lines = [
        *origin(result),
        "The figures hold for this machine, this bridge and the traffic mix below.",
        "Why:",
        *(f"  {line}" for line in why),
        "To undo:",
        *(f"  {line}" for line in undo),
    ]
    return comments(lines)


def origin(result: RunResult) -> list[str]:
    """Where the figures come from: version, run, date; host, kernel, CPU; bridge. Each is one printable line."""
    facts = result.provenance
    made = time.strftime("%Y-%m-%d", time.gmtime(result.created_unix))
    lines = [
        f"Written by jvbtune {__version__} from run {result.id} ({made}, jvbtune {_known(facts.jvbtune_version)}).",
        f"Host: {result.host}; kernel {_known(facts.kernel)}; CPU {_known(facts.cpu)}; {_cores(facts.cores)}.",
        f"Bridge: {_known(facts.jvb_version)}, Java {_known(facts.java)}.",
    ]
    return [clean(line, 500) for line in lines]


def comments(lines: Sequence[str]) -> str:
    """Lines as comments; a line break or a control character in one of them cannot end its comment."""
    return "".join(f"# {_indent(line)}{clean(line, 500)}".rstrip() + "\n" for line in lines)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]


def _known(value: str | None) -> str:
    return value or "unknown"


def _cores(cores: float | None) -> str:
    return (
        "an unknown number of cores" if cores is None else f"{cores:g} core{'' if cores == 1 else 's'} for the bridge"
    )
