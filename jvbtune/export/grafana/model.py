"""What a dashboard shows, apart from who stores the data: quantities, series, panels, rows. Plain data.

A ``Series`` says what is drawn; ``promql`` and ``influxql`` each make a query of it. So one description serves both
data sources, and the two cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

#: The template variables that select hosts, outermost first; also the labels (Prometheus) and tags (InfluxDB).
SELECTORS = ("region", "machine_type", "host")


class Datasource(StrEnum):
    """Who stores the data; the values are Grafana's own names of the plugins."""

    PROMETHEUS = "prometheus"
    INFLUXDB = "influxdb"


@dataclass(frozen=True)
class Metric:
    """A metric of Prometheus's; its value times ``factor`` is in the quantity's unit.

    ``figure``: recorded by a rule for a host or for a machine type, without the other labels of a host.
    """

    name: str
    factor: float = 1.0
    figure: bool = False


@dataclass(frozen=True)
class Quantity:
    """One quantity, wherever it is stored. ``metrics``: in Prometheus, the first that a host has. ``field``: in
    InfluxDB, None if it is not there; times ``field_factor`` it has the quantity's unit. ``counter``: only ever grows,
    so that its rate per second is drawn."""

    metrics: tuple[Metric, ...]
    field: str | None
    counter: bool = False
    field_factor: float = 1.0


class Over(StrEnum):
    """How hosts become one series; a series of each host needs none of it."""

    SUM = "sum"
    MAX = "max"
    MEDIAN = "median"
    COUNT = "count"


@dataclass(frozen=True)
class Series:
    """The sum of ``of``, divided by the sum of ``per`` if that is given, times ``factor``: a line for each ``by``.

    ``legend``: text with labels in braces. ``by`` may have labels of its own beside ``SELECTORS``. Only of hosts that
    report all of ``known``, of which ``out`` is not above 0, and with a ``per`` above ``per_above``, where given.
    """

    legend: str
    of: tuple[Quantity, ...]
    by: tuple[str, ...] = ("host",)
    over: Over = Over.SUM
    per: tuple[Quantity, ...] = ()
    factor: float = 1.0
    known: tuple[Quantity, ...] = ()
    out: tuple[Quantity, ...] = ()
    per_above: float | None = None

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """All that its query reads."""
        return (*self.of, *self.per, *self.known, *self.out)

    @property
    def in_influxdb(self) -> bool:
        """Whether all of it is stored there."""
        return all(quantity.field is not None for quantity in self.quantities)


@dataclass(frozen=True)
class Ratio:
    """Each host's value of ``of`` over the median of its machine type, if that has ``hosts`` of them at least. InfluxQL
    cannot say it: Prometheus only."""

    legend: str
    of: Series
    hosts: int


@dataclass(frozen=True)
class Quantile:
    """A quantile of a histogram of Prometheus's: Prometheus only."""

    legend: str
    metric: str
    quantile: float
    by: tuple[str, ...] = ("host",)


@dataclass(frozen=True)
class Step:
    """From ``value`` on the colour is ``colour``."""

    value: float
    colour: str


class Kind(StrEnum):
    """Grafana's names of the panels that are used."""

    TIMESERIES = "timeseries"
    STAT = "stat"
    BARS = "bargauge"


@dataclass(frozen=True)
class Panel:
    """``unit``: Grafana's. ``dashed``: legends that are limits. ``band``: legends of the ends of an interval.
    ``repeat``: a variable, for a panel of each of its values."""

    title: str
    description: str
    unit: str
    series: tuple[Series | Ratio | Quantile, ...]
    kind: Kind = Kind.TIMESERIES
    width: int = 8
    height: int = 8
    steps: tuple[Step, ...] = ()
    stacked: bool = False
    least: float | None = 0.0
    most: float | None = None
    decimals: int | None = None
    dashed: str | None = None  #: a regular expression of legends
    band: tuple[str, str] | None = None
    repeat: str | None = None


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    description: str
    rows: tuple[Row, ...] = field(default=())
