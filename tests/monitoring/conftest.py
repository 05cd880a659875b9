"""Debian's Prometheus and InfluxDB as processes of these tests, fed once, and ended with them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from jvbtune.export.prometheus import recording_rules
from jvbtune.export.prometheus_model import Figures
from jvbtune.lab import Lab
from tools.monitoring import feed, servers
from tools.monitoring.panels import Range

FED_SECONDS = 600
EVERY_SECONDS = 10
#: Prometheus cannot be given the past: so long it scrapes, before anything is asked.
SCRAPED_SECONDS = 12
HOSTS = (*feed.HOSTS, *feed.ODD_HOSTS)
LAB_LABELS = {"host": "lab", "region": "lab", "machine_type": "lab"}


@dataclass(frozen=True)
class Servers:
    """``prometheus`` scrapes observe's endpoint, bridges' /metrics and a lab's bridge; ``influx`` has ten minutes."""

    prometheus: servers.Prometheus
    influx: servers.Influx
    scraped: Range
    written: Range


def recorded() -> list[dict[str, object]]:
    """The rules of ``export prometheus``, with what was measured of the lab's machine type and nothing of a host."""
    figures = Figures("machine_type", LAB_LABELS["machine_type"], 20_000, 19_000, 21_500, 16_000, ())
    return [{"record": name, "expr": expr, "labels": labels} for name, expr, labels in recording_rules([figures])]


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory, lab: Lab) -> Iterator[Servers]:
    if missing := servers.missing_packages():
        pytest.skip(f"needs {', '.join(missing)}: make monitoring")
    directory = tmp_path_factory.mktemp("servers")
    with contextlib.ExitStack() as stack:
        targets = [servers.Target(stack.enter_context(feed.observed(HOSTS)), {}, own_labels=True)]
        targets += [servers.Target(f"127.0.0.1:{lab.http_port}", LAB_LABELS)]
        for host in (host for host in HOSTS if not host.down):
            address = stack.enter_context(servers.endpoint(lambda host=host: feed.own_metrics(host, time.time())))
            targets.append(servers.Target(address, host.labels))
        prometheus = stack.enter_context(servers.prometheus(directory / "prometheus", targets, rules=recorded()))
        began = time.time()
        influx = stack.enter_context(servers.influxdb(directory / "influxdb", tls=True))
        last = int(began) // EVERY_SECONDS * EVERY_SECONDS
        for at in range(last - FED_SECONDS, last + 1, EVERY_SECONDS):
            influx.write([line for host in HOSTS for line in feed.lines(host, at)])
        time.sleep(max(0.0, began + SCRAPED_SECONDS - time.time()))
        pids = (prometheus.pid, influx.pid)
        yield Servers(
            prometheus, influx, Range(began + 5, time.time(), 1), Range(last - FED_SECONDS, last, EVERY_SECONDS)
        )
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
