"""Meetings with VP9, AV1 and RED on a real Jitsi Videobridge: it reads them, chooses layers, and loses nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, Offered, open_generator
from jvbtune.load.colibri import Answer, Conference, LocalTransport, Sources
from jvbtune.load.mix import LAYERS, Video
from jvbtune.load.mixfile import load_mix
from tests.real_bridge.conftest import REAL
from tests.real_bridge.test_meetings import (
    WARM_UPS,
    endpoints,
    hold,
    test_congestion_control_works_both_ways,
    test_every_packet_is_accounted_for_by_stream_and_by_the_bridge,
    test_it_sees_speakers_change_and_asks_for_key_frames,
    test_the_bridge_forwards_the_layers_that_were_asked_for,
)

__all__ = [
    "test_congestion_control_works_both_ways",
    "test_every_packet_is_accounted_for_by_stream_and_by_the_bridge",
    "test_it_sees_speakers_change_and_asks_for_key_frames",
    "test_the_bridge_forwards_the_layers_that_were_asked_for",
]

pytestmark = REAL

MEETING = load_mix("meeting-5").mix()
#: The bridge's class for the codec, and where it keeps what it forwards.
CONTEXTS = {
    "vp9": ("Vp9AdaptiveSourceProjectionContext", "vp9QualityFilter"),
    "av1": ("Av1DDAdaptiveSourceProjectionContext", "av1QualityFilter"),
}
Held = tuple[Offered, dict[str, Any], dict[str, Any]]


def with_codec(codec: str) -> Mix:
    assert MEETING.video is not None
    if codec == "red":
        return replace(MEETING, red=True)
    return replace(MEETING, video=replace(MEETING.video, codec=codec, layers=LAYERS[codec]))


@pytest.fixture(scope="module", params=["vp9", "av1", "red"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def held(real: Lab, codec: str) -> Held:
    return hold(real, with_codec(codec))


def test_what_was_predicted_is_what_it_carries(held: Held, codec: str) -> None:
    offered, _, _ = held
    assert offered.offered_pps == pytest.approx(with_codec(codec).packet_rate_pps(), rel=0.1)


def test_it_reads_every_packet_of_the_codec(held: Held, codec: str) -> None:
    _, state, _ = held
    for one in endpoints(state):
        receiver, sender = one["transceiver"]["receiver"], one["transceiver"]["sender"]
        assert receiver["Video parser"]["num_packets_dropped_unknown_pt"] == 0
        assert receiver["Video quality layer lookup"]["num_packets_dropped_no_encoding"] == 0
        red = sender["RedHandler"]
        forwarded = {True: red["red_packets_forwarded"], False: red["audio_packets_forwarded"]}
        assert forwarded[codec == "red"] > 1000
        assert forwarded[codec != "red"] == 0
        assert red["invalid_red_packets_dropped"] == red["red_packets_decapsulated"] == 0


def test_it_has_switched_to_each_layer_and_waits_for_no_key_frame(held: Held, codec: str) -> None:
    if codec not in CONTEXTS:
        pytest.skip("of VP9 and AV1")
    _, state, _ = held
    context, quality_filter = CONTEXTS[codec]
    for one in endpoints(state):
        projections = one["bitrate_controller"]["packet_handler"]["adaptive_source_projection_map"].values()
        assert len(projections) == 4
        for projection in projections:
            assert projection["context"]["class"] == context
            assert not projection["context"][quality_filter]["needsKeyframe"]
        chosen = one["bitrate_controller"]["bitrate_allocator"]["allocation"]["allocations"].values()
        targets = sorted(one["target"]["indexString"] for one in chosen)
        assert sorted(p["context"][quality_filter]["currentIndex"] for p in projections) == targets


def test_key_frames_that_it_asked_for_came(held: Held, codec: str) -> None:
    _, state, _ = held
    asked = [one["transceiver"]["sender"]["Keyframe Requester"]["num_plis_generated"] for one in endpoints(state)]
    came = [one["transceiver"]["receiver"]["Video parser"]["num_keyframes"] for one in endpoints(state)]
    assert sum(asked) > 0
    assert all(keys >= 1 + (plis > 0) for plis, keys in zip(asked, came, strict=True))


def test_it_unpacks_red_for_those_who_do_not_support_it(real: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of five who only listen: what they get is plain Opus, and counted as the others' RED is."""
    add = Conference.add

    def offered_less(self: Conference, name: str, transport: LocalTransport, sources: Sources) -> Answer:
        return add(self, name, transport, replace(sources, red=sources.red and sources.audio is not None))

    monkeypatch.setattr(Conference, "add", offered_less)
    entry = real.entry()
    mix = replace(MEETING, senders=3, red=True)
    with connect(entry) as host, open_generator(entry, host) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        for _ in range(WARM_UPS):
            offered = generator.offer(IntendedLoad(1, mix), 4.0, settle_seconds=4.0)
            if not offered.loss_ratio:
                break
        state = client.request("GET", "/debug?full=true")
    audio = offered.extra["kinds"]["audio"]
    assert audio["received"] == audio["expected"] == 4 * audio["sent"] > 0
    handlers = [one["transceiver"]["sender"]["RedHandler"] for one in endpoints(state)]
    unpacked = [one["red_packets_decapsulated"] for one in handlers if one["red_payload_type"] == "null"]
    passed_on = [one["red_packets_forwarded"] for one in handlers if one["red_payload_type"] == "112"]
    assert (len(unpacked), len(passed_on)) == (2, 3)
    assert min(*unpacked, *passed_on) > 500
    assert {one["lost_packets_recovered"] for one in handlers} == {0}


@pytest.mark.parametrize("svc", ["vp9", "av1"])
def test_a_lower_height_is_a_lower_bit_rate(real: Lab, svc: str) -> None:
    """Three who all see the others at one height: packets and bits that each receives are those of that layer."""
    entry = real.entry()
    found = {}
    for height in (720, 360, 180):
        mix = Mix(3, 3, video=Video(3, LAYERS[svc], grid_height=height, codec=svc))
        assert mix.video is not None
        with connect(entry) as host, open_generator(entry, host) as generator:
            client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
            for _ in range(WARM_UPS):
                offered = generator.offer(IntendedLoad(1, mix), 4.0, settle_seconds=4.0, edge=client.queue_stats)
                if not offered.loss_ratio and offered.extra["meetings"]["key_frames"] == 0:
                    break
            state = client.request("GET", "/debug?full=true")
        kinds = offered.extra["kinds"]
        assert kinds["video"]["received"] == kinds["video"]["expected"]
        layer = mix.video.forwarded(3)[0]
        assert layer.height == height
        pps = kinds["video"]["received"] / offered.duration_seconds / 6
        assert pps == pytest.approx(mix.video.pps(layer), rel=0.03)
        before, after = offered.extra["edges"]
        counts = bridge_counts(before, after, offered.duration_seconds)
        assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.005)
        bits = [one["transceiver"]["sender"]["PacketStreamStats"]["bitrate_bps"] for one in endpoints(state)]
        assert len(bits) == 3
        found[height] = sum(bits) / 3
        assert found[height] == pytest.approx(mix.out_bps() / 3, rel=0.2)
    assert found[720] > 1.5 * found[360] > 2 * found[180]
