"""Video through a bridge: what the lab's bridge promises, and the real one does where ``JVBTUNE_JVB_HOME`` names it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.lab.bridge_process import Bridge
from tests.lab.video import RTX, VP8, Meeting, Participant, Received

Meet = Callable[[str, int, int], Meeting]
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not shutil.which("java"), reason="needs a JDK"),
    pytest.mark.skipif(not shutil.which("mvn"), reason="needs Maven"),
    pytest.mark.measured,
]


@pytest.fixture(
    scope="module",
    params=[
        "lab",
        pytest.param(
            "real",
            marks=[
                pytest.mark.real_bridge,
                pytest.mark.skipif("JVBTUNE_JVB_HOME" not in os.environ, reason="needs JVBTUNE_JVB_HOME"),
            ],
        ),
    ],
)
def bridge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    home = Path(os.environ["JVBTUNE_JVB_HOME"]) if request.param == "real" else None
    running = Bridge(tmp_path_factory.mktemp(request.param), home=home)
    yield running
    running.stop()


@pytest.fixture
def meet(bridge: Bridge) -> Iterator[Meet]:
    """Makes meetings, and ends them."""
    with ExitStack() as meetings:

        def made(*args: Any) -> Meeting:
            return meetings.enter_context(closing(Meeting(bridge, *args)))

        yield made


def assert_one_stream(packets: list[Received], ssrc: int) -> None:
    """One SSRC; numbers, times, pictures and TL0PICIDX that go on without a break."""
    assert {packet.ssrc for packet in packets} == {ssrc}
    for before, after in pairwise(packets):
        assert (after.sequence - before.sequence) & 0xFFFF == 1, (before, after)
        step = int(after.start)
        assert (after.picture - before.picture) & 0x7FFF == step, (before, after)
        assert (after.tl0 - before.tl0) & 0xFF == int(after.start and after.temporal == 0), (before, after)
        assert (after.timestamp > before.timestamp) is after.start, (before, after)
        if after.layer != before.layer:
            assert (after.key, after.start) == (True, True), "a layer changes on a key frame alone"


def media(participant: Participant) -> list[Received]:
    """Without a real bridge's padding: it probes by empty packets of a source of its own (ProbingDataSender)."""
    return [packet for packet in participant.rtp if packet.payload_type == VP8 and packet.payload]


def assert_numbered(participant: Participant, bridge: Bridge) -> None:
    """Each receiver's packets are numbered for itself, from 1. A real bridge numbers media and retransmissions in two
    threads by one counter without a lock (TccSeqNumTagger), so that a number comes twice now and then."""
    numbers = [packet.transport_sequence or 0 for packet in participant.rtp]
    repeated = len(numbers) - len(set(numbers))
    assert sorted(set(numbers)) == list(range(1, len(numbers) - repeated + 1))
    if not bridge.is_real:
        assert numbers == sorted(numbers)
        assert not repeated
    assert repeated < len(numbers) / 20


def test_each_receiver_gets_the_layer_it_asks_for_as_one_stream(bridge: Bridge, meet: Meet) -> None:
    call = meet("layers", 4, 0x51000000)
    small, large, silent = call.receivers
    for participant in (call.sender, small, large):
        participant.open_channel()
    assert call.pump(9, lambda: all(p.got("ServerHello") and p.got("ForwardedSources") for p in (small, large)))
    assert small.messages[0] == {"colibriClass": "ServerHello"}

    call.send(20)
    assert small.rtp == large.rtp == [], "nothing is forwarded before it is asked for"
    assert not call.sender.feedback(206, 1)
    heights = [m["maxHeight"] for m in call.sender.got("SenderSourceConstraints")]
    assert heights == [0], "nobody wants the source"

    small.ask(lastN=-1, defaultConstraints={"maxHeight": 180})
    large.ask(lastN=-1, constraints={call.sender.source: {"maxHeight": 720}}, defaultConstraints={"maxHeight": 0})
    call.send(600, until=lambda: bool(media(small) and media(large)) and media(large)[-1].layer == 2)
    call.send(30)
    ssrc = call.sender.layers[0].ssrc
    for receiver in (small, large):
        first = media(receiver)[0]
        assert (first.key, first.start) == (True, True), "a stream begins with a key frame"
        assert_one_stream(media(receiver), ssrc)
        assert receiver.got("ForwardedSources")[-1]["forwardedSources"] == [call.sender.source]
    assert {packet.layer for packet in media(small)} == {0}
    assert {packet.layer for packet in media(large)[-40:]} == {2}
    assert call.sender.got("SenderSourceConstraints")[-1] == {
        "colibriClass": "SenderSourceConstraints",
        "sourceName": call.sender.source,
        "maxHeight": 720,
    }
    assert not silent.rtp, "who does not ask gets nothing"

    small.ask(defaultConstraints={"maxHeight": 720})
    large.ask(constraints={})
    call.send(500, until=lambda: media(small)[-1].layer == 2)
    call.send(20)
    assert media(small)[-1].layer == 2
    assert_one_stream(media(small), ssrc)
    assert large.got("ForwardedSources")[-1]["forwardedSources"] == []
    stopped = len(media(large))
    call.send(20)
    assert len(media(large)) == stopped


def test_feedback_goes_both_ways(bridge: Bridge, meet: Meet) -> None:
    call = meet("feedback", 2, 0x52000000)
    (receiver,) = call.receivers
    receiver.open_channel()
    receiver.ask(lastN=-1, defaultConstraints={"maxHeight": 180})
    call.send(500, until=lambda: len(media(receiver)) >= 40)
    call.pump(0.15)

    # The sender is told which of its packets came, each in order and none of them lost.
    reported: list[int] = []
    for message in call.sender.feedback(205, 15):
        base, count = struct.unpack_from("!HH", message, 12)
        reported += [(base + i) & 0xFFFF for i in range(count)]
    assert reported == list(range(reported[0], reported[0] + len(reported)))
    assert len(reported) > 100

    assert_numbered(receiver, bridge)

    # A lost packet comes again, in the retransmission stream.
    lost = media(receiver)[-5]
    receiver.send_rtcp(struct.pack("!BBHIIHH", 0x81, 205, 3, 1, lost.ssrc, lost.sequence, 0))
    original, before = struct.pack("!H", lost.sequence), len(receiver.rtp)
    assert call.pump(2, lambda: any(p.payload[:2] == original for p in receiver.rtp[before:]))
    again = next(packet for packet in receiver.rtp[before:] if packet.payload[:2] == original)
    assert (again.ssrc, again.payload_type) == (lost.ssrc + 100, RTX)
    assert again.payload[2:] == lost.payload
    assert_numbered(receiver, bridge)

    # A receiver's request for a key frame reaches the sender.
    asked = len(call.sender.feedback(206, 1))
    time.sleep(0.4)
    receiver.send_rtcp(struct.pack("!BBHII", 0x81, 206, 2, 1, lost.ssrc))
    assert call.pump(2, lambda: len(call.sender.feedback(206, 1)) > asked)
    assert struct.unpack_from("!I", call.sender.feedback(206, 1)[-1], 8)[0] == lost.ssrc

    # A sender report comes with the time stamps of the stream it is about; the answer gives the round-trip time.
    last = media(receiver)[-1]
    layer = call.sender.layers[0]
    ntp = 0x1122334455667788
    timestamp = (layer.picture * 3000) & 0xFFFFFFFF
    call.sender.send_rtcp(struct.pack("!BBHIQIII", 0x80, 200, 6, layer.ssrc, ntp, timestamp, 7, 7))
    assert call.pump(2, lambda: any(compound[1] == 200 for compound in receiver.rtcp))
    report = next(compound for compound in receiver.rtcp if compound[1] == 200)
    assert struct.unpack_from("!IQI", report, 4) == (layer.ssrc, ntp, last.timestamp)
    block = struct.pack("!IIIIII", layer.ssrc, 0, 0, 0, ntp >> 16 & 0xFFFFFFFF, 0)
    receiver.send_rtcp(struct.pack("!BBHI", 0x81, 201, 7, 1) + block)

    # The receiver says that one of ten was lost.
    chunks = 0x8000 | sum(1 << 13 - i for i in range(9))
    tcc = (
        struct.pack("!BBHIIHHIH", 0x8F, 205, 7, 1, lost.ssrc, receiver.rtp[0].transport_sequence, 10, 0, chunks)
        + bytes(9)
        + bytes(1)
    )
    receiver.send_rtcp(tcc)
    assert call.pump(3, lambda: bool(receiver.got("ConnectionStats")))
    assert receiver.got("ConnectionStats")[0]["estimatedDownlinkBandwidth"] > 30_000
    assert call.pump(12, lambda: bridge.json("/colibri/stats")["rtt_aggregate"] > 0)
    stats = bridge.json("/colibri/stats")
    assert 0 < stats["rtt_aggregate"] < 1000
    assert stats["outgoing_loss"] == pytest.approx(0.1)


def test_messages_are_relayed(bridge: Bridge, meet: Meet) -> None:
    call = meet("relayed", 3, 0x53000000)
    for participant in call.all:
        participant.open_channel()
    first, second, third = call.all
    assert call.pump(2, lambda: all(p.got("ForwardedSources") for p in call.all))
    assert first.channel is not None
    first.channel.send(json.dumps({"colibriClass": "EndpointMessage", "to": second.name, "from": "forged", "text": 1}))
    assert call.pump(2, lambda: bool(second.got("EndpointMessage")))
    expected = {"colibriClass": "EndpointMessage", "to": second.name, "from": first.name, "text": 1}
    assert second.got("EndpointMessage") == [expected]
    first.channel.send(json.dumps({"colibriClass": "EndpointMessage", "to": "", "n": 2}))
    first.channel.send(json.dumps({"colibriClass": "EndpointStats", "bitrate": 5}))
    assert call.pump(2, lambda: bool(third.got("EndpointStats") and second.got("EndpointStats")))
    for other in (second, third):
        assert other.got("EndpointMessage")[-1] == {
            "colibriClass": "EndpointMessage", "to": "", "from": first.name, "n": 2
        }  # fmt: skip
        assert other.got("EndpointStats") == [{"colibriClass": "EndpointStats", "from": first.name, "bitrate": 5}]
    assert not first.got("EndpointMessage")

    # What cannot be read is left out; the channel stays.
    first.channel.send("{")
    first.channel.send(json.dumps({"colibriClass": "NoSuchMessage"}))
    first.channel.send(json.dumps({"colibriClass": "ReceiverVideoConstraints", "nosuch": 1}))
    first.channel.send(json.dumps({"colibriClass": "ClientHello"}))
    assert call.pump(2, lambda: len(first.got("ServerHello")) == 2)

    # A second socket takes the first one's place.
    assert third.channel is not None
    before = third.channel
    third.open_channel()
    assert call.pump(2, lambda: before.close_code is not None or before.protocol.close_code is not None)
    before.close()


def test_the_channel_is_for_those_who_know_the_password(bridge: Bridge, meet: Meet) -> None:
    call = meet("password", 2, 0x54000000)
    url, password = call.sender.url.split("?pwd=")
    server, conference, endpoint = url.rsplit("/", 3)[1:]
    for wrong, status in [
        (f"{url}?pwd={password}x", 403),
        (url.replace(endpoint, "ffffffff") + f"?pwd={password}", 403),
        (url.replace(conference, "ffffffff") + f"?pwd={password}", 403),
        (url.replace(f"/{server}/", "/other/") + f"?pwd={password}", 404),
    ]:
        with pytest.raises(InvalidStatus) as refused, connect(wrong, open_timeout=5):
            pass
        assert refused.value.response.status_code == status, wrong


def test_last_n_and_selection_choose_among_the_senders(bridge: Bridge, meet: Meet) -> None:
    call = meet("last-n", 2, 0x55000000)
    (receiver,) = call.receivers
    receiver.open_channel()
    call.sender.open_channel()
    receiver.ask(lastN=0, defaultConstraints={"maxHeight": 180})
    call.send(15)
    assert not receiver.rtp
    receiver.ask(lastN=1)
    call.send(500, until=lambda: bool(receiver.rtp))
    assert receiver.rtp
    assert receiver.channel is not None
    receiver.channel.send(json.dumps({"colibriClass": "LastNChangedEvent", "lastN": 0}))
    assert call.pump(2, lambda: receiver.got("ForwardedSources")[-1]["forwardedSources"] == [])
    assert call.pump(2, lambda: call.sender.got("SenderSourceConstraints")[-1]["maxHeight"] == 0)
