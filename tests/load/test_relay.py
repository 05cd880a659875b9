"""A conference that goes on behind a relay: what the bridge at its other end sends, asks for and obeys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from jvbtune.bridge.counts import IN_QUEUE, OUT_QUEUE, RELAY_QUEUES, bridge_counts
from jvbtune.errors import ConfigError, LoadError
from jvbtune.load import refuse_without_relays
from jvbtune.load.calendar import Calendar
from jvbtune.load.colibri import LocalTransport, parse_answer, relay_json
from jvbtune.load.meeting import Meetings
from jvbtune.load.mix import VP8_LAYERS, Mix, Remote, Video
from jvbtune.load.mixfile import MixSection, load_mix
from jvbtune.load.participants import Behind, hear_nothing, participants, peer, sources_behind, sources_of
from jvbtune.load.relay import RelayPeer
from jvbtune.load.sending import Outbox
from jvbtune.protocol import worker as messages
from tests.load.test_meeting import Told

HERE, THERE = ("aaaa", "bbbb", "cccc"), ("dddd", "eeee")
AUDIO = Mix(3, 1, remote=Remote(2, 2))
CAMERAS = Video(2, VP8_LAYERS, stage_views=3)
MIX = Mix(3, 2, video=CAMERAS, remote=Remote(2, 1, cameras=1, stage_views=2))


def behind(mix: Mix) -> Behind:
    return Behind("other", THERE, sources_behind(mix))


def asked_of(mix: Mix) -> messages.Peer:
    return peer(mix, HERE, sources_of(mix), behind(mix), seed=3)


@pytest.fixture
def relay() -> Iterator[RelayPeer]:
    made = RelayPeer("other", "127.0.0.1", ("127.0.0.1", 9))
    made.channel = Told()  # type: ignore[assignment]
    yield made
    made.close()


def heights(relay: RelayPeer) -> dict[str, int]:
    said: list[dict[str, Any]] = relay.channel.said  # type: ignore[union-attr]
    return {message["sourceName"]: message["videoConstraints"]["maxHeight"] for message in said}


def test_packets_of_audio_are_exact() -> None:
    """Each microphone here is heard by the two others and once by the relay; each there by all three here."""
    assert (AUDIO.relay_in_pps(), AUDIO.relay_out_pps()) == (100.0, 50.0)
    assert AUDIO.out_pps() >= 2 * 50 + 2 * 3 * 50
    asked = participants(AUDIO, HERE, sources_of(AUDIO), seed=3, behind=behind(AUDIO))
    assert [one.receives for one in asked] == [3, 3, 3]
    stands_in = asked_of(AUDIO)
    assert stands_in.receives == 3
    assert [mike.number for mike in stands_in.microphones] == [1, 2]
    assert {mike.speakers for mike in stands_in.microphones} == {3}, "all share one floor"


def test_bursts_have_no_relay() -> None:
    bursts = replace(MIX, burst_packets=8)
    assert bursts.relayed is None
    assert (sources_behind(bursts), bursts.relay_in_pps(), bursts.relay_out_pps()) == ((), 0.0, 0.0)
    assert bursts.packet_rate_pps() == 2 * 50 * 3


def test_video_of_both_sides_is_shared_out() -> None:
    without = replace(MIX, remote=None)
    assert MIX.relay_in_pps() > 50
    assert MIX.relay_out_pps() > 100
    assert MIX.out_pps() > without.out_pps() + 3 * 50, "a third camera is seen by all"
    local = sum(map(CAMERAS.pps, CAMERAS.sent(3, MIX.remote))) * 2 / 3
    assert MIX.relay_out_pps() == pytest.approx(2 * 50 + local)
    assert "2 behind a relay with 1 microphones and 1 cameras" in str(MIX)


def test_clients_here_may_ask_for_the_cameras_there() -> None:
    asked = participants(MIX, HERE, sources_of(MIX), seed=3, behind=behind(MIX))
    assert asked[0].cameras == ["bbbb-v0", "dddd-v0"]
    assert asked[2].cameras == ["aaaa-v0", "bbbb-v0", "dddd-v0"]


def test_who_hears_nothing() -> None:
    silent = behind(Mix(3, 1, remote=Remote(2, 0)))
    one = sources_of(Mix(3, 1, remote=Remote(2, 0)))
    assert hear_nothing(HERE, one, silent) == ["aaaa"]
    assert hear_nothing(HERE, one, behind(AUDIO)) == []
    nobody = tuple(replace(source, audio=None) for source in one)
    assert hear_nothing(HERE, nobody, behind(AUDIO)) == ["other"]


def test_the_other_bridge_asks_for_the_one_who_speaks_and_obeys_both_sides(relay: RelayPeer) -> None:
    asked = asked_of(MIX)
    meetings = Meetings()
    meetings.relay(relay, asked)
    (camera,) = relay.cameras
    assert relay._floor is not None
    first, numbers = relay._floor.holder, {0: "aaaa-v0", 1: "bbbb-v0"}
    expected = {name: 720 if number == first else 180 for number, name in numbers.items()}
    assert heights(relay) == expected

    def speaks(number: int) -> None:
        relay._before, relay._holder = relay._holder, number
        relay._ask()

    speaks(2)  # the one with the camera here
    assert camera.active == [True, True, True]
    assert heights(relay)[numbers.get(first, "aaaa-v0")] == (720 if first in numbers else 180)
    speaks(1)
    assert heights(relay) == {"aaaa-v0": 180, "bbbb-v0": 720}
    assert camera.active == [True, False, False], "those here see it small"
    relay._on_message({"colibriClass": "AddReceiver", "sourceName": "dddd-v0", "videoConstraints": {"maxHeight": 360}})
    assert camera.active == [True, True, False], "the bridge under test wants more"
    relay._on_message({"colibriClass": "AddReceiver", "sourceName": "dddd-v0", "videoConstraints": {"maxHeight": -1}})
    assert camera.active == [True, True, True]
    for foreign in ({}, {"videoConstraints": 1}, {"videoConstraints": {}}, {"videoConstraints": {"maxHeight": "x"}}):
        relay._on_message({"colibriClass": "AddReceiver", "sourceName": "dddd-v0", **foreign})
    assert camera.active == [True, True, True]


def test_one_participant_alone_there_does_not_see_itself(relay: RelayPeer) -> None:
    mix = replace(MIX, remote=Remote(1, 1, cameras=1, stage_views=1))
    Meetings().relay(relay, peer(mix, HERE, sources_of(mix), Behind("other", THERE[:1], sources_behind(mix)), seed=3))
    assert relay.cameras[0].active == [False, False, False]


def test_what_is_asked_for_again_is_repeated_as_it_was(relay: RelayPeer) -> None:
    """A JVB negotiates no RTX between bridges."""
    Meetings(Calendar(Outbox())).relay(relay, asked_of(MIX))
    (camera,) = relay.cameras
    layer = camera.layers[0]
    frames = [bytes(packet) for packet in layer.frame(0.0) + layer.frame(1 / 30)]
    for packet in frames:
        again = layer.repetition(int.from_bytes(packet[2:4], "big"))
        assert again is not None
        assert again.packets() == [packet]
    assert layer.repetition(9) is None
    assert frames[-1][1] & 0x80, "a frame's last packet has the marker"


def test_a_relay_is_signalled_with_the_endpoints_behind_it() -> None:
    transport = LocalTransport("u", "p", "192.0.2.1", 4000, "AA:BB")
    there = dict(zip(THERE, sources_behind(MIX), strict=True))
    relay = relay_json("other", transport, there)
    assert (relay["create"], relay["id"]) == (True, "other")
    assert relay["transport"]["ice-controlling"] is relay["transport"]["use-unique-port"] is False
    assert relay["transport"]["transport"]["fingerprints"][0]["setup"] == "active"
    assert [one["id"] for one in relay["endpoints"]] == list(THERE)
    assert [[source["id"] for source in one["sources"]] for one in relay["endpoints"]] == [["dddd-a0", "dddd-v0"], []]
    with pytest.raises(LoadError, match="has no transport"):
        parse_answer({"endpoints": []}, "relays")


def test_packets_from_relays_are_told_apart_by_who_sent_them() -> None:
    def answer(came: int, out: int, relayed: int) -> dict[str, Any]:
        return {
            IN_QUEUE: {"added_packets": came, "dropped_packets": 0},
            OUT_QUEUE: {"removed_packets": out},
            RELAY_QUEUES[1]: {"removed_packets": relayed},
        }

    counts = bridge_counts(answer(100, 200, 300), answer(600, 1200, 500), 10.0, 200)
    assert (counts.in_pps, counts.out_pps, counts.relay_in_pps, counts.relay_out_pps) == (30.0, 100.0, 20.0, 20.0)
    assert (counts.relay_pps, counts.packet_rate_pps) == (40.0, 170.0)
    assert bridge_counts(answer(0, 0, 0), answer(5, 0, 0), 1.0, 9).in_pps == 0.0, "some of them never came"


def test_a_bridge_without_relays_is_refused_with_the_way_out() -> None:
    refuse_without_relays("jvb", {"relay_id": "jvb-1"})
    with pytest.raises(LoadError, match="jvb: the mix has a relay, and the bridge takes none") as refused:
        refuse_without_relays("jvb", {"octo_conferences": 0})
    assert "videobridge.relay.enabled = true" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("remote", "why"),
    [
        ({"participants": 2, "senders": 3}, "senders = 3 is more than participants = 2"),
        ({"participants": 2, "cameras": 1}, "remote.cameras needs the table"),
        ({"participants": 0}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_remote_part_is_refused(remote: dict[str, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        MixSection.model_validate({"remote": remote})


def test_the_town_hall_is_half_on_each_bridge() -> None:
    mix = load_mix("town-hall-60").mix()
    assert mix.remote is not None
    assert mix.participants + mix.remote.participants == 60
    assert mix.relay_in_pps() == pytest.approx(mix.relay_out_pps())
    with pytest.raises(ConfigError):
        load_mix("town-hall")
