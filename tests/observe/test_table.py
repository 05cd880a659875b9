"""What people see: one row for a host, with what is not known as a dash."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from jvbtune.observe.table import line, state, table
from tests.fleet.terminal import on_terminal
from tests.observe.samples import ROW


@pytest.mark.parametrize(
    ("values", "process", "shown"),
    [
        ({"up": 0.0}, None, "lost"),
        ({"up": 1.0, "bridge_up": 0.0}, None, "no bridge"),
        ({"up": 1.0, "bridge_up": 0.0}, (1, 2), "no answer"),
        ({"up": 1.0, "bridge_up": 1.0, "healthy": 0.0}, (1, 2), "unhealthy"),
        ({"up": 1.0, "bridge_up": 1.0, "healthy": 1.0, "drain": 1.0}, (1, 2), "draining"),
        ({"up": 1.0, "bridge_up": 1.0, "load_threshold_in_force": 0.0}, (1, 2), "threshold!"),
        ({"up": 1.0, "bridge_up": 1.0, "load_threshold_in_force": 1.0}, (1, 2), "ok"),
        ({"up": 1.0, "bridge_up": 1.0}, (1, 2), "ok"),
    ],
)
def test_the_state_of_a_host(values: dict[str, float], process: tuple[int, int] | None, shown: str) -> None:
    assert state(replace(ROW, values=values, process=process)) == shown


def test_a_line_of_a_row() -> None:
    text = line(replace(ROW, values={**ROW.values, "bridge_up": 1.0}))
    assert text.startswith("2026-09-21T14:13:20Z jvb-1 ok packets/s=12346 capacity_used=25.0% stress=0.50 endpoints=-")
    assert "\n" not in text


def test_a_table_of_hosts_shows_no_control_characters() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    console.print(table([replace(ROW, host="b\x1b[2J"), replace(ROW, host="a", values={"up": 0.0})], 200))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    first, second = (text for text in shown.splitlines()[2:] if text.strip())
    assert first.split()[:3] == ["a", "lost", "-"]
    assert "12 346" in second
    assert "25.0%" in second
    assert "\x1b" not in shown


MANY = """
import time
from dataclasses import replace
from jvbtune.cli.observe import _live_table
from tests.observe.samples import ROW

with _live_table() as table:
    for at in sorted(range(30), key=lambda at: at == 28):
        up = {} if at == 28 else {**ROW.values, "bridge_up": 1.0}
        table.put(replace(ROW, host=f"jvb-{at:02}", values=up))
    time.sleep(60)
"""


@pytest.mark.parametrize(("columns", "rows"), [(80, 16), (40, 20), (120, 12)])
def test_hosts_that_do_not_fit_on_a_terminal_are_counted(columns: int, rows: int) -> None:
    """Those that need somebody are shown."""
    root = Path(__file__).parents[2]
    with on_terminal([sys.executable, "-c", MANY], root, columns=columns, rows=rows) as terminal:
        screen = terminal.until(
            lambda lines: (
                any("more host" in line for line in lines) and any(line.startswith("jvb-28") for line in lines)
            )
        )
    shown = [line.split()[0] for line in screen if line.startswith("jvb-")]
    assert screen[-1] == f"… and {30 - len(shown)} more hosts"
    assert shown == [*(f"jvb-{at:02}" for at in range(len(shown) - 1)), "jvb-28"]
    assert any(line.startswith("host") for line in screen)
    assert rows - 2 <= len(screen) <= rows


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_no_cell_is_cut_and_what_does_not_fit_is_named(width: int) -> None:
    host = "jvb-eu-central-1"
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(table([replace(ROW, host=host, values={**ROW.values, "bridge_up": 1.0})], width))
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert "…" not in "".join(lines)
    assert max(map(len, lines)) <= width
    [row] = [line for line in lines if line.startswith(host)]
    assert row.split()[1:4] == ["ok", "12", "346"]
    assert ("25.0%" in row) is (width > 40)
    hidden = " ".join(lines).partition("On a wider terminal also: ")[2]
    assert bool(hidden) is (width < 100)
    shown = " ".join(lines).partition(host)[0].split()
    assert shown.count("GC") + hidden.count("GC") == shown.count("drops/s") + hidden.count("drops/s") == 1
    assert ("over 50 ms" in hidden) is bool(hidden)
