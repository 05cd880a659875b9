"""Meetings with video on a real Jitsi Videobridge: it forwards what was asked for, and takes the clients for real."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, Offered, open_generator
from jvbtune.load.mixfile import load_mix
from tests.real_bridge.conftest import REAL

CONFERENCES, WARM_UPS = 1, 10

pytestmark = REAL


@pytest.fixture(scope="module")
def held(real: Lab) -> tuple[Offered, dict[str, Any], dict[str, Any]]:
    return hold(real, load_mix("meeting-5").mix())


def hold(real: Lab, mix: Mix) -> tuple[Offered, dict[str, Any], dict[str, Any]]:
    """The mix, warm: what was offered, the bridge's own state, its statistics."""
    entry = real.entry()
    load = IntendedLoad(CONFERENCES, mix)
    with connect(entry) as host, open_generator(entry, host) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        for _ in range(WARM_UPS):  # the first packets of a JVM are not like the others
            seen = generator.offer(load, 4.0, settle_seconds=4.0)
            if not seen.loss_ratio and (seen.delayed_50ms_ratio or 0.0) < 0.01:
                break
        offered = generator.offer(load, 6.0, settle_seconds=2.0, edge=client.queue_stats)
        state = client.request("GET", "/debug?full=true")
        stats = client.request("GET", "/colibri/stats")
    return offered, state, stats


def endpoints(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for conference in state["conferences"].values() for one in conference["endpoints"].values()]


def test_every_packet_is_accounted_for_by_stream_and_by_the_bridge(held: Any) -> None:
    offered, _, _ = held
    assert not offered.generator_limited, offered.generator_limited_because
    kinds = offered.extra["kinds"]
    assert kinds["audio"]["received"] == kinds["audio"]["expected"] == 4 * kinds["audio"]["sent"] > 0
    assert kinds["video"]["received"] == kinds["video"]["expected"] > 0
    before, after = offered.extra["edges"]
    counts = bridge_counts(before, after, offered.duration_seconds)
    assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.005)
    assert counts.dropped_packets == 0


def test_the_bridge_forwards_the_layers_that_were_asked_for(held: Any) -> None:
    _, state, _ = held
    targets = []
    for one in endpoints(state):
        allocator = one["bitrate_controller"]["bitrate_allocator"]
        asked = allocator["allocationSettings"]["video_constraints"]
        chosen = allocator["allocation"]["allocations"]
        assert set(chosen) == set(asked)
        for name, wanted in asked.items():
            height = (wanted if isinstance(wanted, dict) else json.loads(wanted))["maxHeight"]
            target = chosen[name]["target"]
            targets.append((height, target["height"] if target else 0))
    assert len(targets) == CONFERENCES * 5 * 4
    assert all(got <= wanted for wanted, got in targets)
    as_asked = sum(got == wanted for wanted, got in targets)
    assert as_asked >= 0.8 * len(targets), targets  # the rest is the bridge's bandwidth estimate


def test_media_comes_under_ssrcs_of_the_bridge_which_it_told(held: Any) -> None:
    offered, state, _ = held
    meetings = offered.extra["meetings"]
    others = 5 - 1
    assert meetings["mapped_sources"] == offered.endpoints * 2 * others, "a microphone and a camera of each other one"
    assert meetings["unmapped_streams"] == 0
    for one in endpoints(state):
        assert one["video_ssrcs"]
        assert one["audio_ssrcs"]


def test_the_bridge_marks_media_with_the_mids_that_it_told(real: Lab) -> None:
    offered, _, _ = hold(real, replace(load_mix("meeting-5").mix(), mid_demux=True))
    meetings = offered.extra["meetings"]
    assert meetings["mids_checked"] > 50
    assert meetings["mids_wrong"] == 0
    assert meetings["unmapped_streams"] == 0


def test_bandwidth_estimates_go_both_ways_where_there_is_no_transport_cc(real: Lab) -> None:
    mix = replace(load_mix("meeting-5").mix(), transport_cc=False, remb=True)
    offered, state, _ = hold(real, mix)
    meetings = offered.extra["meetings"]
    assert meetings["transport_feedback_sent"] == meetings["transport_feedback_received"] == 0
    assert meetings["remb_sent"] == pytest.approx(5 * offered.endpoints * offered.duration_seconds, rel=0.2)
    assert meetings["remb_received"] > offered.endpoints
    for one in endpoints(state):
        assert one["bitrate_controller"]["bitrate_allocator"]["bweBps"] > 500_000
    assert offered.extra["kinds"]["video"]["received"] == offered.extra["kinds"]["video"]["expected"] > 0


def test_congestion_control_works_both_ways(held: Any) -> None:
    offered, state, _ = held
    meetings = offered.extra["meetings"]
    assert meetings["transport_feedback_sent"] > 5 * offered.endpoints
    assert meetings["transport_feedback_received"] > 5 * offered.endpoints
    for one in endpoints(state):
        assert one["transceiver"]["stream_information_store"]["rtp_extensions"].get("5") == "TRANSPORT_CC"
        assert one["transceiver"]["endpoint_connection_stats"]["rtt"] > 0
        assert one["bitrate_controller"]["bitrate_allocator"]["bweBps"] > 500_000
        assert one["message_transport"]["received_counts"]["ReceiverVideoConstraintsMessage"] >= 1


def test_it_sees_speakers_change_and_asks_for_key_frames(held: Any) -> None:
    offered, state, stats = held
    assert stats["participants"] == offered.endpoints == 5 * CONFERENCES
    meetings = offered.extra["meetings"]
    assert offered.extra["silent_endpoints"] == ()
    assert meetings["active_layers"] < 3 * offered.endpoints, "no camera was told to stop a layer"
    assert sum(one["message_transport"]["sent_counts"].get("DominantSpeakerMessage", 0) for one in endpoints(state)) > 0


def test_load_from_the_command_line(real: Lab) -> None:
    argv = [sys.executable, "-m", "jvbtune", "load", "--host", real.name, "--inventory", str(real.inventory)]
    done = subprocess.run(
        [*argv, "--mix", "one-to-one", "--packet-rate", "3000", "--duration", "4", "--json"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["extra"]["kinds"]["video"]["received"] > 0
    assert answer["bridge_pps"] == pytest.approx(answer["offered_pps"], rel=0.01)
    assert answer["offered_pps"] == pytest.approx(3000, rel=0.25)
