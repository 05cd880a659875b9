"""The live table of a fleet's work on stderr: redrawn on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from jvbtune.cli.common import on_terminal, say
from jvbtune.text import clean, counted, printable

if TYPE_CHECKING:
    from rich.console import Group

REDRAWN_PER_SECOND = 4
#: Lines of a terminal that are not the table's.
OTHER_LINES = 6
#: Columns of figures with the width of their widest one, and what lies between two columns.
FIGURES = {"rate": len("1 234 567 pps"), "CPU": len("100 %"), "time left": len("time left")}
GAP = 2
LEAST_PHASE = len("no recommendation")
ENDED = ("done", "no recommendation", "failed", "interrupted", "held back", "not started")


@dataclass
class Row:
    """What is known of one host."""

    host: str
    phase: str = "waiting"
    rate_pps: float | None = None
    cpu_ratio: float | None = None
    left_seconds: float | None = None
    left_at: float = 0.0
    note: str = ""

    def cells(self, now: float) -> tuple[str, str, str, str, str]:
        left = None if self.left_seconds is None else max(0.0, self.left_seconds - (now - self.left_at))
        return (
            self.host,
            f"{self.phase}: {self.note}" if self.note else self.phase,
            "" if self.rate_pps is None else f"{self.rate_pps:,.0f} pps".replace(",", " "),
            "" if self.cpu_ratio is None else f"{100 * self.cpu_ratio:.0f} %",
            "" if left is None else f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min",
        )


class LiveTable:
    """An observer of ``fleet.run``; a context manager. ``quiet``: nothing is shown."""

    def __init__(self, hosts: Sequence[str], *, quiet: bool = False) -> None:
        self._rows = {name: Row(name) for name in hosts}
        self._quiet = quiet
        self._live: Any = None

    def __enter__(self) -> LiveTable:
        if on_terminal() and not self._quiet:
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True)
            self._live = Live(
                get_renderable=lambda: self._table(console.width, console.height),
                console=console,
                refresh_per_second=REDRAWN_PER_SECOND,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: str, data: Mapping[str, Any]) -> None:
        row = self._rows.get(str(data.get("host")))
        if row is None:
            return
        before = (row.phase, row.note)
        if event == "host_started":
            row.phase, row.note = "starting", ""
        elif event == "phase":
            row.phase, row.note = clean(str(data["phase"])), ""
            measuring = row.phase == "measuring"
            row.rate_pps = data.get("rate_pps")
            row.cpu_ratio = data.get("cpu_ratio") or (row.cpu_ratio if measuring else None)
            row.left_seconds, row.left_at = data.get("left_seconds"), time.monotonic()
        elif event == "host_waits":
            row.phase, row.note = "waiting", clean(str(data["because"]))
        elif event == "said":
            self._say(f"{row.host}: {clean(str(data['text']), 400)}")
            return
        elif event == "host_finished":
            row.phase, row.note = str(data["state"]), clean(str(data["reason"]), 200)
            row.left_seconds = None
        if (row.phase, row.note) != before:
            self._changed(row)

    def _changed(self, row: Row) -> None:
        if self._live is None and not self._quiet:
            _, phase, rate, cpu, left = row.cells(time.monotonic())
            rest = [rate, cpu and f"CPU {cpu}", left and f"left {left}"] if row.phase not in ENDED else []
            say("  ".join(part for part in (f"{row.host}: {phase}", *rest) if part))

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        if self._live is not None:
            self._live.console.print(printable(text), highlight=False, markup=False)
        else:
            say(text)

    def _table(self, width: int, lines: int) -> Group:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        rows, hidden = self._shown(lines)
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        table.add_column("host", no_wrap=True)
        # The only one that gives way: a reason may be long, and figures that are cut say nothing.
        taken = max(len(row.host) for row in rows) + sum(FIGURES.values()) + GAP * (1 + len(FIGURES))
        table.add_column("phase", no_wrap=True, overflow="ellipsis", max_width=max(LEAST_PHASE, width - taken))
        for name, least in FIGURES.items():
            table.add_column(name, justify="right", no_wrap=True, min_width=least)
        now = time.monotonic()
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row.cells(now)))
        return Group(table, *([Text(f"and {counted(hidden, 'more host')}", style="dim")] if hidden else []))

    def _shown(self, lines: int) -> tuple[list[Row], int]:
        """As many as fit on a terminal of so many lines, those at work first, then those that ended without success."""
        most = max(3, lines - OTHER_LINES)
        rows = list(self._rows.values())
        if len(rows) <= most:
            return rows, 0
        rank = {"waiting": 2, "done": 3}
        kept = sorted(rows, key=lambda row: 1 if row.phase in ENDED[1:] else rank.get(row.phase, 0))[:most]
        return [row for row in rows if row in kept], len(rows) - most
