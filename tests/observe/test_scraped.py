"""A real Prometheus scrapes the endpoint with the exported configuration, and its exported rules say what is used."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from jvbtune.export import export_fleet, write_files
from jvbtune.export.prometheus import RULES, SCRAPE
from jvbtune.observe.labels import labels_of
from jvbtune.observe.prometheus import LatestRows, serving
from jvbtune.observe.rows import Row
from jvbtune.result import result_of
from tests.apply.results import of_host, simulated
from tests.observe.samples import ROW
from tools.monitoring.servers import free_port, listens, running


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed: make test installs it")
def test_prometheus_knows_the_capacity_used(tmp_path: Path) -> None:
    result = result_of(simulated(tmp_path / "runs"))
    fleet = [of_host(result, "jvb-1", machine_type="c5.xlarge"), of_host(result, "jvb-2", machine_type="c5.xlarge")]
    files = export_fleet(fleet, "prometheus")
    latest = LatestRows(60.0)
    measured = {"machine_type": "c5.xlarge", "region": "eu"}
    latest.put(ROW)  # with a capacity of its own
    latest.put(Row("jvb-9", labels_of("jvb-9", measured), 0.0, {"up": 1.0, "packet_rate": 1000.0}))
    port = free_port()
    with serving("127.0.0.1", 0, [latest]) as endpoint:
        scrape = files[SCRAPE].replace("127.0.0.1:9794", f"127.0.0.1:{endpoint}")
        quick = {SCRAPE: scrape.replace("_interval: 10s", "_interval: 1s"), RULES: files[RULES].replace("15s", "1s")}
        write_files(quick, tmp_path)
        argv = ["prometheus", f"--config.file={SCRAPE}", f"--web.listen-address=127.0.0.1:{port}"]
        with running(
            [*argv, f"--storage.tsdb.path={tmp_path}/tsdb", "--log.level=warn"], tmp_path / "log", lambda: listens(port)
        ):
            own = _value(port, 'jvbtune:capacity_used:ratio{host="jvb-1"}')
            kind = _value(port, 'jvbtune:capacity_used:ratio{host="jvb-9"}')
            up = _value(port, 'jvbtune_up{host="jvb-9",region="eu",job="jvbtune"}')
    assert own == ROW.values["capacity_used"]
    pooled = [line for line in files[RULES].splitlines() if "vector(" in line]
    assert f"vector({1000 / kind:.0f})" in "".join(pooled)
    assert up == 1.0


def _value(port: int, query: str, seconds: float = 30.0) -> float:
    deadline = time.monotonic() + seconds
    while True:
        url = f"http://127.0.0.1:{port}/api/v1/query?{urlencode({'query': query})}"
        found: list[dict[str, Any]] = []
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(url, timeout=10) as response:
            found = json.load(response)["data"]["result"]  # 503 until it is ready
        if found:
            return float(found[0]["value"][1])
        assert time.monotonic() < deadline, f"{query} gives nothing"
        time.sleep(0.3)
