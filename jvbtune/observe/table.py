"""Rows for people: a table of all hosts, or a line for each row. Texts only; printing is the command line's."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterable
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jvbtune.observe.rows import Row
from jvbtune.text import counted, printable


def _rate(row: Row, name: str) -> str:
    value = row.number(name)
    return "-" if value is None else f"{value:,.0f}".replace(",", " ")


def _share(row: Row, name: str) -> str:
    value = row.number(name)
    return "-" if value is None else f"{value:.1%}"


def _plain(row: Row, name: str, digits: int = 0) -> str:
    value = row.number(name)
    return "-" if value is None else f"{value:.{digits}f}"


def state(row: Row) -> str:
    """One word for how a host is."""
    if not row.values.get("up"):
        return "lost"
    if not row.values.get("bridge_up"):
        return "no bridge" if row.process is None else "no answer"
    if row.values.get("healthy") == 0.0:
        return "unhealthy"
    if row.values.get("drain"):
        return "draining"
    return "ok" if row.values.get("load_threshold_in_force") != 0.0 else "threshold!"


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("host", lambda row: row.host),
    ("state", state),
    ("packets/s", lambda row: _rate(row, "packet_rate")),
    ("capacity used", lambda row: _share(row, "capacity_used")),
    ("stress", lambda row: _plain(row, "stress_level", 2)),
    ("endpoints", lambda row: _plain(row, "local_endpoints")),
    ("CPU cores", lambda row: _plain(row, "process_cpu_cores", 2)),
    ("receive thread", lambda row: _share(row, "receive_thread_busy")),
    ("socket drops/s", lambda row: _plain(row, "socket_drop_rate", 1)),
    ("GC", lambda row: _share(row, "gc_pause_share")),
    ("steal", lambda row: _share(row, "steal_share")),
    ("over 50 ms", lambda row: _share(row, "transit_slow_share")),
)


#: Between two columns; and the columns that are shown however narrow the terminal is.
GAP = 1
LEAST_COLUMNS = 2
#: Of the names of the columns; and the count of the hosts that are not shown, with the line of the cursor.
HEADER_LINES = 2
OTHER_LINES = 2


def table(rows: Iterable[Row], width: int, height: int | None = None) -> RenderableType:
    """All columns that fit in ``width`` characters whole, the first ones first; what is left out is named below.

    If the hosts do not fit in ``height`` lines, those that are not ok come first, and the others are counted below.
    """
    ordered = sorted(rows, key=lambda one: one.host)
    cells = [[printable(text(row)) for _, text in COLUMNS] for row in ordered]
    widths = [max(map(len, [*name.split(" ", 1), *(row[at] for row in cells)])) for at, (name, _) in enumerate(COLUMNS)]
    ends = [sum(widths[: at + 1]) + GAP * at for at in range(len(COLUMNS))]
    shown = max(LEAST_COLUMNS, sum(end <= width for end in ends))
    hidden = ", ".join(name for name, _ in COLUMNS[shown:])
    caption = f"On a wider terminal also: {hidden}" if hidden else ""
    found = Table(
        box=None,
        pad_edge=False,
        padding=(0, GAP, 0, 0),
        caption=caption or None,
        caption_justify="left",
    )
    for (name, _), own in zip(COLUMNS[:shown], widths, strict=False):
        justify: Literal["left", "right"] = "left" if name in ("host", "state") else "right"
        found.add_column(name.replace(" ", "\n", 1), justify=justify, width=own, vertical="bottom")
    room = len(cells)
    if height is not None:
        below = len(textwrap.wrap(caption, max(1, ends[shown - 1])))
        room = max(1, height - HEADER_LINES - below - OTHER_LINES)
    left_out = max(0, len(cells) - room)
    if left_out:
        by_need = sorted(cells, key=lambda row: row[1] == "ok")
        cells = sorted(by_need[:room], key=lambda row: row[0])
    for row in cells:
        found.add_row(*map(Text, row[:shown]))
    return Group(found, Text(f"… and {counted(left_out, 'more host')}", style="dim")) if left_out else found


def line(row: Row) -> str:
    """``2026-11-26T22:00:00Z jvb-1 ok packets/s=… …``."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(row.unix))
    rest = " ".join(f"{name.replace(' ', '_')}={text(row).replace(' ', '')}" for name, text in COLUMNS[2:])
    return f"{when} {row.host} {state(row)} {rest}"
