"""``fleet report``: one HTML page of a fleet, with the look of a run's report. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from jvbtune import __version__
from jvbtune.fleet.kinds import UNKNOWN, HostFigure, Kind
from jvbtune.report import words
from jvbtune.report.figure import Entry, Figure, figure
from jvbtune.report.html import policy, read_file
from jvbtune.report.limits import AXIS
from jvbtune.report.rows import Mark, Row, draw_rows
from jvbtune.report.scales import linear
from jvbtune.report.svg import Canvas
from jvbtune.result.compare import needed
from jvbtune.result.model import Interval
from jvbtune.text import counted


def render(kinds: Sequence[Kind], *, title: str, created_unix: float, price_text: str = "", simulated: int = 0) -> str:
    """The whole page. ``simulated``: how many hosts are left out because
    their runs are simulated. ``price_text``: what a price is of, such as ``EUR an hour``."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"count": words.count, "pps": words.pps, "percent": words.percent, "prose": words.prose}
    environment.globals["counted"] = counted
    environment.filters |= {"ends": words.pps_interval, "limit": words.limit, "needed": needed}
    style, script = read_file("report.css"), read_file("report.js")
    template = resources.files("jvbtune.fleet").joinpath("page.html.j2").read_text(encoding="utf-8")
    hosts = [host for kind in kinds for host in kind.hosts]
    return environment.from_string(template).render(
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script),
        title=title,
        kinds=kinds,
        hosts=len(hosts),
        measured=sum(host.rate_pps is not None for host in hosts),
        worse=[(kind, host) for kind in kinds for host in kind.worse],
        figures=list(_figures(kinds, price_text)),
        each=[found for kind in kinds if (found := _hosts_figure(kind)) is not None],
        prices=any(kind.price for kind in kinds),
        simulated=simulated,
        price_text=price_text or "of the price",
        created=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(created_unix)),
        version=__version__,
    )


def _figures(kinds: Sequence[Kind], price_text: str) -> Iterator[Figure]:
    found = _kinds_figure(
        "types",
        "Max packet rate of a host, by machine type",
        "The average host of each type, with its 95 % interval. More is better. The dots are the hosts.",
        AXIS,
        kinds,
        lambda kind: 1.0,
    )
    if found is not None:
        yield found
    found = _kinds_figure(
        "cores",
        "Max packet rate of one core, by machine type",
        "The same, divided by the cores that the bridge may use: what a larger machine of the type gains.",
        "packet rate for each core, in + out (pps)",
        kinds,
        lambda kind: kind.cores,
    )
    if found is not None:
        yield found
    found = _kinds_figure(
        "prices",
        "Max packet rate for the price, by machine type",
        f"The same, divided by the price of a host{f', in {price_text}' if price_text else ''}. More is better.",
        "packet rate for one unit of the price, in + out (pps)",
        kinds,
        lambda kind: kind.price,
    )
    if found is not None:
        yield found


def _kinds_figure(
    key: str, title: str, caption: str, axis: str, kinds: Sequence[Kind], divisor: Callable[[Kind], float | None]
) -> Figure | None:
    shown = []
    for kind in kinds:
        found = kind.per(divisor(kind))
        if found is not None:
            shown.append((kind, *found))
    if not shown:
        return None
    best = max(rate for _, rate, _ in shown)
    rows, values = [], [0.0]
    for kind, rate, ends in shown:
        by = divisor(kind) or 1.0
        dots = tuple(
            (one.rate_pps / by, f"{one.host}: {words.pps(one.rate_pps)}") for one in kind.hosts if one.rate_pps
        )
        marks = [Mark("deployed" if rate == best else "plain", rate, *ends)]
        if len(dots) > 1:
            marks.insert(0, Mark("point small", dots=dots))
        text = f"{words.count(rate)} ({_ends(ends)})"
        rows.append(Row(f"{key}-{kind.name}", f"{kind.name} ({counted(len(kind.hosts), 'host')})", text, tuple(marks)))
        values += [rate, *(end for end in ends if end is not None), *(value for value, _ in dots)]
    scale = linear(values, most=5)
    alt = f"{title}: " + "; ".join(f"{row.name} {row.shown}" for row in rows) + "."
    legend = [
        Entry("point deployed", "highest", 0),
        Entry("point plain", "other types, with 95 % intervals", 0),
        Entry("point small", "one host", 0),
    ]
    return figure(key, title, caption, lambda c: draw_rows(c, rows, scale, axis, words.count), alt=alt, legend=legend)


def _hosts_figure(kind: Kind) -> Figure | None:
    """The hosts of one type, and the line of their average; nothing for a single host."""
    measured = [host for host in kind.hosts if host.rate_pps is not None]
    if len(measured) < 2:
        return None
    rows = [_host_row(kind, host) for host in measured]
    values = [v for host in measured for v in (host.rate_pps, *host.interval_pps) if v is not None]
    scale = linear([*values, *([kind.rate_pps] if kind.rate_pps else [])], zero=False, most=5)
    title = "Hosts of unknown machine types" if kind.name == UNKNOWN else f"Hosts of the type {kind.name}"
    alt = f"{title}: " + "; ".join(f"{row.name} {row.shown}" for row in rows) + "."
    legend = [Entry("point plain", "a host, with its 95 % interval", 0)]
    if kind.worse:
        legend.append(Entry("point worse", "worse than its kind", 0))
    if kind.rate_pps is not None:
        legend.append(Entry("reference", f"average host of the type: {words.pps(kind.rate_pps)}"))

    def draw(canvas: Canvas) -> None:
        draw_rows(canvas, rows, scale, AXIS, words.count, reference=kind.rate_pps)

    return figure(f"hosts-{kind.name}", title, _verdict(kind), draw, alt=alt, legend=legend)


def _host_row(kind: Kind, host: HostFigure) -> Row:
    worse = host in kind.worse
    mark = Mark("worse" if worse else "plain", host.rate_pps, *host.interval_pps)
    text = f"{words.count(host.rate_pps)} ({_ends(host.interval_pps)})"
    return Row(f"host-{host.host}", host.host, text, (mark,), strong=worse)


def _verdict(kind: Kind) -> str:
    if kind.worse:
        names = ", ".join(host.host for host in kind.worse)
        return f"{names}: worse than the others of the type by more than chance. Look at the host before you deploy."
    if kind.pooled is not None and kind.pooled.heterogeneity_p < 0.05:
        p = kind.pooled.heterogeneity_p
        return f"The hosts differ by more than chance (p = {p:.2g}), but no single host is worse than the others."
    if kind.pooled is None:
        return kind.why_not_pooled
    return "The differences between these hosts are within chance."


def _ends(ends: Interval) -> str:
    low, high = ends
    return f"{words.count(low or 0)} to {'…' if high is None else words.count(high)}"
