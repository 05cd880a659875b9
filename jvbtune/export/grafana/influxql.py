"""A series as InfluxQL, with Grafana's variables in it. It is for InfluxDB 1.x, and for the 1.x interface of 2.x.

All quantities are fields of one measurement: that of ``jvbtune observe``, and of telegraf if it has the same name.
"""

from __future__ import annotations

from collections.abc import Sequence

from jvbtune.export.grafana.model import SELECTORS, Over, Quantity, Series

SELECTION = " AND ".join(["$timeFilter", *(f'"{name}" =~ /^${name}$/' for name in SELECTORS)])


def query(series: Series, measurement: str) -> str:
    """The query of one series, all of whose quantities are in InfluxDB."""
    source = _source(series, measurement)
    upper, lower = _sum(series.of), _sum(series.per)
    if "host" in series.by:
        return _select(_scaled(_ratio(upper, lower), series.factor), source, SELECTION, series.by)
    if series.over in (Over.SUM, Over.COUNT):
        columns = [f'{upper} AS "a"', *([f'{lower} AS "b"'] if lower else [])]
        value = _ratio(f'{series.over.value}("a")', 'sum("b")' if lower else "")
    else:
        columns = [f'{_ratio(upper, lower)} AS "a"']
        value = f'{series.over.value}("a")'
    of_each_host = _select(", ".join(columns), source, SELECTION, ("host", *series.by))
    return _select(_scaled(value, series.factor), f"({of_each_host})", "$timeFilter", series.by)


def legend(series: Series) -> str:
    """An alias: labels as Grafana replaces them there."""
    return series.legend.replace("{", "$tag_").replace("}", "")


def _source(series: Series, measurement: str) -> str:
    """The measurement, beside it the rates of counters. They are made of the points themselves: of points that are
    grouped by time first, the last group is not full yet, and its rate would be too low."""
    quantities = (*series.of, *series.per)
    counters = [quantity for quantity in quantities if quantity.counter]
    sources = [f'"{measurement}"'] if len(counters) < len(quantities) else []
    if counters:
        rates = ", ".join(f'non_negative_derivative("{one.field}", 1s) AS "{_rate(one)}"' for one in counters)
        labels = ", ".join(f'"{name}"' for name in dict.fromkeys((*SELECTORS, *series.by)))
        sources.insert(0, f'(SELECT {rates} FROM "{measurement}" WHERE {SELECTION} GROUP BY {labels})')
    return ", ".join(sources)


def _select(value: str, source: str, where: str, by: Sequence[str]) -> str:
    grouping = ", ".join(["time($__interval)", *(f'"{name}"' for name in by)])
    return f"SELECT {value} FROM {source} WHERE {where} GROUP BY {grouping} fill(none)"


def _sum(quantities: Sequence[Quantity]) -> str:
    parts = [_scaled(f'mean("{_rate(one) if one.counter else one.field}")', one.field_factor) for one in quantities]
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})" if parts else ""


def _rate(quantity: Quantity) -> str:
    return f"{quantity.field}_rate"


def _ratio(upper: str, lower: str) -> str:
    return f"{upper} / {lower}" if lower else upper


def _scaled(value: str, factor: float) -> str:
    return value if factor == 1 else f"{value} * {factor:.15g}"
