"""Every query of every panel, run by the servers that will run it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from jvbtune.export.grafana import render
from jvbtune.export.grafana.model import Datasource
from tests.monitoring.conftest import HOSTS, LAB_LABELS, Servers
from tools.monitoring import demo, feed
from tools.monitoring.panels import Drawn, Range, Variables, draw, values_of
from tools.monitoring.servers import Influx, Prometheus

pytestmark = [pytest.mark.lab, pytest.mark.jvm]

PROMETHEUS, INFLUXDB = Datasource
FILES = [(one, name) for one in Datasource for name in render([one])]
CLUSTER, HOST = "jvbtune-cluster", "jvbtune-host"


def server_of(fed: Servers, datasource: Datasource) -> tuple[Prometheus | Influx, Range]:
    return (fed.prometheus, fed.scraped) if datasource is PROMETHEUS else (fed.influx, fed.written)


def drawn(fed: Servers, datasource: Datasource, name: str, **chosen: list[str]) -> Iterator[Drawn]:
    server, when = server_of(fed, datasource)
    text = render([datasource])[f"{name}-{datasource}.json"]
    return draw(text, server, when, chosen, least=1 if datasource is PROMETHEUS else 0)


def empty(panels: Iterator[Drawn]) -> dict[tuple[str, str], bool]:
    """Each query by panel and letter: whether it returned nothing, in no repetition of its panel."""
    found: dict[tuple[str, str], bool] = {}
    for one in panels:
        for target, lines in zip(one.panel["targets"], one.targets, strict=True):
            key = (f"{one.panel['id']} {one.title.partition(':')[0]}", target["refId"])
            found[key] = found.get(key, True) and not any(line.legend for line in lines)
    return found


def last_values(panels: Iterator[Drawn]) -> dict[tuple[str, str], float]:
    return {(one.title, line.legend): line.last for one in panels for line in one.lines}


@pytest.mark.parametrize(("datasource", "file"), FILES, ids=[name for _, name in FILES])
def test_each_query_returns_data(fed: Servers, datasource: Datasource, file: str) -> None:
    """Prometheus has a lab's bridge by its own /metrics beside the made hosts, InfluxDB the made hosts."""
    found = empty(drawn(fed, datasource, file.removesuffix(f"-{datasource}.json")))
    assert [key for key, nothing in found.items() if nothing] == []
    assert len(found) > 45


@pytest.mark.parametrize(
    ("datasource", "right", "wrong"),
    [
        (PROMETHEUS, "jvbtune_socket_drops_total", "jvbtune_socket_drop_total"),
        (PROMETHEUS, "by (region)", "by (zone)"),
        (INFLUXDB, '\\"stress_level\\"', '\\"stress\\"'),
        (INFLUXDB, 'FROM \\"jitsi_stats\\"', 'FROM \\"jitsi\\"'),
    ],
)
def test_a_wrong_name_is_found(fed: Servers, datasource: Datasource, right: str, wrong: str) -> None:
    server, when = server_of(fed, datasource)
    text = render([datasource])[f"{CLUSTER}-{datasource}.json"]
    assert right in text
    found = empty(draw(text.replace(right, wrong), server, when, least=1))
    assert any(found.values())


@pytest.mark.parametrize("name", [CLUSTER, HOST])
def test_both_servers_draw_the_same(fed: Servers, name: str) -> None:
    """The same hosts, by two ways of storing them that differ in names and units."""
    regions = ["eu", "us", "sa"]
    first = last_values(drawn(fed, PROMETHEUS, name, region=regions))
    second = last_values(drawn(fed, INFLUXDB, name, region=regions))
    shared = {key for key in first if key in second}
    assert len(shared) > (60 if name == CLUSTER else 150)
    only_prometheus = {title for title, _ in first.keys() - second.keys()}
    assert only_prometheus <= {"Hosts worse than their kind", "Heap", "Open files", "Time inside the bridge"}
    assert second.keys() <= first.keys()
    assert {key: first[key] for key in shared} == pytest.approx({key: second[key] for key in shared}, rel=0.05)


@pytest.mark.parametrize("datasource", list(Datasource))
def test_values_and_units(fed: Servers, datasource: Datasource) -> None:
    _, when = server_of(fed, datasource)
    at = when.end - (0 if datasource is PROMETHEUS else 10)
    hosts = [host for host in feed.HOSTS if host.region == "eu"]
    values = [feed.values(host, at) for host in hosts]
    packets = ("packet_rate_download", "packet_rate_upload", "octo_receive_packet_rate", "octo_send_packet_rate")
    cluster = last_values(drawn(fed, datasource, CLUSTER, region=["eu"]))

    def total(*names: str) -> float:
        return sum(value[name] for value in values for name in names)

    expected = {
        ("Bits from and to endpoints", "eu in"): 1000 * total("bit_rate_download"),  # of /colibri/stats: kbit/s
        ("Relay bits", "eu out"): total("octo_send_bitrate"),  # bit/s already
        ("Packet rate and limit by region", "eu"): total(*packets),
        ("Packet rate and limit by region", "eu, max packet rate"): 3 * 46_750,
        ("Capacity used", "capacity used"): total(*packets) / (3 * 46_750),
        ("Capacity used, fullest host", "fullest host"): max(value["capacity_used"] for value in values),
        ("Round trip, worst host", "eu"): max(value["rtt_aggregate"] for value in values),
        ("Packets dropped on hosts", "jvb-eu-2"): 40,
        ("CPU per packet", "jvb-eu-2"): 28 * 1.45,  # in microseconds
        ("CPU per packet", "median of c2-standard-4"): 28,
        ("Bridges", "bridges"): 3,
        ("Conferences by region", "eu"): total("conferences"),  # not twice, though two sources have it
    }
    if datasource is PROMETHEUS:
        expected["Hosts worse than their kind", "jvb-eu-2 (c2-standard-4)"] = 1.45
    found = {key: cluster.get(key) for key in expected}
    assert found == pytest.approx(expected, rel=0.04, abs=0.01)
    host = last_values(drawn(fed, datasource, HOST, host=["jvb-eu-1"]))
    interface = 8 * 700 * 0.35 * values[0]["packet_rate"]
    assert host["Bits of the interfaces", "jvb-eu-1 eth0 in"] == pytest.approx(interface, rel=0.04)
    assert host["CPU busy", "jvb-eu-1 host"] == pytest.approx(1.15 * values[0]["process_cpu_cores"] / 4, rel=0.04)


@pytest.mark.parametrize("datasource", list(Datasource))
def test_load_and_limit_are_of_the_same_hosts(fed: Servers, datasource: Datasource) -> None:
    """Not of bridges that are down or drained, and of those without a max packet rate neither."""
    _, when = server_of(fed, datasource)
    at = when.end - (0 if datasource is PROMETHEUS else 10)
    counted = [
        one for one in feed.ODD_HOSTS if one.region == "sa" and one.measured and not one.down and not one.drained
    ]
    assert {one.name for one in counted} == {"jvb-sa-4", "jvb-sa-5", "jvb-sa-6"}
    values = [feed.values(host, at) for host in counted]
    rate, limit = (sum(value[name] for value in values) for name in ("packet_rate", "max_packet_rate"))
    title = "Packet rate against the measured limit"
    expected = {
        ("Capacity used", "capacity used"): rate / limit,
        (title, "packet rate"): rate,
        (title, "max packet rate"): limit,
        (title, "interval, low"): 0.95 * limit,
        (title, "interval, high"): 1.06 * limit,
        ("Packet rate and limit by region", "sa"): rate,
        ("Packet rate and limit by region", "sa, max packet rate"): limit,
    }
    cluster = last_values(drawn(fed, datasource, CLUSTER, region=["sa"]))
    assert {key: cluster.get(key) for key in expected} == pytest.approx(expected, rel=0.04)
    without_interval = last_values(drawn(fed, datasource, CLUSTER, region=["af"]))
    assert {legend for panel, legend in without_interval if panel == title} == {"packet rate", "max packet rate"}


@pytest.mark.parametrize("datasource", list(Datasource))
def test_a_kind_is_of_three_loaded_hosts_at_least(fed: Servers, datasource: Datasource) -> None:
    """As the alert JvbWorseThanItsKind has it."""
    cluster = last_values(drawn(fed, datasource, CLUSTER))
    per_packet = {legend for title, legend in cluster if title == "CPU per packet"}
    assert {"jvb-sa-3", "jvb-sa-5", "jvb-us-1"} <= per_packet
    assert not {"jvb-sa-1", "jvb-sa-4"} & per_packet
    assert cluster["CPU per packet", "median of c2-standard-4"] == pytest.approx(28, rel=0.04)
    judged = {legend for title, legend in cluster if title == "Hosts worse than their kind"}
    kind = ("jvb-eu-1", "jvb-eu-2", "jvb-eu-3", "jvb-sa-2", "jvb-sa-3")
    assert judged == ({f"{name} (c2-standard-4)" for name in kind} if datasource is PROMETHEUS else set())


@pytest.mark.parametrize("datasource", list(Datasource))
def test_variables_offer_and_select(fed: Servers, datasource: Datasource) -> None:
    server, when = server_of(fed, datasource)
    lab = [LAB_LABELS["host"]] if datasource is PROMETHEUS else []
    read = json.loads(render([datasource])[f"{CLUSTER}-{datasource}.json"])
    assert values_of(read, server, "region", when) == sorted({"eu", "us", "sa", "af", *lab})
    assert values_of(read, server, "machine_type", when) == sorted(
        {*(host.machine_type for host in HOSTS if host.machine_type), *lab}
    )
    assert values_of(read, server, "host", when) == sorted([*(host.name for host in HOSTS), *lab])
    assert values_of(read, server, "host", when, {"region": ["us"]}) == ["jvb-us-1"]
    assert values_of(read, server, "machine_type", when, {"region": ["eu"]}) == ["c2-standard-4"]
    chosen: list[tuple[Variables, set[str]]] = [
        ({}, {host.name for host in HOSTS if not host.down} | set(lab)),
        ({"region": ["us"]}, {"jvb-us-1"}),
        ({"machine_type": ["c2-standard-4"], "region": ["eu"]}, {"jvb-eu-1", "jvb-eu-2", "jvb-eu-3"}),
        ({"host": ["jvb-eu-1", "jvb-us-1"]}, {"jvb-eu-1", "jvb-us-1"}),
        ({"region": ["eu"], "host": ["jvb-us-1"]}, set()),
    ]
    for variables, hosts in chosen:
        for one in draw(json.dumps(read), server, when, variables, least=1):
            if one.title == "Stress by host":
                assert {line.legend for line in one.lines} == hosts


def test_the_limit_is_drawn_for_each_chosen_host(fed: Servers) -> None:
    for datasource in Datasource:
        limits = [one for one in drawn(fed, datasource, HOST, host=["jvb-eu-1", "jvb-us-1"]) if one.panel.get("repeat")]
        assert [one.title.partition(": ")[2] for one in limits] == ["jvb-eu-1", "jvb-us-1"]
        last = {line.legend: line.last for line in limits[1].lines}
        assert last["max packet rate"] == pytest.approx(71_200)
        assert last["interval, low"] < last["max packet rate"] < last["interval, high"]
        band = [one for one in limits[1].panel["fieldConfig"]["overrides"] if one["matcher"]["id"] == "byName"]
        assert {one["matcher"]["options"] for one in band} <= set(last)


def test_a_bridge_without_observe_has_the_limit_of_its_machine_type(fed: Servers) -> None:
    """Its own /metrics and the rules of ``export prometheus`` are enough, also if its region is chosen."""
    host = last_values(drawn(fed, PROMETHEUS, HOST, host=["lab"], region=["lab"], machine_type=["lab"]))
    title = "Packet rate against the limit: lab"
    limits = ("max packet rate", "interval, low", "interval, high", "recommended load threshold")
    assert [host[title, limit] for limit in limits] == [20_000, 19_000, 21_500, 16_000]
    assert ("Capacity used", "lab") in host
    cluster = last_values(drawn(fed, PROMETHEUS, CLUSTER, region=["lab"]))
    assert cluster["Packet rate and limit by region", "lab, max packet rate"] == 20_000
    every = last_values(drawn(fed, PROMETHEUS, CLUSTER))
    assert {legend for panel, legend in every if panel == "Packet rate and limit by region"} == {
        f"{region}{what}" for region in ("eu", "us", "sa", "af", "lab") for what in ("", ", max packet rate")
    }


def test_the_demo_fails_if_a_panel_is_empty(fed: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    def report(when: Range) -> tuple[int, str, str]:
        status = demo.report(fed.prometheus, fed.influx, when)
        return status, *capsys.readouterr()

    both = Range(fed.scraped.begin - 120, fed.scraped.end, 2)
    status, shown, said = report(both)
    assert (status, "EMPTY" in said) == (0, False)
    assert "Packet rate against the limit: jvb-eu-1" in shown
    status, shown, said = report(Range(both.begin - 86_400, both.end - 86_400, 2))
    assert status == 1
    assert "EMPTY: Jitsi Videobridge: cluster: Capacity used (influxdb)" in said
    assert "NOTHING" in shown
