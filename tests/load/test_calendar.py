"""Streams that are made in Python and in C: the same packets at the same ticks, byte by byte, and the same account."""

from __future__ import annotations

import ctypes
import random
import socket
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache

import pytest
from pylibsrtp import Error as SrtpError
from pylibsrtp import Policy

from jvbtune.load import native
from jvbtune.load.calendar import SLOTS, Calendar
from jvbtune.load.client import Client
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.speech import Floor
from jvbtune.load.meeting import Meetings
from jvbtune.load.mix import VP8_LAYERS, VP9_LAYERS, Mix, Remote, Video
from jvbtune.load.native import calendar as bound
from jvbtune.load.native.calendar import CompiledCalendar, CompiledCamera, calendar
from jvbtune.load.participants import Behind, participants, peer, sources_behind, sources_of
from jvbtune.load.relay import RelayPeer
from jvbtune.load.sending import Outbox
from jvbtune.protocol import worker as messages
from tests.load.test_sending import received, session

pytestmark = pytest.mark.skipif(native.library() is None, reason="built without a C compiler")
NAMES = ("aaaa", "bbbb", "cccc", "dddd")
WALL_NS = 1_764_300_123_987_654_321
MEETING = Mix(4, 4, video=Video(3, VP8_LAYERS))
MIXES = {
    "vp8": MEETING,
    "without transport-cc": replace(MEETING, transport_cc=False),
    "redundant audio": replace(MEETING, red=True),
    "dtx": replace(MEETING, dtx=True),
    "redundant audio with dtx": replace(MEETING, red=True, dtx=True),
    "audio of 20 ms and much of it": Mix(4, 3, payload_bytes=900),
    "a screen": Mix(4, 2, video=Video(1, VP8_LAYERS[-1:], frames_per_second=5, desktop=True)),
    "many frames": Mix(4, 2, video=Video(1, VP8_LAYERS, frames_per_second=60)),
}
#: Their cameras are made in Python, beside microphones that are made in C: in one tick they leave in another order.
MIXED = {
    "vp9": Mix(4, 2, video=Video(2, VP9_LAYERS, codec="vp9")),
    "more frames than C keeps": Mix(4, 2, video=Video(1, VP8_LAYERS, frames_per_second=90)),
}


def compiled() -> Calendar:
    made = calendar()
    assert isinstance(made, CompiledCalendar)
    return made


@dataclass
class Held:
    """A worker's meetings, and the far ends of their sockets."""

    meetings: Meetings
    clients: list[Client]
    far: list[socket.socket]
    came: list[list[tuple[int, bytes]]]  #: of each client, by the ticks at which they left

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.meetings.calendar.run()
            tick = self.meetings.calendar.tick
            for came, far in zip(self.came, self.far, strict=True):
                came += [(tick, packet) for packet in received(far)]


@cache
def roles(mix: Mix) -> tuple[list[messages.Participant], messages.Peer | None]:
    """The same SSRCs for all that ask for a mix."""
    here, behind = sources_of(mix), Behind("other", ("eeee", "ffff"), sources_behind(mix))
    there = peer(mix, NAMES, here, behind, seed=3) if mix.remote is not None else None
    return list(participants(mix, NAMES, here, seed=3)), there


@contextmanager
def held(sends: Calendar, mix: Mix) -> Iterator[Held]:
    meetings, clients, ends = Meetings(sends), [], []
    asked, there = roles(mix)
    with ExitStack() as stack:
        for role in [*asked, *([there] if there is not None else [])]:
            near, far = (stack.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
            for end in (near, far):
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            kind = RelayPeer if isinstance(role, messages.Peer) else Client
            client = kind(role.endpoint, "127.0.0.1", ("127.0.0.1", 9))
            client.socket.close()
            client.socket, client.outbound = near, session(Policy.SSRC_ANY_OUTBOUND)
            if isinstance(role, messages.Peer):
                assert isinstance(client, RelayPeer)
                meetings.relay(client, role)
            else:
                meetings.join(client, role)
            clients.append(client)
            ends.append(far)
        yield Held(meetings, clients, ends, [[] for _ in clients])


def both(
    mix: Mix, happens: Callable[[Held], None], monkeypatch: pytest.MonkeyPatch
) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """What came, and the account, of Python and of C."""
    monkeypatch.setattr("time.time_ns", lambda: WALL_NS)
    monkeypatch.setattr("time.monotonic", lambda: 77.0)
    found = []
    for sends in (Calendar(Outbox()), compiled()):
        with held(sends, mix) as one:
            happens(one)
            kinds = one.meetings.kinds()
            streams = sorted(one.meetings.streams().sent, key=lambda stream: (stream.endpoint, stream.ssrc))
            reported = [client._reported() for client in one.clients]
            found.append((one.came, kinds, streams, reported, one.meetings.unsent, one.meetings.counts().key_frames))
            assert sum(map(len, one.came)) > 300
    return found[0], found[1]


def _steadily(one: Held) -> None:
    one.run(2500)


@pytest.mark.parametrize("mix", MIXES)
def test_both_send_the_same_at_the_same_ticks(mix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than the calendar goes round, with key frames that are paced and paid back."""
    by_python, by_c = both(MIXES[mix], _steadily, monkeypatch)
    assert by_python[0] == by_c[0]
    assert by_python[1:] == by_c[1:]


@pytest.mark.parametrize("mix", MIXED)
def test_streams_of_either_kind_go_together(mix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_python, by_c = both(MIXED[mix], _steadily, monkeypatch)
    assert _by_stream(by_python[0]) == _by_stream(by_c[0])
    assert by_python[1:] == by_c[1:]


def _by_stream(all_came: object) -> list[dict[int, list[tuple[int, bytes]]]]:
    """In the clear, without their transport-wide numbers, which go on from packet to packet."""
    assert isinstance(all_came, list)
    clients = []
    for came in all_came:
        keys, streams, numbers = session(Policy.SSRC_ANY_INBOUND), defaultdict(list), []
        for tick, packet in came:
            plain = bytearray(keys.unprotect(packet))
            numbers.append(int.from_bytes(plain[17:19], "big"))
            plain[17:19] = bytes(2)
            streams[int.from_bytes(plain[8:12], "big")].append((tick, bytes(plain)))
        assert numbers == list(range(len(numbers)))
        clients.append(dict(streams))
    return clients


def test_both_have_the_same_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which sends for all participants behind it, without abs-send-time and without numbers."""
    mix = replace(MEETING, remote=Remote(2, 2, cameras=2, stage_views=1))
    by_python, by_c = both(mix, _steadily, monkeypatch)
    assert by_python == by_c


@pytest.mark.parametrize("seed", range(6))
def test_both_obey_the_bridge_alike(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests for key frames, layers that are not wanted any more, NACKs, clients that leave."""

    def happens(one: Held) -> None:
        chance = random.Random(seed)
        for _ in range(60):
            one.run(chance.randrange(1, 120))
            here = [client for client in one.clients if client.name in one.meetings]
            client = chance.choice(here)
            for camera in client.cameras:
                layer = chance.choice(camera.layers)
                what = chance.randrange(5)
                if what == 0:
                    client._on_key_frame_request([layer.ssrc])
                elif what == 1:
                    camera.constrain(chance.choice([-1, 0, 90, 180, 360, 720]))
                elif what in (2, 3) and layer.packets:
                    _ask_again(one.meetings, client, layer.ssrc, chance)
            if len(here) > 2 and chance.random() < 0.03:
                one.meetings.leave(client.name)

    by_python, by_c = both(MEETING, happens, monkeypatch)
    assert by_python[0] == by_c[0]
    assert by_python[1:] == by_c[1:]


def _ask_again(meetings: Meetings, client: Client, ssrc: int, chance: random.Random) -> None:
    """For what it sent lately, or long ago, or never."""
    camera = client.camera_of(ssrc)
    layer = camera.layer_of(ssrc) if camera is not None else None
    assert layer is not None
    first = ssrc & 0x7FFF
    for back in (0, 3, 40, 3000, -5):
        sequence = (first + layer.packets - back - chance.randrange(3)) & 0xFFFF
        for frame in (layer.retransmission(sequence), layer.repetition(sequence)):
            _resend(meetings, client, frame)


def _resend(meetings: Meetings, client: Client, frame: Frame | None) -> None:
    if frame is not None:
        meetings.calendar.send_now(client, [frame])
        meetings.calendar.flush(WALL_NS)


def test_who_leaves_while_packets_wait_in_the_pacer_sends_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what another client gets of the memory that was its own does no harm."""

    def happens(one: Held) -> None:
        one.run(700)
        leaves = one.clients[0]
        leaves._on_key_frame_request([leaves.cameras[0].layers[0].ssrc])
        sent = len(one.came[0])
        while len(one.came[0]) < sent + 15:
            one.run(1)
        camera = leaves.cameras[0]
        assert (camera.now if isinstance(camera, CompiledCamera) else camera).pacing > 3  # type: ignore[attr-defined]
        one.meetings.leave(leaves.name)
        gone = len(one.came[0])
        again = Client("again", "127.0.0.1", ("127.0.0.1", 9))
        again.socket.close()
        again.socket, again.outbound = leaves.socket, session(Policy.SSRC_ANY_OUTBOUND)
        one.run(50)
        assert len(one.came[0]) == gone
        one.meetings.join(again, replace(roles(MEETING)[0][0], endpoint="again"))
        one.clients.append(again)
        one.run(600)
        assert len(one.came[0]) > gone + 100

    by_python, by_c = both(MEETING, happens, monkeypatch)
    assert by_python == by_c


def test_numbers_that_go_round_do_so_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of packets, pictures, transport-wide numbers and time stamps; roll-over counters of SRTP among them."""
    asked, _ = roles(MEETING)
    highest = 0x7FFF_7FFE

    def high(role: messages.Participant, number: int) -> messages.Participant:
        camera, mike = role.camera, role.microphone
        if camera is not None:
            layers = [replace(layer, ssrc=highest - (9 * number + at << 16)) for at, layer in enumerate(camera.layers)]
            camera = replace(camera, layers=layers)
        return replace(role, camera=camera, microphone=mike and replace(mike, ssrc=highest - (9 * number + 8 << 16)))

    monkeypatch.setitem(globals(), "roles", lambda _: ([high(role, at) for at, role in enumerate(asked)], None))

    def happens(one: Held) -> None:
        for client in one.clients:
            assert client.port is not None
            client.port.number(65_000)
            for stream in [*client.microphones, *(layer for camera in client.cameras for layer in camera.layers)]:
                getattr(stream, "now", stream).sequence = 65_500
        ahead = 47_720_448  # 90 kHz goes round after 47 721.9 s; whole turns, so that streams begin in their slots
        assert ahead % SLOTS == 0
        one.meetings.calendar.tick += ahead
        one.run(4000)

    by_python, by_c = both(MEETING, happens, monkeypatch)
    assert by_python == by_c


@pytest.mark.parametrize("begun", [0, 500])
def test_what_the_kernel_does_not_take_is_lost_and_counted_as_such(begun: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A far end that is gone, from the first packet on or later."""

    def happens(one: Held) -> None:
        one.run(begun)
        one.meetings.edge()
        assert one.meetings.unsent == 0
        one.far.pop(0).close()
        kept = one.came.pop(0)
        one.run(800)
        assert one.meetings.unsent > 100
        assert sum(one.clients[0].sent.values()) == len(kept)
        late = one.meetings.lateness
        assert sum(late.counts) == one.meetings.unsent + sum(one.meetings.calendar.sent.values())

    by_python, by_c = both(MEETING, happens, monkeypatch)
    assert by_python == by_c


def test_what_a_floor_raises_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(floor: Floor, seconds: float) -> int | None:
        raise RuntimeError("broken")

    for sends in (Calendar(Outbox()), compiled()):
        with held(sends, MEETING) as one, monkeypatch.context() as patch:
            patch.setattr(Floor, "speaker", breaks)
            with pytest.raises(RuntimeError, match="broken"):
                one.run(100)


def test_both_sides_mean_the_same_structures() -> None:
    loaded = native.library()
    assert loaded is not None
    sizes = (ctypes.c_int64 * 6)()
    loaded.calendar_layout(ctypes.addressof(sizes))
    here = (bound._Floor, bound._Made, bound._Layer, bound._Camera, bound._Microphone, bound._Terms)
    assert list(sizes) == [ctypes.sizeof(structure) for structure in here]


def test_what_libsrtp_refuses_is_an_error() -> None:
    """It refuses a sequence number that is far behind those that it has protected."""
    with held(compiled(), MEETING) as one:
        (camera,) = one.clients[0].cameras
        assert isinstance(camera, CompiledCamera)
        for layer in camera.compiled:
            layer.now.sequence = 30_000
        one.run(500)
        for layer in camera.compiled:
            layer.now.sequence -= 2000
        with pytest.raises(SrtpError, match="status"):
            one.run(100)


def test_a_layer_of_another_rate_is_a_python_stream() -> None:
    with held(compiled(), MIXED["more frames than C keeps"]) as one:
        assert not isinstance(one.clients[0].cameras[0], CompiledCamera)
    with held(compiled(), MIXES["many frames"]) as one:
        assert isinstance(one.clients[0].cameras[0], CompiledCamera)


def test_lateness_is_of_each_packet_against_its_tick() -> None:
    with held(compiled(), MEETING) as one:
        one.meetings.calendar.start()
        one.meetings.calendar.next_tick -= 0.030
        one.meetings.edge()
        one.run(25)
        late = one.meetings.lateness
        at_least = [count for edge, count in zip(messages.LATENESS_EDGES_US, late.counts, strict=False) if edge < 4_000]
        assert sum(late.counts) == sum(one.meetings.calendar.sent.values()) > 20
        assert sum(at_least) == 0, "each tick began 30 ms after its time, less those that were run"
        assert late.latest_us >= 29_000
