"""The endpoint, as scrapers ask for it: every answer is read back by Prometheus's own parsers and linter."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from jvbtune.errors import UsageError
from jvbtune.observe.columns import NETWORK, QUANTITIES
from jvbtune.observe.labels import labels_of
from jvbtune.observe.prometheus import LatestRows, parse_address, serving
from jvbtune.observe.rows import Row
from tests.observe.samples import FOREIGN, ROW

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _ask(rows: list[Row], accept: str = "text/plain") -> tuple[str, str]:
    latest = LatestRows(60.0)
    for row in rows:
        latest.put(row)
    with serving("127.0.0.1", 0, [latest]) as port:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.headers["Content-Type"], answer.read().decode()


def _samples(text: str, openmetrics: bool = False) -> Samples:
    families = (parse_openmetrics if openmetrics else parse_text)(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


JVB_1 = (("host", "jvb-1"), ("machine_type", "c5.xlarge"), ("region", "eu"))


def test_a_row_is_there_in_base_units() -> None:
    found = _samples(_ask([ROW])[1])
    assert found[("jvbtune_packet_rate", JVB_1)] == 12345.5
    assert found[("jvbtune_capacity_used_ratio", JVB_1)] == 0.25
    assert found[("jvbtune_bridge_endpoint_in_bytes_per_second", JVB_1)] == 100_000  # of 800 kbit/s
    assert found[("jvbtune_transit_seconds_total", JVB_1)] == 1.5
    assert found[("jvbtune_bridge_rtt_seconds", JVB_1)] == 0.02
    assert found[("jvbtune_socket_drops_total", JVB_1)] == 7
    info = tuple(sorted([*JVB_1, ("source", 'run "x"\\')]))
    assert found[("jvbtune_capacity_source_info", info)] == 1
    network = tuple(sorted([*JVB_1, ("interface", "eth1")]))
    assert found[("jvbtune_network_receive_packets_total", network)] == 6


def test_what_is_not_known_is_absent() -> None:
    names = {name for name, _ in _samples(_ask([ROW])[1])}
    assert "jvbtune_load_threshold_in_force" not in names
    assert "jvbtune_gc_pause_ratio" not in names


def test_openmetrics_if_the_scraper_accepts_it() -> None:
    kind, text = _ask([ROW], "application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert _samples(text, openmetrics=True) == _samples(_ask([ROW])[1])
    assert _ask([ROW])[0].startswith("text/plain")


def test_a_lost_host_keeps_no_old_figure() -> None:
    lost = replace(ROW, values={"up": 0.0, "reconnects": 3.0}, interfaces={}, process=None)
    found = _samples(_ask([ROW, lost])[1])
    assert found == {("jvbtune_up", JVB_1): 0.0, ("jvbtune_reconnects_total", JVB_1): 3.0}


def test_a_row_that_is_too_old_is_a_lost_hosts() -> None:
    now = [100.0]
    latest = LatestRows(30.0, lambda: now[0])
    latest.put(ROW)
    for seconds, known in ((30.0, True), (31.0, False)):
        now[0] = 100.0 + seconds
        values = {family.name: family.samples[0].value for family in latest.collect() if family.samples}
        assert ("jvbtune_packet_rate" in values) == known
        assert values["jvbtune_up"] == float(known)


def test_foreign_labels_come_back_as_they_were() -> None:
    labels = labels_of('jvb "1"\\', FOREIGN)
    row = replace(ROW, host=labels["host"], labels=labels)
    for openmetrics in (False, True):
        accept = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain"
        found = _samples(_ask([row, ROW], accept)[1], openmetrics)
        theirs = [dict(own) for name, own in found if name == "jvbtune_packet_rate"]
        assert {frozenset((k, v) for k, v in own.items() if v) for own in theirs} == {
            frozenset(labels.items()),
            frozenset(ROW.labels.items()),
        }


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: make test installs it")
def test_promtool_finds_no_fault() -> None:
    everything = replace(
        ROW,
        values={q.name: "x" if q.kind == "text" else 1.0 for q in QUANTITIES},
        interfaces={"eth0": {quantity.name: 1.0 for quantity in NETWORK}},
    )
    text = _ask([everything])[1]
    assert len(_samples(text)) == len(QUANTITIES) + len(NETWORK)
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_addresses() -> None:
    assert parse_address("127.0.0.1:9794") == ("127.0.0.1", 9794)
    assert parse_address("[::1]:9794") == ("::1", 9794)
    assert parse_address(":9794") == ("0.0.0.0", 9794)
    for wrong in ("9794", "127.0.0.1", "a:b", "127.0.0.1:99999", "::1:9794", ""):
        with pytest.raises(UsageError, match="not an address and a port"):
            parse_address(wrong)


def test_a_port_in_use_is_an_error_that_says_so() -> None:
    with (
        serving("127.0.0.1", 0, [LatestRows(60.0)]) as port,
        pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}"),
        serving("127.0.0.1", port, []),
    ):
        pass
