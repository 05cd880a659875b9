"""A search in the report: each restart by its own number, also for a goal that some of them were not searched for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.capacity.goals import goals
from jvbtune.capacity.result import conclude
from jvbtune.capacity.search import Bracket, State
from jvbtune.fit import Limits
from jvbtune.report import write_report
from jvbtune.report.limits import bracket_rows, search_figure
from jvbtune.result import RunResult, result_of
from jvbtune.store import Run
from tests.report import runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return runs.searched(tmp_path_factory.mktemp("searched"), [53_000, 54_500, 56_000], "--seed", "3")


def test_the_table_has_a_column_for_each_restart_where_ndr_was_searched_in_the_first_one(run: Run) -> None:
    page = write_report(run).read_text()
    table = page[page.index('aria-label="The search, restart by restart"') :]
    table = table[: table.index("</table>")]
    assert re.findall(r"<th>(.*?)</th>", table) == ["Limit", "All restarts", "Restart 1", "Restart 2", "Restart 3"]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    assert {len(row) for row in rows} == {5}
    (ndr,) = [row for row in rows if row[0].startswith("No loss")]
    assert ndr[3:] == ["–", "–"]


def with_search(result: RunResult) -> RunResult:
    """Delay was met after the first and the third restart."""
    wanted = goals(Limits())

    def bracket(place: int, pps: float) -> Bracket:
        return Bracket(wanted[place], 0.99 * pps, 1.01 * pps, pps, State.FOUND)

    restarts = [
        [bracket(2, 53_000), bracket(5, 60_000)],
        [bracket(2, 54_000)],
        [bracket(2, 55_000), bracket(5, 62_000)],
    ]
    return replace(result, search=conclude(wanted, restarts, minutes=9, width=0.03))


def test_a_goal_that_was_found_after_the_first_and_the_third_restart_is_shown_so(run: Run) -> None:
    result = with_search(result_of(run))
    (delay,) = [row for row in bracket_rows(result) if row.name.startswith("Delay")]
    assert delay.restarts[1] == "–"
    figure = search_figure(result)
    assert figure is not None
    row = str(figure.drawings[0]).split("search-delay")[1:]
    assert [number for part in row for number in re.findall(r"Restart (\d)", part)] == ["1", "3"]


def test_what_an_earlier_version_stored_is_shown(run: Run) -> None:
    result = with_search(result_of(run))
    assert result.search is not None
    ragged = tuple(
        replace(rate, brackets_pps=tuple(ends for ends in rate.brackets_pps if ends != (None, None)))
        for rate in result.search.rates
    )
    found = bracket_rows(replace(result, search=replace(result.search, rates=ragged)))
    assert {len(row.restarts) for row in found} == {3}
    assert search_figure(replace(result, search=replace(result.search, rates=ragged))) is not None


def test_of_a_saturated_bridge_loss_and_delay_are_drawn_at_what_was_offered(tmp_path: Path) -> None:
    run = runs.simulated(tmp_path, "--top", "1.5", "--blocks", "4", "--seed", "3")
    result = result_of(run)
    rows = {row["trial"]: row for row in result.trials}
    assert any(row["offered_pps"] > 1.05 * row["bridge_pps"] for row in rows.values())
    page = write_report(run).read_text()
    for key, column, axis in (
        ("loss", "offered_pps", "packet rate that was offered, in + out (pps)"),
        ("delay", "offered_pps", "packet rate that was offered, in + out (pps)"),
        ("cpu", "bridge_pps", "packet rate of the bridge, in + out (pps)"),
    ):
        plot = page[page.index(f'id="plot-{key}"') :]
        plot = plot[: plot.index("</svg>")]
        drawn = dict(re.findall(r'data-trial="([^"]+)"[^>]*?data-x="([^"]+)"', plot))
        assert drawn, key
        assert {trial: float(x) for trial, x in drawn.items()} == {trial: rows[trial][column] for trial in drawn}
        assert axis in plot
    assert "pps offered, Packet loss" in page.replace("\u202f", " ")
