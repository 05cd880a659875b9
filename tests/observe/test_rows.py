"""What a sample and a bridge's answers become, computed by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jvbtune.bridge.counts import bridge_counts
from jvbtune.bridge.stats import stats_from_colibri
from jvbtune.observe.bridge import from_colibri, from_metrics, from_queues, from_transit
from jvbtune.observe.columns import BY_NAME, NETWORK, QUANTITIES, REPORTED
from jvbtune.observe.rows import Row, from_sample, interfaces, over_interval
from tests.observe.samples import sample

ANSWERS = Path(__file__).parents[1] / "bridge/answers"


def answer(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ANSWERS / f"{name}.json").read_text())
    return found


def row_at(seconds: float, more: dict[str, float] | None = None, **options: Any) -> Row:
    taken = sample(seconds, **options)
    bridge = None if taken.bridge is None else (taken.bridge.pid, taken.bridge.start_ticks)
    return Row("h", {"host": "h"}, 0.0, {**from_sample(taken), **(more or {})}, {}, taken.t_mono, 50 + seconds, bridge)


def test_counters_are_those_of_the_sample() -> None:
    values = from_sample(sample(100.0))
    assert values["socket_drops"] == 1001  # of every media socket
    assert (values["socket_receive_queue_bytes"], values["socket_receive_buffer_bytes"]) == (4096, 2 << 20)
    assert (values["softnet_dropped"], values["softnet_time_squeeze"], values["softnet_backlog"]) == (100, 200, 7)
    assert values["gc_pause_s"] == pytest.approx(1.75)
    assert (values["compiler_cpu_s"], values["collector_cpu_s"]) == (1.0, 2.0)
    assert values["process_start_unix"] == pytest.approx(1_790_000_000 - 1000 + 5)
    assert set(values) <= set(BY_NAME)


def test_interfaces_of_containers_are_left_out() -> None:
    assert set(interfaces(sample(1.0))) == {"eth0"}
    assert set(interfaces(sample(1.0))["eth0"]) == {quantity.name for quantity in NETWORK}


def test_what_is_not_known_is_absent() -> None:
    values = from_sample(replace(sample(1.0), bridge=None, gc=None, sockets=[], udp={}))
    assert not {"socket_drops", "process_cpu_s", "gc_pause_s", "udp_rcvbuf_errors"} & set(values)


def test_rates_over_an_interval() -> None:
    counts = {"in_packets": 100.0, "out_packets": 400.0, "relay_packets": 0.0}
    more = {"in_packets": 1100.0, "out_packets": 4400.0, "relay_packets": 500.0}
    found = over_interval(row_at(0.0, counts), row_at(10.0, more))
    rates = {name: found[name] for name in ("in_packet_rate", "out_packet_rate", "relay_packet_rate", "packet_rate")}
    assert rates == {
        "in_packet_rate": 100.0,
        "out_packet_rate": 400.0,
        "relay_packet_rate": 50.0,
        "packet_rate": 550.0,
    }
    assert found["socket_drop_rate"] == pytest.approx(10.0)
    assert found["receive_thread_busy"] == pytest.approx(0.2)
    assert found["process_cpu_cores"] == pytest.approx(0.75)
    assert found["bridge_cpu_busy"] == pytest.approx(0.375)
    assert found["steal_share"] == pytest.approx(0.1)
    assert found["gc_pause_share"] == pytest.approx(0.01)


def test_transit_is_of_the_packets_of_the_interval() -> None:
    before = row_at(0.0, {"transit_packets": 100.0, "transit_ms": 50.0, "transit_over_50_ms": 10.0})
    now = row_at(10.0, {"transit_packets": 300.0, "transit_ms": 450.0, "transit_over_50_ms": 20.0})
    found = over_interval(before, now)
    assert (found["transit_mean_ms"], found["transit_slow_share"]) == (2.0, 0.05)
    assert "transit_mean_ms" not in over_interval(before, replace(before, mono=1010.0))


def test_nothing_is_computed_across_a_restart_or_a_counter_that_went_back() -> None:
    assert over_interval(row_at(0.0), row_at(10.0, pid=8)) == {}
    assert over_interval(row_at(10.0), row_at(10.0)) == {}
    assert over_interval(row_at(0.0), replace(row_at(10.0), process=None)) == {}
    assert "socket_drop_rate" not in over_interval(row_at(0.0), row_at(10.0, growth=-0.1))


def test_a_bridge_without_queue_counters_has_its_windows() -> None:
    reported = {"packet_rate_download": 100.0, "packet_rate_upload": 400.0, "octo_receive_packet_rate": 30.0}
    found = over_interval(row_at(0.0), row_at(10.0, {**reported, "octo_send_packet_rate": 20.0}))
    assert (found["in_packet_rate"], found["relay_packet_rate"], found["packet_rate"]) == (130.0, 20.0, 550.0)
    assert "packet_rate" not in over_interval(row_at(0.0), row_at(10.0))


def test_the_packet_rate_is_the_one_that_a_max_packet_rate_counts() -> None:
    first = answer("debug-queue-stats")
    last = json.loads(json.dumps(first))
    for queue, counter in (("rtp_receiver_queue", "added_packets"), ("srtp_send_queue", "removed_packets")):
        last[queue][counter] += 70_000
    last["relay_srtp_send_queue"]["removed_packets"] = 500
    found = over_interval(row_at(0.0, from_queues(first)), row_at(10.0, from_queues(last)))
    assert found["packet_rate"] == pytest.approx(bridge_counts(first, last, 10.0).packet_rate_pps)


def test_colibri_stats_and_metrics_are_one_vocabulary() -> None:
    colibri, metrics = from_colibri(answer("colibri-stats")), from_metrics(answer("metrics"))
    assert set(colibri) == set(metrics) == {quantity.name for quantity in REPORTED}
    for name, value in colibri.items():
        assert metrics[name] == pytest.approx(value, rel=0.01), name  # two moments of one bridge
    known = stats_from_colibri(answer("colibri-stats"))
    assert (colibri["stress_level"], colibri["conferences"]) == (known.stress, known.conferences)


def test_transit_times_of_a_bridge() -> None:
    assert from_transit(answer("debug-transit-stats")) == {
        "transit_packets": 125708.0,
        "transit_ms": 7885003.0,
        "transit_over_5_ms": 16806.0,
        "transit_over_50_ms": 13903.0,
        "transit_over_500_ms": 8214.0,
    }


@pytest.mark.parametrize("wrong", [None, [], "x", {}, {"rtp": 1}, {"rtp": {"buckets": "x"}}])
def test_answers_of_another_shape_say_nothing(wrong: Any) -> None:
    assert from_transit({"e2e_packet_delay": wrong}) == {}
    assert from_queues({"rtp_receiver_queue": wrong}).get("in_packets") is None
    numbers = {"stress_level": wrong, "packet_rate_download": float("nan"), "participants": 10**400, "drain": True}
    assert from_colibri(numbers) == {"drain": 1.0}


def test_every_quantity_has_one_name_in_each_system() -> None:
    every = (*QUANTITIES, *NETWORK)
    assert len({q.name for q in every}) == len({q.metric for q in every}) == len(every)
    for quantity in every:
        assert quantity.metric.startswith("jvbtune_")
        assert quantity.metric.endswith("_total") == (quantity.kind == "counter"), quantity.metric
