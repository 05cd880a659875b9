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
    conditions = _conditions(series)
    if "host" in series.by and not conditions:
        return _select(_scaled(_ratio(upper, lower), series.factor), source, SELECTION, series.by)
    columns = [f'{upper} AS "a"', *([f'{lower} AS "b"'] if lower else [])]
    if "host" in series.by:
        value = _ratio('mean("a")', 'mean("b")' if lower else "")
    elif series.over in (Over.SUM, Over.COUNT):
        value = _ratio(f'{series.over.value}("a")', 'sum("b")' if lower else "")
    else:
        columns[0] = f'{_ratio(upper, lower)} AS "a"'
        value = f'{series.over.value}("a")'
    columns += [f"{column} AS {name}" for column, name, _ in conditions if column]
    labels = dict.fromkeys(("host", *series.by))
    # A host that does not report what ``out`` is of stays in: what is not stored is 0.
    fill = "0" if series.known or series.out else "none"
    of_each_host = _select(", ".join(columns), source, SELECTION, tuple(labels), fill)
    where = " AND ".join(["$timeFilter", *(f"{name} {holds}" for _, name, holds in conditions)])
    return _select(_scaled(value, series.factor), f"({of_each_host})", where, series.by)


def legend(series: Series) -> str:
    """An alias: labels as Grafana replaces them there."""
    return series.legend.replace("{", "$tag_").replace("}", "")


def _conditions(series: Series) -> list[tuple[str, str, str]]:
    """(column, its name, what must hold of it) of the hosts that the series is of. No column: it is there anyway."""
    known = dict.fromkeys((*series.of, *series.per, *series.known)) if series.known else ()
    found = [(f'count("{_name(one)}")', f'"known_{one.field}"', "> 0") for one in known]
    found += [(f'mean("{_name(one)}")', f'"out_{one.field}"', "= 0") for one in series.out]
    if series.per_above is not None:
        found.append(("", '"b"', f"> {series.per_above:g}"))
    return found


def _source(series: Series, measurement: str) -> str:
    """The measurement, beside it the rates of counters. They are made of the points themselves: of points that are
    grouped by time first, the last group is not full yet, and its rate would be too low."""
    counters = [quantity for quantity in series.quantities if quantity.counter]
    sources = [f'"{measurement}"'] if len(counters) < len(series.quantities) else []
    if counters:
        rates = ", ".join(f'non_negative_derivative("{one.field}", 1s) AS "{_rate(one)}"' for one in counters)
        labels = ", ".join(f'"{name}"' for name in dict.fromkeys((*SELECTORS, *series.by)))
        sources.insert(0, f'(SELECT {rates} FROM "{measurement}" WHERE {SELECTION} GROUP BY {labels})')
    return ", ".join(sources)


def _select(value: str, source: str, where: str, by: Sequence[str], fill: str = "none") -> str:
    grouping = ", ".join(["time($__interval)", *(f'"{name}"' for name in by)])
    return f"SELECT {value} FROM {source} WHERE {where} GROUP BY {grouping} fill({fill})"


def _sum(quantities: Sequence[Quantity]) -> str:
    parts = [_scaled(f'mean("{_name(one)}")', one.field_factor) for one in quantities]
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})" if parts else ""


def _name(quantity: Quantity) -> str:
    """Of its values in the source."""
    return _rate(quantity) if quantity.counter else str(quantity.field)


def _rate(quantity: Quantity) -> str:
    return f"{quantity.field}_rate"


def _ratio(upper: str, lower: str) -> str:
    return f"{upper} / {lower}" if lower else upper


def _scaled(value: str, factor: float) -> str:
    return value if factor == 1 else f"{value} * {factor:.15g}"
