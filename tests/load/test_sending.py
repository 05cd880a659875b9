"""Sending in Python and in C: the same packets on the wire, byte by byte, and the same counts."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import Error as SrtpError
from pylibsrtp import Policy, Session

from jvbtune.load import native
from jvbtune.load.media.av1 import Av1Stream
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.rtp import PLAIN, VP8
from jvbtune.load.media.speech import Floor, Speech
from jvbtune.load.media.vp8 import Vp8Layer
from jvbtune.load.media.vp9 import Vp9Stream
from jvbtune.load.sending import UNNUMBERED, Outbox, Port, Sends
from tests.load.test_svc import read_both

needs_compiled = pytest.mark.skipif(native.library() is None, reason="built without a C compiler")
KEY = bytes(range(28))
WALL_NS = 1_764_300_123_987_654_321


def media() -> list[list[Frame]]:
    """Of several clients: every codec, key pictures, retransmissions, audio and redundant audio."""
    heights, rates = [180, 360, 720], [150e3, 600e3, 2.5e6]
    layer = Vp8Layer(70_000, 80_000, height=720, bits_per_second=2.5e6, frames_per_second=30, seed=1)
    scalable = [
        kind(5 + at, 15 + at, heights=heights, bits_per_second=rates, frames_per_second=30, seed=2)
        for at, kind in enumerate((Vp9Stream, Av1Stream))
    ]
    floor = Floor(1, 2)
    speech = [
        Speech(90 + at, number=at, floor=floor, stream_pps=50, payload_bytes=80, redundant=bool(at)) for at in (0, 1)
    ]
    clients: list[list[Frame]] = [[], [], []]
    for number in range(12):
        for client, stream in zip(clients, (layer, *scalable), strict=True):
            client += stream.picture(number / 30)
            if number % 4 == 3:
                for again in (stream.retransmission(stream.sequence - 2), stream.repetition(stream.sequence - 5)):
                    assert again is not None
                    client.append(again)
        for client, mike in zip(clients[:2], speech, strict=True):
            frame = mike.frame(number / 50)
            assert frame is not None
            client.append(frame)
    return clients


def session(kind: int) -> Session:
    policy = Policy(key=KEY, ssrc_type=kind, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM)
    policy.allow_repeat_tx, policy.window_size = True, 1024
    return Session(policy)


@contextmanager
def ports(outbox: Sends, many: int, *, abs_send_time: bool = True) -> Iterator[list[tuple[Port, socket.socket]]]:
    """Each with the far end of its socket."""
    with ExitStack() as stack:
        made = []
        for _ in range(many):
            near, far = (stack.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
            for end in (near, far):
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            made.append((outbox.port(near, session(Policy.SSRC_ANY_OUTBOUND), abs_send_time=abs_send_time), far))
        yield made


def received(far: socket.socket) -> list[bytes]:
    got = []
    while True:
        try:
            got.append(far.recv(2048))
        except BlockingIOError:
            return got


def sent(
    outbox: Sends, *, abs_send_time: bool = True, numbered: bool = True
) -> tuple[list[list[int]], list[list[bytes]]]:
    """In rounds of some frames of each client; what was taken, and what came at each far end."""
    clients = media()
    numbers = [65_500] * len(clients)
    taken, came = [], [[] for _ in clients]  # type: list[list[int]], list[list[bytes]]
    with ports(outbox, len(clients), abs_send_time=abs_send_time) as made:
        for begin in range(0, max(map(len, clients)), 3):
            for at, frames in enumerate(clients):
                for frame in frames[begin : begin + 3]:
                    outbox.add(made[at][0], frame, numbers[at] if numbered else UNNUMBERED)
                    numbers[at] += len(frame.sizes)
            taken.append(outbox.flush(WALL_NS + begin * 7_654_321))
            assert outbox.packets == 0
            for at, (_, far) in enumerate(made):
                came[at] += received(far)
    return taken, came


@needs_compiled
@pytest.mark.parametrize("abs_send_time", [True, False])
@pytest.mark.parametrize("numbered", [True, False])
def test_both_ways_send_the_same_packets(abs_send_time: bool, numbered: bool) -> None:
    compiled = native.outbox()
    assert isinstance(compiled, native.CompiledOutbox)
    by_c = sent(compiled, abs_send_time=abs_send_time, numbered=numbered)
    by_python = sent(Outbox(), abs_send_time=abs_send_time, numbered=numbered)
    assert by_c == by_python
    assert sum(map(len, by_c[1])) == sum(len(frame.sizes) for client in media() for frame in client) > 400


@pytest.fixture(params=["python", "compiled"])
def outbox(request: pytest.FixtureRequest) -> Sends:
    if request.param == "python":
        return Outbox()
    if native.library() is None:
        pytest.skip("built without a C compiler")
    return native.outbox()


def test_packets_have_what_was_filled_in(outbox: Sends) -> None:
    """Read by the tests' own reader: the number goes on from packet to packet, also over the 16 bits."""
    _, came = sent(outbox)
    for packets in came:
        keys = session(Policy.SSRC_ANY_INBOUND)
        plain, repeated = [], 0
        for packet in packets:
            try:
                plain.append(keys.unprotect(packet))
            except SrtpError:
                repeated += 1  # a repetition: of its packet it has all but the number and the time
        assert repeated == 3
        numbers = [int.from_bytes(read_both(packet).extensions[5], "big") for packet in plain]
        steps = [(after - before) & 0xFFFF for before, after in pairwise(numbers)]
        assert numbers[0] == 65_500
        assert set(steps) == {1, 2}, "two where a repetition was in between"
        assert steps.count(2) <= 3


FRONTS = st.lists(st.tuples(st.binary(max_size=60), st.integers(8, 1100)), min_size=1, max_size=70)


@needs_compiled
@settings(max_examples=60, deadline=None)
@given(packets=FRONTS, sequence=st.integers(0, 65535), timestamp=st.integers(0, 2**32 - 1), kind=st.integers(0, 127))
def test_any_frame(packets: list[tuple[bytes, int]], sequence: int, timestamp: int, kind: int) -> None:
    """More than one system call takes, too; of the types only those that are sent."""
    kind = (VP8, 96, 111, 41)[kind % 4]
    frame = Frame(
        kind, kind == VP8, sequence, timestamp, 7, [PLAIN + begin for begin, _ in packets],
        [begin[:7] for begin, _ in packets],
        [24 + len(begin) + 24 + more for begin, more in packets],
    )  # fmt: skip
    found = []
    for each in (Outbox(), native.outbox()):
        with ports(each, 1) as ((port, far),):
            each.add(port, frame, 3)
            found.append((each.flush(WALL_NS), received(far)))
    assert found[0] == found[1]
    assert found[0][0] == [len(found[0][1])]


def test_what_the_kernel_does_not_take_is_counted_and_what_follows_is_sent(outbox: Sends) -> None:
    """A socket that is connected to a port where nobody is: the kernel reports it once, at a later packet."""
    layer = Vp8Layer(3, 4, height=720, bits_per_second=2.5e6, frames_per_second=30, seed=1)
    frames = [layer.picture(number / 30)[0] for number in range(4)]
    with ports(outbox, 1) as ((port, far),):
        for frame in frames[:2]:
            outbox.add(port, frame, 0)
        assert outbox.flush(WALL_NS) == [len(frame.sizes) for frame in frames[:2]]
        came = received(far)
        far.close()
        outbox.add(port, frames[2], 0)
        assert outbox.flush(WALL_NS) == [0]
        assert len(came) == sum(len(frame.sizes) for frame in frames[:2])


def test_a_full_send_buffer_loses_packets_and_counts_them(outbox: Sends) -> None:
    layer = Vp8Layer(3, 4, height=720, bits_per_second=2.5e6, frames_per_second=30, seed=1)
    with ports(outbox, 1) as ((port, far),):
        wanted = taken = 0
        for number in range(1500):
            frame = layer.picture(number / 30)[0]
            wanted += len(frame.sizes)
            outbox.add(port, frame, UNNUMBERED)
            (some,) = outbox.flush(WALL_NS)
            taken += some
        assert 0 < taken < wanted
        assert len(received(far)) == taken


def test_what_libsrtp_refuses_is_an_error(outbox: Sends) -> None:
    layer = Vp8Layer(5000, 4, height=180, bits_per_second=2e5, frames_per_second=30, seed=1)
    frame = layer.picture(0.0)[0]
    old = frame._replace(sequence=frame.sequence - 2000)
    with ports(outbox, 1) as ((port, _),):
        outbox.add(port, frame, UNNUMBERED)
        outbox.flush(WALL_NS)
        outbox.add(port, old, UNNUMBERED)
        with pytest.raises(SrtpError):
            outbox.flush(WALL_NS)


@pytest.mark.parametrize("size", [1500, 2000])
def test_a_packet_of_an_impossible_size_is_an_error(outbox: Sends, size: int) -> None:
    with ports(outbox, 1) as ((port, far),):
        outbox.add(port, Frame(VP8, True, 1, 2, 3, [PLAIN], [b""], [size]), UNNUMBERED)
        with pytest.raises((ValueError, Exception), match=r"bytes|long|requires"):
            outbox.flush(WALL_NS)
        assert received(far) == []


def test_a_part_of_a_frame_is_those_packets() -> None:
    rest = random.Random(5)
    layer = Vp8Layer(65_530, 4, height=720, bits_per_second=2.5e6, frames_per_second=30, seed=1)
    for number in range(20):
        frame = layer.picture(number / 30)[0]
        cut = rest.randint(0, len(frame.sizes))
        packets = frame.part(0, cut).packets() + frame.part(cut, len(frame.sizes)).packets()
        assert packets == frame.packets()


PROGRAM = "from jvbtune.load import native; print(type(native.outbox()).__name__, native.__file__)"


def outbox_of(package: Path, **environment: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONSAFEPATH": "1", **environment}
    argv = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True, cwd="/", timeout=60).stdout.split()
    assert done[1].startswith(str(package))
    return done[0]


@needs_compiled
def test_python_sends_without_the_library_and_where_it_is_switched_off(tmp_path: Path) -> None:
    package = tmp_path / "jvbtune"
    here = Path(native.__file__).parents[2]
    shutil.copytree(here, package, ignore=shutil.ignore_patterns("lab", "__pycache__"))
    assert outbox_of(package) == "CompiledOutbox"
    assert outbox_of(package, JVBTUNE_NATIVE="0") == "Outbox"
    with (package / "load/native/send.c").open("a") as source:
        source.write("/* another version */\n")
    assert outbox_of(package) == "Outbox"
