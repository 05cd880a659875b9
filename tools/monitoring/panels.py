"""Runs the queries of a dashboard as Grafana does: variables and macros replaced, legends filled in.

Grafana's rules: a variable with several values is a group of alternatives in a regular expression, with what is special
in one escaped; "All" is the variable's own ``allValue``. ``$__interval`` is the range over the points, but at least the
panel's ``interval``; ``$__rate_interval`` is at least four scrape intervals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.monitoring.servers import Influx, Prometheus

POINTS = 200
Variables = Mapping[str, Sequence[str]]  #: name -> chosen values; one that is missing is "All"


@dataclass(frozen=True)
class Range:
    """Unix times, and the shortest interval of points that there is data for, in seconds."""

    begin: float
    end: float
    sample_seconds: float = 1.0

    def interval(self, least: float) -> int:
        return max(1, round(max((self.end - self.begin) / POINTS, least, self.sample_seconds)))


@dataclass(frozen=True)
class Line:
    """One series as it is drawn: Unix times and values."""

    legend: str
    points: tuple[tuple[float, float], ...]

    @property
    def last(self) -> float:
        return self.points[-1][1]


@dataclass(frozen=True)
class Drawn:
    """A panel, with what each of its targets gave."""

    dashboard: str
    panel: dict[str, Any]
    targets: tuple[tuple[Line, ...], ...]

    @property
    def title(self) -> str:
        return str(self.panel["title"])

    @property
    def lines(self) -> list[Line]:
        return [line for target in self.targets for line in target]


def draw(
    dashboard: str, server: Prometheus | Influx, when: Range, variables: Variables | None = None, least: float = 0
) -> Iterator[Drawn]:
    """Every panel of the dashboard (its JSON). A panel that repeats is drawn for each chosen value. ``least``: the
    panel's least interval is that at most, in seconds, for data of a short while; 0: as the panel says."""
    read = json.loads(dashboard)
    chosen = variables or {}
    for panel in read["panels"]:
        if panel["type"] == "row":
            continue
        each: list[Variables] = [chosen]
        if name := panel.get("repeat"):
            values = chosen.get(name) or values_of(read, server, name, when, chosen)
            each = [{**chosen, name: [value]} for value in values]
        for one in each:
            interval = when.interval(least or _seconds(panel["interval"]))
            replace = _replacer(read, one, when, interval, isinstance(server, Influx))
            targets = tuple(tuple(_run(target, server, when, interval, replace)) for target in panel["targets"])
            yield Drawn(read["title"], {**panel, "title": replace(panel["title"])}, targets)


def values_of(
    dashboard: dict[str, Any], server: Prometheus | Influx, name: str, when: Range, chosen: Variables | None = None
) -> list[str]:
    """What the drop-down of a variable offers, with these values chosen of those before it."""
    variable = next(one for one in dashboard["templating"]["list"] if one["name"] == name)
    query = _replacer(dashboard, chosen or {}, when, 1, isinstance(server, Influx))(variable["query"])
    if isinstance(server, Influx):
        return sorted({row[1] for series in server.query(query) for row in series["values"]})
    found = re.fullmatch(r"label_values\((.+), *(\w+)\)", query)
    assert found is not None, query
    times = {"start": str(when.begin), "end": str(when.end)}
    return sorted(server.get(f"/api/v1/label/{found[2]}/values", **{"match[]": found[1]}, **times))


def _run(target: dict[str, Any], server: Prometheus | Influx, when: Range, step: int, replace: Any) -> Iterator[Line]:
    if isinstance(server, Influx):
        for series in server.query(replace(target["query"])):
            points = tuple((row[0] / 1000, float(row[1])) for row in series["values"] if row[1] is not None)
            if points:
                yield Line(_alias(target["alias"], series.get("tags", {})), points)
        return
    times = {"start": f"{when.begin:.3f}", "end": f"{when.end:.3f}", "step": str(step)}
    for series in server.get("/api/v1/query_range", query=replace(target["expr"]), **times)["result"]:
        points = tuple((float(at), float(value)) for at, value in series["values"] if value not in ("NaN", "+Inf"))
        if points:
            yield Line(_legend(target["legendFormat"], series["metric"]), points)


def _replacer(dashboard: dict[str, Any], chosen: Variables, when: Range, step: int, influx: bool) -> Any:
    replacements = {
        "$__rate_interval": f"{max(step + round(when.sample_seconds), 4 * round(when.sample_seconds))}s",
        "$__interval": f"{step}s",
        "$timeFilter": f"time >= {int(when.begin * 1000)}ms and time <= {int(when.end * 1000)}ms",
    }
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        values = chosen.get(variable["name"])
        text = variable["allValue"] if not values else _alternatives(values, influx)
        replacements[f"${variable['name']}"] = text
    pattern = re.compile("|".join(re.escape(name) + r"(?!\w)" for name in sorted(replacements, key=len, reverse=True)))
    return lambda text: pattern.sub(lambda found: replacements[found[0]], text)


def _alternatives(values: Sequence[str], influx: bool) -> str:
    """Grafana escapes what is special in a regular expression, and for PromQL the backslash in its string too."""
    escaped = [re.sub(r"[\\^$*+?.()|{}\[\]/]", r"\\\g<0>", value) for value in values]
    if not influx:
        escaped = [re.sub(r"\\/", "/", value).replace("\\", "\\\\") for value in escaped]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _legend(text: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), text)


def _alias(text: str, tags: Mapping[str, str]) -> str:
    return re.sub(r"\$tag_(\w+)", lambda found: tags.get(found[1], ""), text)


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    return float(text[:-1]) * units[text[-1]]
