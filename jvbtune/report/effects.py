"""What the swept settings change: ratios on a logarithmic scale, one panel a metric; dropped packets as counts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jvbtune.fit.compare import EQUIVALENCE, PRIORITY, Comparison, Metric, SettingVerdict
from jvbtune.report import words
from jvbtune.report.figure import Entry, Figure, figure
from jvbtune.report.rows import Mark, Row, draw_rows
from jvbtune.report.scales import Scale, counts, is_near, ratios
from jvbtune.report.svg import CROSS, Canvas
from jvbtune.result.model import RunResult

#: An end of an interval that is further from 1 than this many times the furthest estimate is an arrow: it tells that
#: little is known, and must not flatten what is.
REACH = 30.0


def effect_figures(result: RunResult) -> Iterator[Figure]:
    """A panel for each metric that was compared, drops in bursts aside: they are counts, see ``bursts_figure``."""
    for metric in PRIORITY:
        if metric is not Metric.BURST_DROPS:
            found = [(s, c) for s in result.settings for c in s.comparisons if c.metric is metric]
            if found:
                yield _effects(metric, found)


def _effects(metric: Metric, found: Sequence[tuple[SettingVerdict, Comparison]]) -> Figure:
    rows = [_row(setting, one) for setting, one in found]
    scale = _scale([one for _, one in found])
    margin = 1 + EQUIVALENCE[metric]
    name = words.metric(metric)

    def tick(ratio: float) -> str:
        if is_near(scale):
            return (
                "as found"
                if math.isclose(ratio, 1)
                else f"{100 * (ratio - 1):+.3g}{words.THIN}%".replace("-", words.MINUS)
            )
        return f"×{words.THIN}{words.factor(ratio)}"

    def draw(canvas: Canvas) -> None:
        zone = (1 / margin, margin)
        draw_rows(canvas, rows, scale, "less is better; 95 % intervals", tick, reference=1.0, zone=zone)

    caption = (
        f"Each value against the one found on arrival. Changes inside the shaded area, up to "
        f"{words.percent(EQUIVALENCE[metric])}, count as no difference."
    )
    alt = f"{name} with each value, compared with the value found on arrival: " + "; ".join(
        f"{row.name} {row.shown}" for row in rows
    )
    legend = [
        Entry(f"point {css}", text, 0)
        for css, text in (("better", "better"), ("worse", "worse"), ("open", "not significant"))
        if any(mark.css == css for row in rows for mark in row.marks)
    ]
    return figure(f"effect-{metric.value}", name, caption, draw, alt=alt + ".", legend=legend)


def _row(setting: SettingVerdict, one: Comparison) -> Row:
    css = "open" if not one.significant else "worse" if one.worse else "better"
    low, high = (None if end is None else 1 + end for end in one.interval)
    value = None if one.effect is None else 1 + one.effect
    shown = f"{words.change(one.effect)} ({words.change(one.interval[0])} to {words.change(one.interval[1])})"
    return Row(
        f"{one.metric.value}-{one.step}",
        words.step(f"{setting.name}={one.value}"),
        shown,
        (Mark(css, value, low, high),),
    )


def _scale(found: Sequence[Comparison]) -> Scale:
    """Of the estimates, and of the ends of intervals within ``REACH`` of them."""
    effects = [1 + one.effect for one in found if one.effect is not None]
    furthest = max((abs(math.log(value)) for value in effects if value > 0), default=0.0)
    reach = furthest + math.log(REACH)
    ends = [1 + end for one in found for end in one.interval if end is not None]
    return ratios([*effects, *(end for end in ends if end > 0 and abs(math.log(end)) <= reach)])


def bursts_figure(result: RunResult) -> Figure | None:
    """Packets that the receive buffer dropped in each burst trial; None if there was none."""
    bursts = [row for row in result.trials if row.get("kind") == "burst" and row.get("socket_drops") is not None]
    if not bursts:
        return None
    steps = sorted(dict.fromkeys(str(row["step"]) for row in bursts), key=lambda step: (step != "baseline", step))
    rows = []
    for step in steps:
        used = [row for row in bursts if str(row["step"]) == step and row.get("valid", True)]
        rest = [row for row in bursts if str(row["step"]) == step and not row.get("valid", True)]
        marks = [
            Mark(css, dots=tuple((float(row["socket_drops"]), _title(row)) for row in group), shape=shape)
            for css, shape, group in (("point unused", CROSS, rest), ("point s0", 0, used))
            if group
        ]
        rows.append(
            Row(f"bursts-{step}", words.step(step), _shown([float(r["socket_drops"]) for r in used]), tuple(marks))
        )
    scale = counts([float(row["socket_drops"]) for row in bursts])
    alt = "Packets dropped in burst trials: " + "; ".join(f"{row.name}: {row.shown}" for row in rows) + "."

    def draw(canvas: Canvas) -> None:
        draw_rows(canvas, rows, scale, "packets dropped by the receive buffer", words.count)

    legend = [Entry("point s0", "one trial", 0)]
    unused = sum(not row.get("valid", True) for row in bursts)
    if unused:
        legend.append(Entry("point unused", f"not used ({unused})", CROSS))
    caption = "In a burst trial all packets of a moment arrive at once, as after a pause or when many people join."
    return figure("bursts", "Packets dropped in bursts", caption, draw, alt=alt, legend=legend)


def _title(row: Mapping[str, Any]) -> str:
    text = f"{row['trial']}: {words.count(row['socket_drops'])} packets dropped"
    because = "; ".join(str(reason) for reason in row.get("invalid_because") or ())
    return f"{text}. Not used: {because}" if because else text


def _shown(drops: Sequence[float]) -> str:
    if not drops:
        return "no valid trial"
    trials = "1 trial" if len(drops) == 1 else f"{len(drops)} trials"
    if not any(drops):
        return f"none in {trials}"
    return f"mean {words.count(sum(drops) / len(drops))} in {trials}"
