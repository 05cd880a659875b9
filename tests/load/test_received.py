"""Receiving in batches over real sockets, and the account that is made of it."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest

from jvbtune.load import received
from jvbtune.load.media.rtp import audio_level, header, set_abs_send_time, set_transport_sequence
from jvbtune.load.received import Receiver
from jvbtune.load.sockets import open_socket


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind(("127.0.0.1", 0))
    near = open_socket("127.0.0.1", far.getsockname(), headers=True)
    far.connect(near.getsockname())
    yield far, near
    far.close()
    near.close()


def packet(sequence: int, *, transport: int | None = None, kind: int = 100, size: int = 900) -> bytes:
    data = header(kind, True, sequence, 0, 0xF000_0001)
    set_abs_send_time(data, 1)
    if transport is not None:
        set_transport_sequence(data, transport)
    return bytes(data) + bytes(size)


def test_headers_of_media_and_everything_else_whole(pair: tuple[socket.socket, socket.socket]) -> None:
    far, near = pair
    before = time.time_ns()
    sent = [packet(1, transport=65535), packet(2), packet(32, transport=0), packet(33, transport=1, kind=111)]
    stun, rtcp = struct.pack("!HHI", 1, 0, 0x2112A442) + bytes(500), b"\x80\xcd" + bytes(700)
    for datagram in (*sent[:2], stun, *sent[2:], rtcp, b""):
        far.send(datagram)
    receiver = Receiver()
    receiver.take(near.fileno(), 7)
    other: list[tuple[int, bytes, int]] = []
    samples: list[tuple[int, bytes, int]] = []
    media = receiver.read(lambda *seen: other.append(seen), lambda *seen: samples.append(seen))
    assert [(owner, data) for owner, data, _ in other] == [(7, stun), (7, rtcp)]
    assert all(before <= arrived <= time.time_ns() for _, _, arrived in other)
    assert media.sequence.tolist() == [1, 2, 32, 33]
    assert media.transport.tolist() == [65535, -1, 0, 1]
    assert set(media.ssrc.tolist()) == {0xF000_0001}
    assert set(media.owner.tolist()) == {7}
    assert media.payload_type.tolist() == [100, 100, 100, 111]
    assert [(owner, data) for owner, data, _ in samples] == [(7, sent[2])]
    assert all(before <= arrived <= time.time_ns() for arrived in media.arrival_ns)
    assert np.all(np.diff(media.arrival_ns) >= 0)


def test_extensions_as_a_bridge_writes_them(pair: tuple[socket.socket, socket.socket]) -> None:
    """Others before it, padding between, contributing sources before; a header that is cut off; no extension."""
    far, near = pair
    plain = struct.pack("!BBHII", 0x80, 100, 1, 0, 9)
    after_level = bytearray(header(111, False, 2, 0, 9))
    level = audio_level(20, True)
    after_level[24 - len(level) : 24] = level
    after_level[16:24] = b"\x10\x94\x00\x00\x51\x12\x34\x00"
    csrc = struct.pack("!BBHII", 0x92, 100, 3, 0, 9) + bytes(8) + b"\xbe\xde\x00\x01\x51\x00\x07\x00"
    two_byte = struct.pack("!BBHII", 0x90, 100, 4, 0, 9) + b"\x10\x00\x00\x01\x05\x02\x00\x07"
    cut = struct.pack("!BBHII", 0x90, 100, 5, 0, 9) + b"\xbe"
    beyond = struct.pack("!BBHII", 0x9F, 100, 6, 0, 9) + bytes(60) + b"\xbe\xde\x00\x01\x51\x00\x07\x00"
    for datagram in (plain, bytes(after_level), csrc, two_byte, cut, beyond):
        far.send(datagram)
    receiver = Receiver()
    receiver.take(near.fileno(), 0)
    media = receiver.read(lambda *_: None, lambda *_: None)
    assert media.transport.tolist() == [-1, 0x1234, 7, 7, -1, -1]


def test_more_than_fits_waits_for_the_next_turn(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    far, near = pair
    monkeypatch.setattr(received, "ROWS", 16)
    receiver = Receiver()
    found = []
    for number in range(24):
        far.send(packet(number, size=0))
    for _ in range(2):
        receiver.take(near.fileno(), 0)
        found += receiver.read(lambda *_: None, lambda *_: None).sequence.tolist()
    assert found == list(range(24))
    receiver.take(near.fileno(), 0)
    assert len(receiver.read(lambda *_: None, lambda *_: None).owner) == 0
