"""The template variables of a dashboard: data source, then region, machine type and host, each within the one before.

"All" is ``.*``, not the list of all values: a host that lacks a label is then shown, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from jvbtune.export.grafana.model import SELECTORS, Datasource
from jvbtune.export.grafana.sdk import dashboard, models, values

LABELS = {"region": "Region", "machine_type": "Type", "host": "Host"}
ALL = models.VariableOption(text=["All"], value=["$__all"], selected=True)

VariableBuilder = dashboard.DatasourceVariable | dashboard.QueryVariable


def variables(datasource: Datasource, measurement: str) -> Iterator[VariableBuilder]:
    """The variables, in the order in which they depend on each other."""
    yield dashboard.DatasourceVariable("datasource").label("Data source").type(datasource.value)
    source = values.DataSourceRef(datasource.value, "${datasource}")
    for index, name in enumerate(SELECTORS):
        query = _QUERIES[datasource](name, SELECTORS[:index], measurement)
        yield (
            dashboard.QueryVariable(name)
            .label(LABELS[name])
            .datasource(source)
            .query(query)
            .definition(query)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(ALL)
        )


def _of_prometheus(name: str, outer: tuple[str, ...], measurement: str) -> str:
    del measurement
    matchers = ",".join(['__name__=~"jitsi_jvb_stress|jvbtune_up"', *(f'{one}=~"${one}"' for one in outer)])
    return f"label_values({{{matchers}}}, {name})"


def _of_influxdb(name: str, outer: tuple[str, ...], measurement: str) -> str:
    where = " AND ".join(f'"{one}" =~ /^${one}$/' for one in outer)
    return f'SHOW TAG VALUES FROM "{measurement}" WITH KEY = "{name}"' + (f" WHERE {where}" if where else "")


_QUERIES = {Datasource.PROMETHEUS: _of_prometheus, Datasource.INFLUXDB: _of_influxdb}
