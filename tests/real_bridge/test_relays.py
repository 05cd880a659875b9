"""Conferences behind a relay on a real Jitsi Videobridge: it takes the generator for another bridge."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import Generator, IntendedLoad, Mix, Offered, open_generator
from jvbtune.load.mix import LAYERS, Remote, Video
from jvbtune.load.mixfile import load_mix
from tests.load.test_lab_relay import load_over_a_relay
from tests.real_bridge.conftest import REAL

WARM_UPS = 10

pytestmark = REAL


def warmed(generator: Generator, load: IntendedLoad) -> None:
    """The first packets of a JVM are not like the others."""
    for _ in range(WARM_UPS):
        seen = generator.offer(load, 4.0, settle_seconds=4.0)
        if not seen.loss_ratio and (seen.delayed_50ms_ratio or 0.0) < 0.01:
            return


@pytest.fixture(scope="module", params=["vp8", "vp9", "av1"])
def held(request: pytest.FixtureRequest, real: Lab) -> tuple[Offered, dict[str, Any], dict[str, Any]]:
    """One conference over a relay, warm: what was offered, the bridge's own state, its statistics."""
    entry = real.entry()
    codec = str(request.param)
    video = Video(2, LAYERS[codec], stage_views=3, codec=codec)
    load = IntendedLoad(1, Mix(3, 2, video=video, remote=Remote(3, 2, cameras=2, stage_views=3)))
    with connect(entry) as host, open_generator(entry, host) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        warmed(generator, load)
        offered = generator.offer(load, 8.0, settle_seconds=2.0, edge=client.queue_stats)
        time.sleep(6)  # the bridge refreshes its statistics every 5 s
        state = client.request("GET", "/debug?full=true")
        stats = client.request("GET", "/colibri/stats")
    return offered, state, stats


def relay_of(state: dict[str, Any]) -> dict[str, Any]:
    (conference,) = state["conferences"].values()
    (relay,) = conference["relays"].values()
    found: dict[str, Any] = relay
    return found


def test_relayed_packets_are_counted_alike_on_both_sides(held: Any) -> None:
    offered, _, _ = held
    assert not offered.generator_limited, offered.generator_limited_because
    kinds, meetings = offered.extra["kinds"], offered.extra["meetings"]
    assert kinds["audio"]["received"] == kinds["audio"]["expected"] == 3 * kinds["audio"]["sent"] > 0
    assert kinds["video"]["received"] == kinds["video"]["expected"] > 0
    before, after = offered.extra["edges"]
    counts = bridge_counts(before, after, offered.duration_seconds, offered.relayed_in)
    assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.005)
    assert counts.relay_out_pps == pytest.approx(meetings["relayed_out"] / offered.duration_seconds, rel=0.01)
    assert counts.relay_in_pps > 2 * 50 + 2 * 30
    assert counts.relay_out_pps > 2 * 50 + 2 * 30


def test_the_bridge_sees_another_bridge_with_its_participants(held: Any) -> None:
    _, state, stats = held
    relay = relay_of(state)
    assert len(relay["remote_endpoints"]) == 3
    assert len(relay["senders"]) == 2, "each endpoint that sends has a sender to the relay"
    assert relay["ice_transport"]["iceConnected"]
    assert stats["octo_conferences"] == 1
    assert (stats["local_endpoints"], stats["octo_endpoints"]) == (3, 3)
    assert stats["octo_receive_packet_rate"] > 100
    assert stats["octo_send_packet_rate"] > 100
    assert stats["relays_ice_failed"] == stats["dtls_failed_relays"] == 0


def test_both_bridges_say_what_their_receivers_want(held: Any) -> None:
    offered, state, _ = held
    relay = relay_of(state)
    messages = relay["message_transport"]
    assert messages["received_counts"]["AddReceiverMessage"] >= 2
    assert messages["sent_counts"]["AddReceiverMessage"] >= 2
    assert offered.extra["meetings"]["active_layers"] < 4 * 3, "no camera was told to stop a layer"
    assert offered.extra["silent_endpoints"] == ()


def test_the_town_hall(real: Lab) -> None:
    """Sixty participants, half of them behind the relay."""
    entry = real.entry()
    load = IntendedLoad(1, load_mix("town-hall-60").mix())
    with connect(entry) as host, open_generator(entry, host) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        warmed(generator, load)
        offered = generator.offer(load, 4.0, settle_seconds=2.0, edge=client.queue_stats)
        assert generator.endpoints == 30
    kinds = offered.extra["kinds"]
    assert offered.extra["silent_endpoints"] == ()
    assert kinds["audio"]["received"] == kinds["audio"]["expected"] == 30 * kinds["audio"]["sent"] > 0
    assert kinds["video"]["received"] == kinds["video"]["expected"] > 0
    before, after = offered.extra["edges"]
    counts = bridge_counts(before, after, offered.duration_seconds, offered.relayed_in)
    assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.01)
    assert counts.relay_in_pps > 2 * 50 + 2 * 30
    assert counts.relay_out_pps > 2 * 50 + 2 * 30


def test_load_from_the_command_line(real: Lab, tmp_path: Path) -> None:
    answer = load_over_a_relay(real, tmp_path)
    assert answer["bridge_pps"] == pytest.approx(answer["offered_pps"], rel=0.01)
