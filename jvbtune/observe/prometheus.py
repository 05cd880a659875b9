"""The Prometheus endpoint: the last row of each host, as text or OpenMetrics by what the scraper accepts.

``prometheus_client`` renders and serves; what is here is the way from a row to its metric families. A host that is lost
has ``jvbtune_up 0`` and nothing else, so that no old figure looks like a new one.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from jvbtune.errors import UsageError
from jvbtune.observe.columns import HOST, INTERFACE, NETWORK, QUANTITIES, Quantity
from jvbtune.observe.influxdb import InfluxWriter
from jvbtune.observe.rows import Row


class LatestRows(Collector):
    """Keeps the last row of each host. Thread-safe. A row that is older than ``max_age_seconds`` is a lost host's."""

    def __init__(self, max_age_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_age, self._clock = max_age_seconds, clock
        self._rows: dict[str, tuple[float, Row]] = {}
        self._lock = threading.Lock()

    def put(self, row: Row) -> None:
        with self._lock:
            self._rows[row.host] = self._clock(), row

    def _current(self) -> list[Row]:
        oldest = self._clock() - self._max_age
        with self._lock:
            rows = sorted(self._rows.items())
        return [
            row if put >= oldest else replace(row, values={"up": 0.0}, interfaces={}, process=None)
            for _, (put, row) in rows
        ]

    def collect(self) -> Iterator[Metric]:
        rows = self._current()
        names = [HOST, *sorted({name for row in rows for name in row.labels} - {HOST})]
        values = {row.host: [row.labels.get(name, "") for name in names] for row in rows}
        for quantity in QUANTITIES:
            family = _family(quantity, names)
            for row in rows:
                value = row.values.get(quantity.name)
                if isinstance(value, str):
                    family.add_metric(values[row.host], {"source": value})
                elif value is not None:
                    family.add_metric(values[row.host], value * quantity.scale)
            yield family
        for quantity in NETWORK:
            family = _family(quantity, [*names, INTERFACE])
            for row in rows:
                for interface, counters in sorted(row.interfaces.items()):
                    if quantity.name in counters:
                        family.add_metric([*values[row.host], interface], counters[quantity.name] * quantity.scale)
            yield family


def _family(quantity: Quantity, labels: list[str]) -> Any:
    if quantity.kind == "counter":
        return CounterMetricFamily(quantity.metric.removesuffix("_total"), quantity.help, labels=labels)
    if quantity.kind == "text":
        return InfoMetricFamily(quantity.metric.removesuffix("_info"), quantity.help, labels=labels)
    return GaugeMetricFamily(quantity.metric, quantity.help, labels=labels)


class WriterCounts(Collector):
    """What became of points on their way to InfluxDB."""

    def __init__(self, writer: InfluxWriter) -> None:
        self._writer = writer

    def collect(self) -> Iterator[Metric]:
        counts = (self._writer.written_points, self._writer.dropped_points)
        yield CounterMetricFamily("jvbtune_influxdb_written_points", "Points written to InfluxDB.", counts[0])
        yield CounterMetricFamily("jvbtune_influxdb_dropped_points", "Points that InfluxDB never got.", counts[1])
        yield GaugeMetricFamily("jvbtune_influxdb_queued_points", "Points that wait.", self._writer.queued_points)


def parse_address(text: str) -> tuple[str, int]:
    """``127.0.0.1:9794``, ``[::1]:9794`` or ``:9794`` (every address). Raises UsageError."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:\[\]]*)):(\d{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise UsageError(f"--prometheus {text}: not an address and a port", hint="Example: 127.0.0.1:9794")
    return match[1] or match[2] or "0.0.0.0", int(match[3])


@contextlib.contextmanager
def serving(address: str, port: int, collectors: Iterable[Collector]) -> Iterator[int]:
    """An endpoint at every path; yields its port. Raises UsageError if it cannot listen there."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    try:
        server, thread = start_http_server(port, address, registry)
    except OSError as error:
        raise UsageError(
            f"the Prometheus endpoint cannot listen on {address}:{port}: {error.strerror or error}",
            hint="Name another address or port: --prometheus ADDRESS:PORT",
        ) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
