"""Where each limit is met, by the fitted curves and by a search: intervals of packet rate, one row each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jvbtune.capacity.result import Rate, Search
from jvbtune.capacity.search import State
from jvbtune.report import words
from jvbtune.report.figure import Entry, Figure, figure
from jvbtune.report.rows import Mark, Row, draw_rows
from jvbtune.report.scales import Scale, linear
from jvbtune.report.svg import Canvas
from jvbtune.result.model import Interval, LimitFit, Method, RunResult

METHODS = {Method.CURVE: "Fitted curves", Method.SEARCH: "Search"}


def estimates_figure(result: RunResult) -> Figure | None:
    """Two estimates of one packet rate side by side; None if there are fewer."""
    if len(result.estimates) < 2:
        return None
    rows = []
    for one in result.estimates:
        mark = Mark("deployed" if one.deployed else "plain", one.max_packet_rate_pps, *one.interval_pps)
        shown = f"{words.pps(one.max_packet_rate_pps)} ({words.limit(one.binding_limit)})"
        name = METHODS[one.method] + (", used" if one.deployed else "")
        rows.append(Row(f"estimate-{one.method.value}", name, shown, (mark,), strong=one.deployed))
    scale = linear(_finite(rows), zero=False, most=4)
    agree = any(one.deployed for one in result.estimates)
    caption = (
        "Two ways to find one packet rate. Their 95 % intervals overlap, so they agree."
        if agree
        else "Two ways to find one packet rate. Their 95 % intervals do not overlap, so one of them is wrong, and "
        "jvbtune uses neither."
    )
    alt = "Max packet rate: " + "; ".join(
        f"{METHODS[e.method]} {words.pps(e.max_packet_rate_pps)}, 95 % interval {words.pps_interval(e.interval_pps)}"
        for e in result.estimates
    )
    title = "Two estimates of the max packet rate"
    return figure("estimates", title, caption, lambda c: draw_rows(c, rows, scale, AXIS, words.count), alt=alt + ".")


#: Between the bars of two restarts, in pixels.
SPACING = 9.0
AXIS = "packet rate of the bridge, in + out (pps)"


def limits_figure(result: RunResult) -> Figure | None:
    """The packet rate at which each fitted curve meets its limit."""
    if not result.limit_fits:
        return None
    highest = max((x for x in (_highest(result),) if x is not None), default=None)
    rows = [_limit_row(result, fit, highest) for fit in result.limit_fits]
    scale = linear([*_finite(rows), *([highest * 1.05] if highest else [])], most=5)
    alt = "Packet rate at which each limit is met: " + "; ".join(f"{row.name} {row.shown}" for row in rows) + "."
    caption = "The limit with the lowest packet rate decides. An arrow: the run did not reach the limit."

    def draw(canvas: Canvas) -> None:
        draw_rows(canvas, rows, scale, AXIS, words.count, reference=highest)

    legend = [
        Entry("point deployed", "decides the max packet rate", 0),
        Entry("point plain", "other limits, with 95 % intervals", 0),
    ]
    if highest is not None:
        legend.append(Entry("reference", f"highest packet rate of the run: {words.pps(highest)}"))
    return figure("limits", "Where each limit is met", caption, draw, alt=alt, legend=legend)


def _highest(result: RunResult) -> float | None:
    if result.recommendation is not None:
        return result.recommendation.highest_tested_pps
    rates = [row["bridge_pps"] for row in result.trials if row.get("valid") and row.get("kind") == "steady"]
    return max((float(r) for r in rates if r is not None), default=None)


def _limit_row(result: RunResult, fit: LimitFit, highest: float | None) -> Row:
    binding = _binding(result) == fit.name
    css = "deployed" if binding else "plain"
    name = f"{words.limit(fit.name)}: {words.fit_limit(fit)}"
    if len(name) > 40:
        name = f"{words.limit(fit.name)} {words.fit_limit(fit).split(' of ')[0]}"
    if fit.estimate_pps is None:
        low = fit.interval_pps[0]
        shown = "not reached" if not fit.note else "reached, not placed"
        if low is not None:
            shown += f" at {words.pps(low)}" if not fit.note else ""
        return Row(f"limit-{fit.name}", name, shown, (Mark(css, None, low, None),), strong=binding)
    shown = f"{words.pps(fit.estimate_pps)} ({_ends(fit.interval_pps)})"
    mark = Mark(css, fit.estimate_pps, *fit.interval_pps)
    return Row(f"limit-{fit.name}", name, shown, (mark,), strong=binding)


def _binding(result: RunResult) -> str | None:
    if result.recommendation is not None:
        return result.recommendation.binding_limit
    return result.estimates[0].binding_limit if result.estimates else None


def _ends(ends: Interval) -> str:
    low, high = ends
    return f"{words.count(low or 0)} to {'…' if high is None else words.count(high)}"


def search_figure(result: RunResult) -> Figure | None:
    """Of a search: for each goal the last rate that kept it and the first that broke it, restart by restart."""
    search = result.search
    if search is None or not any(rate.brackets_pps for rate in search.rates):
        return None
    rows = list(_search_rows(search.rates))
    if not rows:
        return None
    scale = linear(_finite(rows), most=5)
    caption = (
        f"{search.restarts} restarts in {search.minutes:.0f} min. Each bar is one restart. It begins at the highest "
        "packet rate that kept the limit and ends at the lowest that broke it. An arrow: none broke it."
    )
    alt = "What the search found: " + "; ".join(f"{row.name} {row.shown}" for row in rows) + "."

    def draw(canvas: Canvas) -> None:
        draw_rows(canvas, rows, scale, AXIS, words.count)

    legend = [
        Entry("bracket", "one restart", area=True),
        Entry("point deployed", "mean of the restarts, 95 % interval", 0),
    ]
    return figure("search", "What the search found", caption, draw, alt=alt, legend=legend)


def _search_rows(rates: tuple[Rate, ...]) -> Iterator[Row]:
    for rate in rates:
        if rate.state == State.NOT_MEASURED:
            continue
        tall = SPACING * (len(rate.brackets_pps) + 1)
        marks = [
            Mark("bracket", None, kept, broken, span=True, lift=SPACING * (place + 1) - tall / 2, title=title)
            for place, (kept, broken) in enumerate(rate.brackets_pps)
            if (kept, broken) != (None, None)
            for title in (f"Restart {place + 1}: {_bracket(kept, broken)}",)
        ]
        if rate.pps is not None and rate.state in (State.FOUND, State.WIDE):
            low, high = rate.interval_pps or (rate.pps, rate.pps)
            marks.append(Mark("deployed", rate.pps, low, high, lift=-tall / 2))
        yield Row(f"search-{rate.goal}", _goal(rate), search_words(rate), tuple(marks), tall=tall)


def _goal(rate: Rate) -> str:
    return f"{words.limit(rate.goal)}: {words.limit_value(rate.goal, rate.limit)}"


@dataclass(frozen=True)
class BracketRow:
    """A goal of the search, with what each restart found of it; a dash where it was not searched for the goal."""

    name: str
    shown: str
    restarts: tuple[str, ...]


def bracket_rows(result: RunResult) -> list[BracketRow]:
    search = result.search
    if search is None:
        return []
    return [
        BracketRow(_goal(rate), search_words(rate), tuple(_bracket(*ends) for ends in _of_each(search, rate)))
        for rate in search.rates
        if rate.state != State.NOT_MEASURED
    ]


def _of_each(search: Search, rate: Rate) -> tuple[Interval, ...]:
    """A place for each restart. Earlier versions stored none of those that were not searched for the goal."""
    return rate.brackets_pps + ((None, None),) * (search.restarts - len(rate.brackets_pps))


def search_words(rate: Rate) -> str:
    if rate.state == State.BROKEN:
        return "broken at the lowest load"
    if rate.state in (State.KEPT, State.GENERATOR):
        why = "generator's limit at" if rate.state == State.GENERATOR else "not reached up to"
        return f"{why} {words.pps(rate.pps)}"
    return words.pps(rate.pps)


def _bracket(kept: float | None, broken: float | None) -> str:
    if kept is None and broken is None:
        return "–"
    if broken is None:
        return f"kept at {words.pps(kept)}"
    if kept is None:
        return f"broken at {words.pps(broken)}"
    return f"{words.count(kept)} to {words.pps(broken)}"


def _finite(rows: list[Row]) -> list[float]:
    return [
        value
        for row in rows
        for mark in row.marks
        for value in (mark.value, mark.low, mark.high, *(x for x, _ in mark.dots))
        if value is not None
    ]


__all__ = ["METHODS", "Scale", "estimates_figure", "limits_figure", "search_figure", "search_words"]
