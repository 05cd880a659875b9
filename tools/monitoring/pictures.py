"""Draws docs/images/dashboards/*.svg: each panel of the dashboards, from a real server's answers to its own queries.

The data is that of ``feed``, over six hours: InfluxDB has it by line protocol; panels that only Prometheus has are
drawn from a Prometheus whose past promtool imported. Run it after a change of the dashboards: make dashboard-pictures.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.registry import CollectorRegistry

from jvbtune.export.grafana import render
from jvbtune.export.grafana.model import Datasource
from jvbtune.observe.prometheus import LatestRows
from jvbtune.report.figure import Axis
from jvbtune.report.scales import linear
from jvbtune.report.svg import Canvas, element
from tools.monitoring import feed, servers
from tools.monitoring.panels import Drawn, Line, Range, draw
from tools.monitoring.shown import value

WHERE = Path(__file__).parents[2] / "docs" / "images" / "dashboards"
HOURS, EVERY_SECONDS, STEP_SECONDS = 6, 30, 240
#: So that pictures are the same each time: 2026-01-05 12:00 UTC.
END = 1_767_614_400
COLUMNS, WIDTH, HEIGHT, GAP = 3, 330, 182, 10
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 26, 56
COLOURS = ("#0a67a3", "#00785a", "#a3467f", "#8d6200", "#4a5bbf", "#7d8792")
THRESHOLDS = {"orange": "#d98200", "red": "#c4162a"}
STYLE = (
    "text{font:10px system-ui,sans-serif;fill:#57606a}.title{font-size:11.5px;font-weight:600;fill:#1b1f24}"
    ".big{font-size:30px;font-weight:650;fill:#1b1f24}.box{fill:#fff;stroke:#d5dbe1}.grid{stroke:#e4e8ec}"
    ".row{font-size:14px;font-weight:650;fill:#1b1f24}.page{fill:#f3f5f7}.line{fill:none;stroke-width:1.4}"
    ".limit{stroke-dasharray:6 4}.step{stroke-dasharray:3 3;opacity:.8}.band{fill:#f2b45c;opacity:.3;stroke:none}"
)


def main() -> int:
    if missing := servers.missing_packages():
        sys.stderr.write(f"Missing: apt-get install -y {' '.join(missing)}\n")
        return 1
    WHERE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with servers.influxdb(directory / "influxdb") as influx:
            for at in _times():
                influx.write([line for host in feed.HOSTS for line in feed.lines(host, at)])
            drawn = {spec: list(_drawn(spec, Datasource.INFLUXDB, influx)) for spec in ("cluster", "host")}
        with servers.prometheus(directory / "prometheus", [], past=_past(directory)) as prometheus:
            for spec, panels in drawn.items():
                there = {one.title for one in panels}
                more = [one for one in _drawn(spec, Datasource.PROMETHEUS, prometheus) if one.title not in there]
                panels += more
    total = 0
    for spec, panels in drawn.items():
        for row, members in _rows(spec, panels):
            path = WHERE / f"{spec}-{re.sub(r'[^a-z]+', '-', row.lower()).strip('-')}.svg"
            path.write_text(_picture(row, members))
            total += path.stat().st_size
            print(path.relative_to(WHERE.parents[2]), path.stat().st_size)
    print(f"{total / 1000:.0f} kB in all")
    return 0


def _times() -> range:
    return range(END - 3600 * HOURS, END + 1, EVERY_SECONDS)


def _past(directory: Path) -> Path:
    """Blocks of Prometheus with the same six hours, by promtool."""
    text = directory / "past.txt"
    with text.open("w") as out:
        families: dict[str, list[str]] = {}
        for at in _times():
            latest = LatestRows(max_age_seconds=60)
            for host in feed.HOSTS:
                latest.put(feed.row(host, at))
            registry = CollectorRegistry()
            registry.register(latest)
            for family in registry.collect():
                kept = families.setdefault(family.name, [f"# TYPE {family.name} {family.type}"])
                kept += [_sample(one.name, one.labels, one.value, at) for one in family.samples]
            for host in feed.HOSTS:
                for line in feed.own_metrics(host, at).splitlines():
                    name, _, number = line.partition(" ")
                    plain = name.partition("{")[0]
                    labels = host.labels | dict(re.findall(r'(\w+)="([^"]*)"', name))
                    families.setdefault(plain, [f"# TYPE {plain} unknown"]).append(_sample(plain, labels, number, at))
        out.writelines(line + "\n" for lines in families.values() for line in lines)
        out.write("# EOF\n")
    blocks = directory / "blocks"
    argv = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(blocks)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return blocks


def _sample(name: str, labels: dict[str, str], number: object, at: int) -> str:
    return f"{name}{{{','.join(f'{key}={json.dumps(text)}' for key, text in labels.items())}}} {number} {at}"


def _drawn(spec: str, datasource: Datasource, server: Any) -> Iterator[Drawn]:
    text = render([datasource])[f"jvbtune-{spec}-{datasource}.json"]
    when = Range(END - 3600 * HOURS, END, EVERY_SECONDS)
    chosen = {"host": ["jvb-eu-1"]} if spec == "host" else {}
    return draw(text, server, when, chosen, least=STEP_SECONDS)


def _rows(spec: str, panels: Sequence[Drawn]) -> Iterator[tuple[str, list[Drawn]]]:
    """Rows of the dashboard with their panels in its own order."""
    read = json.loads(render([Datasource.PROMETHEUS])[f"jvbtune-{spec}-prometheus.json"])
    by_title = {one.title.partition(": ")[0]: one for one in panels}
    row, members = "", []
    for panel in read["panels"]:
        if panel["type"] == "row":
            if members:
                yield row, members
            row, members = panel["title"], []
        else:
            members.append(by_title[panel["title"].partition(": ")[0]])
    yield row, members


def _picture(row: str, panels: Sequence[Drawn]) -> str:
    lines = -(-len(panels) // COLUMNS)
    canvas = Canvas(COLUMNS * (WIDTH + GAP) + GAP, lines * (HEIGHT + GAP) + GAP)
    canvas.rect(0, 0, canvas.width, canvas.height, "page")
    parts = [str(part) for part in canvas.parts]
    for index, one in enumerate(panels):
        inner = Canvas(WIDTH, HEIGHT)
        _panel(inner, one)
        x, y = GAP + index % COLUMNS * (WIDTH + GAP), GAP + index // COLUMNS * (HEIGHT + GAP)
        parts.append(f'<g transform="translate({x} {y})">{"".join(str(part) for part in inner.parts)}</g>')
    alt = element("title", "", f"{row}: {', '.join(one.title for one in panels)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {canvas.width} {canvas.height}" role="img">{alt}'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _panel(canvas: Canvas, one: Drawn) -> None:
    canvas.rect(0.5, 0.5, WIDTH - 0.5, HEIGHT - 0.5, "box", rx=4)
    canvas.text(10, 17, one.title, "title")
    kind = one.panel["type"]
    unit = one.panel["fieldConfig"]["defaults"]["unit"]
    steps = one.panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    if kind == "stat":
        canvas.text(WIDTH / 2, HEIGHT / 2 + 16, value(one.lines[0].last, unit), "big", "middle")
    elif kind == "bargauge":
        _bars(canvas, one.lines, unit, steps)
    else:
        _graph(canvas, one, unit, steps)


def _colour(number: float, steps: Sequence[dict[str, Any]]) -> str:
    reached = [step["color"] for step in steps if step["value"] is None or number >= step["value"]]
    return THRESHOLDS.get(reached[-1], COLOURS[1])


def _bars(canvas: Canvas, lines: Sequence[Line], unit: str, steps: Sequence[dict[str, Any]]) -> None:
    most = max(line.last for line in lines)
    for index, line in enumerate(lines):
        y = TOP + 8 + index * 30
        canvas.text(10, y + 8, line.legend)
        canvas.rect(10, y + 12, 10 + (WIDTH - 70) * line.last / most, y + 22, "", fill=_colour(line.last, steps))
        canvas.text(WIDTH - 10, y + 21, value(line.last, unit), "", "end")


def _graph(canvas: Canvas, one: Drawn, unit: str, steps: Sequence[dict[str, Any]]) -> None:
    values = [number for line in one.lines for _, number in line.points]
    y_axis = Axis(linear(values, most=4), HEIGHT - BOTTOM, TOP)
    for tick in y_axis.scale.ticks:
        y = y_axis.at(tick)
        canvas.line(LEFT, y, WIDTH - RIGHT, y, "grid")
        canvas.text(LEFT - 4, y + 3, _short(tick, unit), "", "end")
    for step in steps:
        if step["value"] is not None and y_axis.scale.holds(step["value"]):
            y = y_axis.at(step["value"])
            canvas.line(LEFT, y, WIDTH - RIGHT, y, "step", stroke=THRESHOLDS[step["color"]])
    begin = END - 3600 * HOURS
    for hour in range(0, HOURS + 1, 2):
        at = time.strftime("%H:%M", time.gmtime(begin + 3600 * hour))
        canvas.text(_x(begin + 3600 * hour), HEIGHT - BOTTOM + 13, at, "", "middle" if hour < HOURS else "end")
    edges = {line.legend: line for line in one.lines if line.legend.startswith("interval, ")}
    if len(edges) == 2:
        low, high = (edges[f"interval, {end}"].points for end in ("low", "high"))
        corners = [*high, *reversed(low)]
        canvas.path([(_x(at), y_axis.clamped(number)) for at, number in corners], "band", closed=True)
    dashed = [
        re.compile(override["matcher"]["options"].strip("/"))
        for override in one.panel["fieldConfig"]["overrides"]
        if override["matcher"]["id"] == "byRegexp"
    ]
    shown = [line for line in one.lines if line.legend not in edges]
    for index, line in enumerate(shown):
        css = "line limit" if any(pattern.search(line.legend) for pattern in dashed) else "line"
        points = [(round(_x(at)), round(y_axis.clamped(number), 1)) for at, number in line.points]
        canvas.path(_thinned(points), css, stroke=COLOURS[index % len(COLOURS)])
    _legend(canvas, [line.legend for line in shown])


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without points on a horizontal line between its ends."""
    return [
        point
        for index, point in enumerate(points)
        if index in (0, len(points) - 1) or not points[index - 1][1] == point[1] == points[index + 1][1]
    ]


def _x(at: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (at - END + 3600 * HOURS) / (3600 * HOURS)


def _short(number: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{100 * number:g} %"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:.3g}"


def _legend(canvas: Canvas, legends: Sequence[str]) -> None:
    x, y = 10.0, HEIGHT - 28
    for index, text in enumerate(legends):
        width = 5.4 * len(text) + 20
        if x + width > WIDTH - 6:
            x, y = 10.0, y + 12
        if y > HEIGHT:
            return
        canvas.rect(x, y - 4, x + 9, y - 2, "", fill=COLOURS[index % len(COLOURS)])
        canvas.text(x + 13, y, text)
        x += width


if __name__ == "__main__":
    sys.exit(main())
