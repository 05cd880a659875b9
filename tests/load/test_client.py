"""A meeting's client against the far end of its socket: real SRTP, real time, no bridge."""

from __future__ import annotations

import math
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from pylibsrtp import Policy, Session

from jvbtune.load import native, rtcp
from jvbtune.load.calendar import Calendar
from jvbtune.load.client import Client
from jvbtune.load.media.rtp import OPUS, RTX, STAMP_MARK, VP8, header, set_transport_sequence
from jvbtune.load.media.vp8 import packets_per_second
from jvbtune.load.meeting import Meetings
from jvbtune.load.mix import VP8_LAYERS, Mix, Video
from jvbtune.load.native.calendar import CompiledCalendar, calendar
from jvbtune.load.participants import participants, sources_of
from jvbtune.load.sending import Outbox
from jvbtune.protocol.worker import ChannelAt, Remote
from tests.load.test_media import Rtp, read_rtp, read_vp8

PROFILE = Policy.SRTP_PROFILE_AEAD_AES_128_GCM


@dataclass
class Far:
    """The bridge's end: what it got, decrypted."""

    socket: socket.socket
    meetings: Meetings
    client: Client
    sends: Session
    takes: Session
    packets: list[Rtp] = field(default_factory=list)
    reports: list[rtcp.Packet] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while (now := time.monotonic()) < ends:
            self.meetings.step(now)
            self.take()

    def take(self) -> None:
        while True:
            try:
                data = self.socket.recv(2048)
            except BlockingIOError:
                return
            if data[0] < 128:
                continue  # STUN: its consent
            if 64 <= data[1] & 0x7F < 96:
                self.reports += rtcp.parse(self.takes.unprotect_rtcp(data))
            else:
                self.packets.append(read_rtp(self.takes.unprotect(data)))


@pytest.fixture(params=["python", "compiled"])
def far(request: pytest.FixtureRequest) -> Iterator[Far]:
    if request.param == "compiled" and native.library() is None:
        pytest.skip("built without a C compiler")
    mix = Mix(2, 1, video=Video(1, VP8_LAYERS))
    asked = participants(mix, ("aaaa", "bbbb"), sources_of(mix), seed=3)[0]
    to_bridge, to_client = os.urandom(28), os.urandom(28)

    def session(key: bytes, kind: int) -> Session:
        return Session(Policy(key=key, ssrc_type=kind, srtp_profile=PROFILE))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        end.setblocking(False)
        client = Client("aaaa", "127.0.0.1", end.getsockname())
        end.connect(client.address)
        client.outbound, client.inbound = (
            session(to_bridge, Policy.SSRC_ANY_OUTBOUND),
            session(to_client, Policy.SSRC_ANY_INBOUND),
        )
        client.state, client.next_check = "connected", math.inf  # without ICE
        meetings = Meetings(Calendar(Outbox()) if request.param == "python" else calendar())
        assert isinstance(meetings.calendar, CompiledCalendar) == (request.param == "compiled")
        meetings.join(client, asked)
        meetings.start()
        yield Far(
            end, meetings, client, session(to_client, Policy.SSRC_ANY_OUTBOUND),
            session(to_bridge, Policy.SSRC_ANY_INBOUND),
        )  # fmt: skip
        client.close()


@pytest.mark.measured
def test_it_sends_at_its_rate_numbers_each_packet_and_reports(far: Far) -> None:
    far.meetings.edge()
    begun = far.meetings.calendar.tick
    far.run(2.0)
    seconds = (far.meetings.calendar.tick - begun) / 1000
    kinds = Counter(packet.payload_type for packet in far.packets)
    assert kinds[OPUS] == pytest.approx(50 * seconds, abs=1.5)
    steady = sum(packets_per_second(layer.bitrate_kbps * 1000, 30, layer.height) for layer in VP8_LAYERS)
    assert kinds[VP8] == pytest.approx(steady * seconds, rel=0.3)  # the key frame is still being paid back
    for ssrc in {packet.ssrc for packet in far.packets}:
        sequences = [packet.sequence for packet in far.packets if packet.ssrc == ssrc]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences))), "also after a key frame"
    numbers = [int.from_bytes(packet.extensions[5], "big") for packet in far.packets]
    assert numbers == list(range(len(numbers)))
    times = [int.from_bytes(p.extensions[3], "big") for p in far.packets if p.payload_type == VP8]
    assert all((after - before) & 0xFFFFFF < 1 << 18 for before, after in pairwise(times)), "a second, at most"
    assert {packet.extensions.keys() >= {1} for packet in far.packets if packet.payload_type == OPUS} == {True}
    sent = far.meetings.kinds()
    assert (sent["audio"].sent, sent["video"].sent) == (kinds[OPUS], kinds[VP8])
    assert sum(far.meetings.lateness.counts) == kinds[OPUS] + kinds[VP8], "the lateness of every packet is counted"
    reporting = {report.ssrc for report in far.reports if isinstance(report, rtcp.SenderReport)}
    assert reporting == {packet.ssrc for packet in far.packets}


def test_a_key_frame_comes_on_request_and_a_lost_packet_again(far: Far) -> None:
    far.run(0.5)
    video = [packet for packet in far.packets if packet.payload_type == VP8]
    wanted = video[-3]
    far.packets.clear()
    far.socket.send(far.sends.protect_rtcp(rtcp.pli(1, wanted.ssrc) + rtcp.nack(1, wanted.ssrc, [wanted.sequence])))
    far.run(0.5)
    again = [packet.payload for packet in far.packets if packet.payload_type == RTX]
    assert again == [wanted.sequence.to_bytes(2, "big") + _without_time(wanted.payload)]
    keys = {p.ssrc for p in far.packets if p.payload_type == VP8 and read_vp8(p.payload).key}
    assert keys == {packet.ssrc for packet in video}, "of all layers at once"
    assert (far.client.counts["key_requests"], far.client.counts["nacks_received"]) == (1, 1)


def _without_time(payload: bytes) -> bytes:
    """A retransmission has no time of sending: its delay would be of the first attempt."""
    assert payload[-12:-8] == STAMP_MARK
    return payload[:-8] + bytes(8)


def test_it_reports_the_arrival_of_each_packet(far: Far) -> None:
    for number in range(300):
        if number % 10 == 3:
            continue  # lost on the way
        packet = header(VP8, True, number, 0, 77)
        set_transport_sequence(packet, 65_500 + number)
        far.socket.send(far.sends.protect(bytes(packet) + bytes(40)))
    far.socket.send(far.sends.protect_rtcp(rtcp.sender_report(rtcp.SenderReport(77, 5 << 32, 0, 0, 0))))
    far.run(1.6)
    feedback = [report for report in far.reports if isinstance(report, rtcp.TransportFeedback)]
    received = [number for one in feedback for number in one.received]
    assert received == [(65_500 + number) & 0xFFFF for number in range(300) if number % 10 != 3]
    assert [one.number for one in feedback] == list(range(1, len(feedback) + 1))
    assert sum(one.count for one in feedback) == 300
    blocks = [b for r in far.reports if isinstance(r, rtcp.SenderReport | rtcp.ReceiverReport) for b in r.blocks]
    assert {block.ssrc for block in blocks} == {77}
    assert (blocks[-1].lost, blocks[-1].highest, blocks[-1].last_report) == (30, 299, 5 << 16)
    assert 0 < blocks[-1].delay < 3 * 65536


@pytest.fixture
def client() -> Iterator[Client]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        made = Client("aaaa", "127.0.0.1", end.getsockname())
        yield made
        made.close()


def test_a_failure_names_its_step(client: Client) -> None:
    client.connect(Remote("a", "b", "c"), 1.0)
    client.tick(time.monotonic())
    assert client.state == "checking"
    client.tick(time.monotonic() + 2)
    assert (client.state, client.why) == ("failed", "ICE: no answer of the bridge")
    client.state = "handshaking"
    client.tick(time.monotonic() + 2)
    assert client.why == "DTLS: no answer of the bridge"


def test_a_channel_that_is_refused_or_never_opens_is_a_step_too(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address, port = silent.getsockname()
        client.connect(Remote("a", "b", "c", ChannelAt(f"ws://{address}:{port}/x", address, port)), 1.0)
        client._secured()
        client.tick(time.monotonic())
        assert client.state == "joining"
        client.tick(time.monotonic() + 2)
        assert client.why == "channel: no answer of the bridge"
        assert client.channel is not None
        client.channel.close()
    client._secured()
    deadline = time.monotonic() + 5
    client._deadline = deadline
    while client.state == "joining" and time.monotonic() < deadline:
        client.tick(time.monotonic())
    assert (client.state, client.why) == ("failed", "channel: Connection refused")
