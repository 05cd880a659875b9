"""Grafana dashboards for the bridges: a cluster and its hosts, for Prometheus and for InfluxDB."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jvbtune.errors import UsageError
from jvbtune.export.grafana.model import Dashboard, Datasource
from jvbtune.observe.columns import MEASUREMENT


def dashboards() -> tuple[Dashboard, ...]:
    """What is exported."""
    from jvbtune.export.grafana.cluster import CLUSTER
    from jvbtune.export.grafana.host import HOST

    return CLUSTER, HOST


def render(datasources: Sequence[Datasource], measurement: str = MEASUREMENT) -> dict[str, str]:
    """File names and their JSON, to import into Grafana. ``measurement``: its
    name in InfluxDB."""
    from jvbtune.export.grafana.build import to_json

    if not re.fullmatch(r"[\w.:-][\w.: -]{0,199}", measurement):
        raise UsageError(
            f"{measurement!r} cannot be the name of a measurement",
            hint="A name has letters, digits, blanks and any of . _ : -",
        )
    return {
        f"{spec.uid}-{datasource.value}.json": to_json(spec, datasource, measurement)
        for datasource in datasources
        for spec in dashboards()
    }
