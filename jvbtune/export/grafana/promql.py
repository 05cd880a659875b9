"""A series as PromQL, with Grafana's variables in it.

Each quantity is first made one series of each host, by ``host`` and the other labels that are used: of the first of its
metrics that the host has. So a cluster may have the bridges' own metrics, those of observe, or both, and no host counts
twice. A measured figure comes from observe, else from the rules of ``export prometheus``, which have it by host or by
machine type: there it gets the labels of the hosts that it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jvbtune.export.grafana.model import SELECTORS, Metric, Over, Quantile, Quantity, Ratio, Series
from jvbtune.observe.columns import RULE_PACKET_RATE

SELECTION = ",".join(f'{name}=~"${name}"' for name in SELECTORS)


def expression(series: Series | Ratio | Quantile) -> str:
    """The query of one series."""
    if isinstance(series, Quantile):
        rate = f"rate({series.metric}_bucket{{{SELECTION}}}[$__rate_interval])"
        return f"histogram_quantile({series.quantile:g}, sum{_grouping((*series.by, 'le'))} ({rate}))"
    if isinstance(series, Ratio):
        each = expression(replace(series.of, by=("host", "machine_type"), factor=1.0))
        ratio = f"{each} / on (machine_type) group_left () quantile by (machine_type) (0.5, {each})"
        kinds = f"count by (machine_type) ({each}) >= {series.hosts}"
        return f"{ratio} and on (machine_type) {kinds} unless on (machine_type) vector(0)"  # it has no machine type
    return _scaled(_aggregate(series), series.factor)


def legend(series: Series | Ratio | Quantile) -> str:
    """Labels in double braces, as Grafana replaces them."""
    return series.legend.replace("{", "{{").replace("}", "}}")


def _aggregate(series: Series) -> str:
    """Over hosts. A ratio of several hosts is a sum over a sum, so that a busy host counts for more."""
    labels = tuple(dict.fromkeys(("host", *series.by)))
    upper, lower = _of(series.of, series, labels), _of(series.per, series, labels)
    if lower and series.per_above is not None:
        lower = f"({lower} > {series.per_above:g})"
    if "host" in series.by:
        return _ratio(upper, lower)
    by = _grouping(series.by)
    if series.over is Over.SUM:
        return _ratio(f"sum{by} ({upper})", f"sum{by} ({lower})" if lower else "")
    if series.over is Over.MEDIAN:
        return f"quantile{by} (0.5, {_ratio(upper, lower)})"
    return f"{series.over.value}{by} ({_ratio(upper, lower)})"


def _of(quantities: Sequence[Quantity], series: Series, labels: Sequence[str]) -> str:
    """The sum of each host that the series is of."""
    others = [quantity for quantity in series.known if quantity not in quantities]
    value = _sum(quantities, labels)
    if value and others:
        value += f" and on (host) {_sum(others, ('host',))}"
    for quantity in series.out if value else ():
        value += f" unless on (host) {_of_each_host(quantity, ('host',))} > 0"
    return value


def _sum(quantities: Sequence[Quantity], labels: Sequence[str]) -> str:
    """Of each host."""
    parts = [_of_each_host(quantity, labels) for quantity in quantities]
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})" if parts else ""


def _of_each_host(quantity: Quantity, labels: Sequence[str]) -> str:
    values = " or on (host) ".join(_value(metric, quantity.counter) for metric in quantity.metrics)
    return f"max{_grouping(labels)} ({values})"


def _ratio(upper: str, lower: str) -> str:
    return f"{upper} / {lower}" if lower else upper


def _value(metric: Metric, counter: bool) -> str:
    if metric.figure:
        hosts = f"{RULE_PACKET_RATE}{{{SELECTION}}} * 0"
        own, kind = (
            f'{hosts} + on ({label}) group_left () {metric.name}{{{label}!=""}}' for label in ("host", "machine_type")
        )
        return f"({own} or on (host) {kind})"
    chosen = f"{metric.name}{{{SELECTION}}}"
    return _scaled(f"rate({chosen}[$__rate_interval])" if counter else chosen, metric.factor)


def _grouping(by: Sequence[str]) -> str:
    return f" by ({', '.join(by)})" if by else ""


def _scaled(value: str, factor: float) -> str:
    return value if factor == 1 else f"{value} * {factor:.15g}"
