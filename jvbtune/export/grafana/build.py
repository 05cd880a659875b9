"""A dashboard as Grafana's classic JSON, by Grafana's foundation SDK.

The SDK has no builder for queries of InfluxDB: ``InfluxQuery`` is one. ``SCHEMA_VERSION`` is older than the SDK's, so
that Grafana 10.4 and everything newer imports it; nothing that came later is used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from jvbtune.export.grafana import influxql, promql
from jvbtune.export.grafana.model import Dashboard, Datasource, Kind, Panel, Quantile, Ratio, Series
from jvbtune.export.grafana.sdk import (
    Builder,
    Dataquery,
    JSONEncoder,
    UnknownDataquery,
    bargauge,
    common,
    dashboard,
    models,
    prometheus,
    stat,
    timeseries,
    values,
)
from jvbtune.export.grafana.variables import variables

SCHEMA_VERSION = 39
#: A point of InfluxDB's holds at least so much: three of telegraf's samples, so that no host is missing in a sum.
LEAST_INTERVAL = "30s"
TAGS = ("jvbtune", "jitsi")
GRAFANA = values.DataSourceRef("grafana", "-- Grafana --")

PanelBuilder = timeseries.Panel | stat.Panel | bargauge.Panel


@dataclass
class InfluxQuery(Dataquery):
    """A target of Grafana's InfluxDB data source, in InfluxQL."""

    ref_id: str
    query: str
    alias: str
    datasource: values.DataSourceRef

    def to_json(self) -> dict[str, object]:
        return {
            "refId": self.ref_id,
            "datasource": self.datasource.to_json(),
            "rawQuery": True,
            "query": self.query,
            "alias": self.alias,
            "resultFormat": "time_series",
        }


@dataclass
class Built(Builder[Dataquery]):
    """What is built already, as a builder."""

    query: Dataquery

    def build(self) -> Dataquery:
        return self.query


def to_json(spec: Dashboard, datasource: Datasource, measurement: str) -> str:
    """The file to import."""
    source = values.DataSourceRef(datasource.value, "${datasource}")
    made = (
        dashboard.Dashboard(spec.title)
        .uid(f"{spec.uid}-{datasource.value}")
        .description(spec.description)
        .tags([*TAGS, datasource.value])
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-3h", "now")
        .refresh("30s")
        .annotation(_own_annotations())
        .annotation(_runs())
        .link(
            dashboard.DashboardLink("jvbtune")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAGS[0], datasource.value])
            .include_vars(True)
            .keep_time(True)
            .as_dropdown(False)
        )
    )
    for variable in variables(datasource, measurement):
        made = made.with_variable(variable)
    number = 0
    for row in spec.rows:
        number += 1
        made = made.with_row(dashboard.Row(row.title).id(number))
        for panel in row.panels:
            if datasource is Datasource.INFLUXDB and not _series_of_influxdb(panel):
                continue
            number += 1
            made = made.with_panel(_panel(panel, number, datasource, source, measurement))
    built = made.build()
    built.schema_version = SCHEMA_VERSION
    for placed in (*(built.annotations.list_val or ()), *(built.links or ())):
        placed.placement = None  # of Grafana 12: it would hide them in a menu
    return json.dumps(json.loads(JSONEncoder().encode(built)), indent=2) + "\n"


def _own_annotations() -> dashboard.AnnotationQuery:
    """The annotations of the dashboard itself, as every dashboard has them."""
    target = Built(UnknownDataquery({"type": "dashboard", "limit": 100, "matchAny": False, "tags": []}))
    made = dashboard.AnnotationQuery().name("Annotations & Alerts").datasource(GRAFANA).enable(True).hide(True)
    return made.icon_color("rgba(0, 211, 255, 1)").type("dashboard").built_in(1).target(target)


def _runs() -> dashboard.AnnotationQuery:
    """What ``jvbtune annotate`` wrote."""
    target = Built(UnknownDataquery({"type": "tags", "limit": 100, "matchAny": False, "tags": [TAGS[0]]}))
    made = dashboard.AnnotationQuery().name("jvbtune runs").datasource(GRAFANA).enable(True).hide(False)
    return made.icon_color("purple").target(target)


def _series_of_influxdb(panel: Panel) -> list[Series]:
    return [series for series in panel.series if isinstance(series, Series) and series.in_influxdb]


def _panel(
    spec: Panel, number: int, datasource: Datasource, source: values.DataSourceRef, measurement: str
) -> PanelBuilder:
    made = _kind(spec)
    made.id(number).title(spec.title).description(spec.description).datasource(source)
    made.unit(spec.unit).span(spec.width).height(spec.height).interval(LEAST_INTERVAL)
    if spec.least is not None:
        made.min(spec.least)
    if spec.most is not None:
        made.max(spec.most)
    if spec.decimals is not None:
        made.decimals(spec.decimals)
    if spec.repeat:
        made.repeat(spec.repeat).repeat_direction("h").max_per_row(3)
    steps = [models.Threshold(None, "green"), *(models.Threshold(step.value, step.colour) for step in spec.steps)]
    made.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    series = spec.series if datasource is Datasource.PROMETHEUS else _series_of_influxdb(spec)
    for index, one in enumerate(series):
        made.with_target(Built(_target(one, chr(ord("A") + index), datasource, source, measurement)))
    return made


def _target(
    series: Series | Ratio | Quantile,
    ref_id: str,
    datasource: Datasource,
    source: values.DataSourceRef,
    measurement: str,
) -> Dataquery:
    if datasource is Datasource.PROMETHEUS:
        made = prometheus.Dataquery().datasource(source).ref_id(ref_id).expr(promql.expression(series))
        return made.legend_format(promql.legend(series)).range().build()
    assert isinstance(series, Series)
    return InfluxQuery(ref_id, influxql.query(series, measurement), influxql.legend(series), source)


def _kind(spec: Panel) -> PanelBuilder:
    last = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    if spec.kind is Kind.STAT:
        made = stat.Panel().reduce_options(last).graph_mode(values.BigValueGraphMode.AREA)
        coloured = values.BigValueColorMode.VALUE if spec.steps else values.BigValueColorMode.NONE
        return made.color_mode(coloured)
    if spec.kind is Kind.BARS:
        bars = bargauge.Panel().reduce_options(last).display_mode(values.BarGaugeDisplayMode.BASIC)
        return bars.orientation(values.VizOrientation.HORIZONTAL).show_unfilled(True)
    return _timeseries(spec)


def _timeseries(spec: Panel) -> timeseries.Panel:
    table = common.VizLegendOptions().display_mode(values.LegendDisplayMode.TABLE)
    made = (
        timeseries.Panel()
        .legend(table.placement(values.LegendPlacement.BOTTOM).show_legend(True).calcs(["lastNotNull", "max"]))
        .tooltip(common.VizTooltipOptions().mode(values.TooltipDisplayMode.MULTI).sort(values.SortOrder.DESCENDING))
        .show_points(values.VisibilityMode.AUTO)
        .line_width(1)
        .fill_opacity(25 if spec.stacked else 0)
    )
    if spec.stacked:
        made.stacking(common.StackingConfig().mode(values.StackingMode.NORMAL).group("A"))
    if spec.steps:
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(values.GraphThresholdsStyleMode.DASHED))
    if spec.dashed:
        made.override_by_regexp(spec.dashed, _properties(**{"custom.lineStyle": {"fill": "dash", "dash": [8, 6]}}))
        made.override_by_regexp(spec.dashed, _properties(**{"custom.lineWidth": 2}))
    if spec.band:
        low, high = spec.band
        edge = {"custom.lineWidth": 0, "color": {"mode": "fixed", "fixedColor": "orange"}, "custom.showPoints": "never"}
        made.override_by_name(low, _properties(**edge))
        made.override_by_name(high, _properties(**edge, **{"custom.fillBelowTo": low, "custom.fillOpacity": 20}))
    return made


def _properties(**by_id: Any) -> list[models.DynamicConfigValue]:
    return [models.DynamicConfigValue(id_val=name, value=value) for name, value in by_id.items()]
