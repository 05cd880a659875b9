"""The account of a meeting's window by stream, and a client that does what the bridge tells it."""

from __future__ import annotations

import json
import time
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from jvbtune.load import meeting
from jvbtune.load.calendar import Calendar
from jvbtune.load.camera import Camera
from jvbtune.load.client import Client
from jvbtune.load.colibri import MID_URI, endpoint_json
from jvbtune.load.feedback import REMB_PACKET_BITS, Bandwidth
from jvbtune.load.media import OpusSource
from jvbtune.load.media.rtp import AV1, DESCRIPTOR_ID, MID_ID, VP8, extension, header
from jvbtune.load.meeting import Meetings
from jvbtune.load.mix import VP8_LAYERS, Mix, Video
from jvbtune.load.participants import participants, sources_of
from jvbtune.load.received import Media
from jvbtune.load.rtcp import Remb, parse
from jvbtune.load.sending import Outbox
from jvbtune.protocol import worker as messages

NAMES = ("aaaa", "bbbb", "cccc")
MIX = Mix(3, 2, video=Video(2, VP8_LAYERS, stage_views=2))


class Told:
    """In place of a channel: what a client says on it."""

    open, failed = True, None

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        self.said.append(json.loads(json.dumps(message)))

    def tick(self, now: float) -> list[dict[str, Any]]:
        return []

    def close(self, *reason: object) -> None: ...


@pytest.fixture
def meetings() -> Any:
    made = Meetings(Calendar(Outbox()))
    clients = []
    for asked in participants(MIX, NAMES, sources_of(MIX), seed=3):
        client = Client(asked.endpoint, "127.0.0.1", ("127.0.0.1", 9))
        client.channel = Told()  # type: ignore[assignment]
        made.join(client, asked)
        clients.append(client)
    yield made, clients
    for client in clients:
        client.close()


def media(owner: int, ssrc: int, sequences: list[int], kind: int = 100) -> Media:
    many = len(sequences)
    return Media(
        np.full(many, owner), np.full(many, ssrc), np.array(sequences), np.full(many, kind), np.full(many, -1),
        np.zeros(many, np.int64),
    )  # fmt: skip


def test_gaps_are_lost_and_what_was_never_forwarded_is_not(meetings: Any) -> None:
    made, _ = meetings
    made.keep(0, media(0, 50, [65530, 65531]))
    made.edge()
    for got in (
        media(0, 50, [65532, 65533, 65535, 0, 2, 1, 1]),  # 65534 is missing, 1 late and then again
        media(1, 50, [10, 11, 12]),  # another receiver's stream, first forwarded in the window
        media(0, 51, [7, 8, 9], kind=96),
        media(0, 60, [5, 6], kind=111),
    ):
        made.keep(0, got)
    made.calendar.sent |= {"audio": 3, "video": 20}
    made.calendar.audio_expected = 6
    made.account()
    made.keep(0, media(1, 50, [14]))
    made.account()
    kinds = made.kinds()
    assert kinds["video"] == messages.KindCounts(20, 7 + 5, 6 + 4, duplicated=1, reordered=1)
    assert kinds["rtx"] == messages.KindCounts(0, 3, 3)
    assert kinds["audio"] == messages.KindCounts(3, 6, 2)
    assert made.missing() == 4 + 2
    made.edge()
    made.keep(0, media(0, 50, [4]))
    assert made.missing() == 1, "what a bridge loses between two windows' streams is lost in the later one"
    made.leave("aaaa")
    assert made.kinds()["video"].expected == 0


def test_what_came_is_booked_by_groups_in_turn_and_none_is_left_out(meetings: Any) -> None:
    """All at once held up what was to be sent: 9 ms at 59 kpps."""
    made, clients = meetings
    made.edge()
    for first in (10, 12):
        for owner in range(len(clients)):
            made.keep(owner, media(owner, 50, [first, first + 1]))
    booked: list[int] = []
    until = time.monotonic() + 10
    while (not booked or booked[-1] < 4 * len(clients)) and time.monotonic() < until:
        made.step(time.monotonic())
        booked.append(made.kinds()["video"].received)
    assert sorted(set(booked) | {0}) == [4 * number for number in range(len(clients) + 1)]
    made.account()
    assert made.kinds()["video"] == messages.KindCounts(0, 4 * len(clients), 4 * len(clients))


def test_batches_of_a_group_are_booked_in_order_whoever_got_media_in_them(meetings: Any) -> None:
    made, _ = meetings
    batches = [[media(0, 50, [1])], [media(1, 50, [10, 11])], [media(0, 50, [2]), media(1, 50, [12, 13])]]
    made._receiver = Batches(batches)
    for _ in range(3):
        made.poll(time.monotonic())
    made.account()
    assert made.kinds()["video"] == messages.KindCounts(0, 6, 6, reordered=0)


def test_who_moves_up_to_another_group_is_booked_in_order(meetings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = meetings
    monkeypatch.setattr(meeting, "DRAINED_AT_ONCE", 2)
    made._group()
    made._receiver = Batches([[media(0, 50, [1])], [media(2, 50, [10])], [media(0, 50, [2]), media(2, 50, [11])]])
    made.poll(time.monotonic())
    made.leave("bbbb")
    made.poll(time.monotonic())
    made.account()
    assert made.kinds()["video"] == messages.KindCounts(0, 4, 4, reordered=0)


class Batches:
    """In place of a receiver: what each reading of a group finds."""

    def __init__(self, batches: list[list[Media]]) -> None:
        self._batches = batches

    def take(self, descriptor: int, owner: int) -> bool:
        return bool(self._batches)

    def read(self, other: object, sample: object) -> Media:
        parts = self._batches.pop(0)
        names = [one.name for one in fields(Media)]
        return Media(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def test_each_delay_is_kept_once_with_its_count(meetings: Any) -> None:
    """What a window keeps, and its reply, does not grow with its length."""
    made, (first, *_) = meetings
    source = OpusSource(7, stream_pps=50, payload_bytes=80)
    first.inbound = Unprotected()
    for _ in range(1000):
        for delay_ns in (2_000_999, 1_000_000, 2_000_000):
            sent = source.packet(1_000_000_000)
            made._sample(0, sent, 1_000_000_000 + delay_ns)
    assert made.counted().delays_us == {1000: 1000, 2000: 2000}
    made.edge()
    assert not made.counted().delays_us


class Unprotected:
    """In place of a session of SRTP."""

    def unprotect(self, data: bytes) -> bytes:
        return data


def test_each_asks_for_the_stage_and_thumbnails_or_a_grid(meetings: Any) -> None:
    _, clients = meetings
    said = [client.channel.said[-1] for client in clients]
    assert {message["colibriClass"] for message in said} == {"ReceiverVideoConstraints"}
    assert said[0]["onStageSources"] == ["bbbb-v0"]
    assert said[0]["constraints"] == {"bbbb-v0": {"maxHeight": 720}}
    assert said[1]["constraints"] == {"aaaa-v0": {"maxHeight": 720}}
    assert (said[2]["onStageSources"], said[2]["constraints"]) == (
        [],
        {"aaaa-v0": {"maxHeight": 360}, "bbbb-v0": {"maxHeight": 360}},
    )
    assert {message["defaultConstraints"]["maxHeight"] for message in said} == {0}


def test_a_client_knows_under_which_ssrcs_the_bridge_sends_and_what_it_was_not_told(meetings: Any) -> None:
    made, (first, second, _) = meetings
    video = {"source": "bbbb-v0", "owner": "bbbb", "ssrc": 50, "rtx": 51, "videoType": "CAMERA"}
    first._on_message({"colibriClass": "VideoSourcesMap", "mappedSources": [video]})
    for sources in ([{"source": "bbbb-a0", "owner": "bbbb", "ssrc": 60}], [{"source": 7, "ssrc": 61}, None], "x", None):
        first._on_message({"colibriClass": "AudioSourcesMap", "mappedSources": sources})
    assert first.mapped == {50: "bbbb-v0", 51: "bbbb-v0", 60: "bbbb-a0"}
    made.edge()
    for got in (media(0, 50, [1]), media(0, 51, [1], kind=96), media(0, 60, [1], kind=111), media(1, 70, [1])):
        made.keep(0, got)
    made.account()
    assert (made.counts().mapped_sources, made.counts().unmapped_streams) == (2, 0)
    made.keep(0, media(0, 77, [1]))
    made.account()
    assert made.counts().unmapped_streams == 1, "a browser would have no track for it"
    assert second.mapped == {}
    first._on_message({"colibriClass": "VideoSourcesMap", "mappedSources": [video | {"source": "cccc-v0"}]})
    assert first.mapped[50] == "cccc-v0"


def test_clients_of_meetings_let_the_bridge_rewrite_ssrcs_unless_the_mix_says_not() -> None:
    for mix, expected in (
        (MIX, True),
        (replace(MIX, ssrc_rewriting=False), False),
        (Mix(3, 2), False),  # of audio alone: it has no channel that could tell of them
        (replace(MIX, burst_packets=32), False),
    ):
        signalled = endpoint_json("e", None, sources_of(mix)[0])["capabilities"]
        assert ("ssrc-rewriting" in signalled) is expected


def test_mids_are_asked_for_where_the_mix_says_so() -> None:
    for mix, expected in ((MIX, False), (replace(MIX, mid_demux=True), True), (Mix(3, 2, mid_demux=True), False)):
        signalled = endpoint_json("e", None, sources_of(mix)[0])
        assert ("rtp-mid-demux" in signalled["capabilities"]) is expected
        offered = [one["uri"] for media in signalled["medias"] for one in media["rtp-hdrexts"]]
        assert offered.count(MID_URI) == (2 if expected else 0), "of audio and of video"


def test_clients_without_transport_cc_report_the_bandwidth_that_they_estimate() -> None:
    """As libwebrtc on a link that is never full: after 5 s what arrives, then 8 % more a second, up to half as much
    again."""
    mix = replace(MIX, transport_cc=False, remb=True)
    video = endpoint_json("e", None, sources_of(mix)[0])["medias"][1]
    assert {"type": "goog-remb"} in video["payload-types"][0]["rtcp-fbs"]
    assert {"type": "transport-cc"} not in video["payload-types"][0]["rtcp-fbs"]
    (asked, *_) = participants(mix, NAMES, sources_of(mix), seed=3)
    assert (asked.remb, asked.transport_cc) == (True, False)
    estimate, sent = Bandwidth(7), []
    for step in range(400):
        now = 0.05 * step
        estimate.got(50, 4)
        estimate.got(60, 2)
        sent += [(now, *parse(packet)) for packet in estimate.due(now)]
    arriving = 120 * REMB_PACKET_BITS
    assert 5.0 <= sent[0][0] < 7.5
    assert all(isinstance(one, Remb) and one.media_ssrcs == (50, 60) and one.ssrc == 7 for _, one in sent)
    rates = [one.bits_per_second for _, one in sent]
    assert rates[0] == pytest.approx(arriving, rel=0.1)
    assert rates == sorted(rates)
    assert max(rates) < rates[0] * 1.6
    assert rates[-1] == pytest.approx(1.5 * arriving + 10_000, rel=0.1)
    assert np.diff([at for at, _ in sent]) == pytest.approx(0.2, abs=0.051)


def test_packets_without_the_mid_that_the_bridge_told_are_counted(meetings: Any) -> None:
    made, (first, _, _) = meetings
    video = {"source": "bbbb-v0", "owner": "bbbb", "ssrc": 50, "rtx": 51, "videoType": "CAMERA", "mid": "v0"}
    unmarked = {"source": "cccc-a0", "owner": "cccc", "ssrc": 60}
    for name, source in (("VideoSourcesMap", video), ("AudioSourcesMap", unmarked)):
        first._on_message({"colibriClass": name, "mappedSources": [source]})
    first._on_message({"colibriClass": "AudioSourcesMap", "mappedSources": [unmarked | {"ssrc": 61, "mid": 7}]})
    made.edge()
    plain, marked = header(VP8, False, 1, 0, 50), bytearray(header(VP8, False, 1, 0, 50))
    marked[16:20] = bytes((MID_ID << 4 | 1,)) + b"v0" + bytes(1)
    wide = marked.copy()
    wide[12:14], wide[16:20] = b"\x10\x00", bytes((MID_ID, 2)) + b"v0"
    other = marked.copy()
    other[17:19] = b"v1"
    for packet in (marked, wide, header(VP8, False, 1, 0, 60), header(VP8, False, 1, 0, 61)):
        first.check_mid(bytes(packet))
    assert (made.counts().mids_checked, made.counts().mids_wrong) == (2, 0)
    for packet in (plain, other):
        first.check_mid(bytes(packet))
    assert (made.counts().mids_checked, made.counts().mids_wrong) == (4, 2)


@pytest.mark.parametrize("cut", range(12, 32))
def test_a_header_extension_is_looked_for_in_the_packet_only(cut: int) -> None:
    descriptor = bytes(range(1, 20))
    for packet in (header(AV1, True, 1, 2, 3, descriptor), header(VP8, True, 1, 2, 3)):
        assert extension(bytes(packet[:cut]), MID_ID) is None
    assert extension(bytes(header(AV1, True, 1, 2, 3, descriptor)), DESCRIPTOR_ID) == descriptor
    assert extension(bytes(header(AV1, True, 1, 2, 3, descriptor[:9])), DESCRIPTOR_ID) == descriptor[:9]
    assert extension(b"\x80" + bytes(30), MID_ID) is None, "it has no extensions"


def test_the_stage_follows_the_dominant_speaker(meetings: Any) -> None:
    _, (first, _, third) = meetings
    for client in (first, third):
        client.channel.said.clear()
        for speaker in ("aaaa", "bbbb", "nobody", None, 7):
            client._on_message(
                {"colibriClass": "DominantSpeakerEndpointChangeEvent", "dominantSpeakerEndpoint": speaker}
            )
    assert (first.channel.said, third.channel.said) == ([], [])  # bbbb is there already, and a grid has no stage


def test_layers_that_the_bridge_does_not_want_stop(meetings: Any) -> None:
    _, (first, _, _) = meetings
    (camera,) = first.cameras

    def constrained(height: object, name: object = "aaaa-v0") -> list[bool]:
        first._on_message({"colibriClass": "SenderSourceConstraints", "sourceName": name, "maxHeight": height})
        return list(camera.active)

    assert camera.active == [True, True, True]
    assert constrained(360) == [True, True, False]
    assert constrained(90) == [True, False, False]
    assert constrained(0) == [False, False, False]
    assert camera.frame(1.0) == []
    assert constrained("tall") == constrained(720, "bbbb-v0") == [False, False, False]
    assert constrained(-1) == [True, True, True]
    assert len({frame.ssrc for _, frame in camera.frame(2.0)}) == 3


def test_a_layer_that_starts_again_begins_with_a_key_frame() -> None:
    camera = Camera(messages.Camera("x-v0", 1, 30.0, [messages.Layer(9, 10, 180, 200_000.0)]))
    for number in range(5):
        camera.frame(number / 30)
    camera.constrain(0)
    camera.constrain(180)
    camera.frame(1.0)
    assert camera.layers[0].key_frames == 2


def test_a_key_frame_is_of_all_layers_and_at_most_each_300_ms() -> None:
    layers = [messages.Layer(n, n + 9, layer.height, layer.bitrate_kbps * 1000) for n, layer in enumerate(VP8_LAYERS)]
    camera = Camera(messages.Camera("x-v0", 1, 30.0, layers))
    keys = []
    for number in range(40):
        camera.request_key_frame()
        camera.frame(number / 30)
        keys.append([layer.key_frames for layer in camera.layers])
    assert all(len(set(at)) == 1 for at in keys)
    assert keys[-1][0] == 5  # at 0, 0.3, 0.6, 0.9 and 1.2 s


def test_a_frame_leaves_at_once_and_a_key_frame_is_paced_before_what_follows() -> None:
    layers = [messages.Layer(n, n + 9, layer.height, layer.bitrate_kbps * 1000) for n, layer in enumerate(VP8_LAYERS)]
    camera = Camera(messages.Camera("x-v0", 1, 30.0, layers))
    leaves = [
        (number / 30 + delay, number)
        for number in range(60)
        for delay, frame in camera.frame(number / 30)
        for _ in frame.sizes
    ]
    assert leaves == sorted(leaves), "in order"
    key = [at for at, number in leaves if number == 0]
    assert key.count(0.0) > 10, "a burst of 40 ms at 2.5 times the rate"
    assert key[-1] == pytest.approx(0.3 / 2.5 - 0.04, abs=0.01), "nine frames at 2.5 times the rate, less the burst"
    assert all(at == number / 30 for at, number in leaves if number > 10)
