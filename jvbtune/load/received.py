"""Receiving in batches: recvmmsg(2) into one buffer, the RTP headers of all sockets' packets read by numpy at once.

What is cut off by the sockets' filter (``sockets.HEADERS_BYTES``) is enough: SRTP leaves headers and extensions clear.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jvbtune.load.media.rtp import PROFILE_AT, TRANSPORT_CC_ID, TWO_BYTES, extension
from jvbtune.load.sockets import HEADERS_BYTES, SAMPLE_EVERY, SO_TIMESTAMPNS

ROWS = 1024
ROW_BYTES = 1536
CONTROL_BYTES = 64
_MESSAGE_WORDS = 8  #: struct mmsghdr on 64 bit: 56 bytes of msghdr, msg_len, padding
_CONTROL_LENGTH, _LENGTH = 5, 7
MAX_EXTENSIONS = 6
MSG_DONTWAIT = 0x40

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Media:
    """Packets of media in the order of arrival, socket by socket. ``transport``: -1 where there is no such number."""

    owner: Ints  #: which of the sockets
    ssrc: Ints
    sequence: Ints
    payload_type: Ints
    transport: Ints
    arrival_ns: Ints


class Receiver:
    """Reads many sockets; one for a worker, its buffer is reused."""

    _library = ctypes.CDLL(None, use_errno=True)

    def __init__(self) -> None:
        self._data: Bytes = np.zeros((ROWS, ROW_BYTES), np.uint8)
        self._control: Bytes = np.zeros((ROWS, CONTROL_BYTES), np.uint8)
        self._vectors = np.zeros((ROWS, 2), np.uint64)
        self._messages = np.zeros((ROWS, _MESSAGE_WORDS), np.uint64)
        rows = np.arange(ROWS, dtype=np.uint64)
        self._vectors[:, 0] = self._data.ctypes.data + rows * ROW_BYTES
        self._vectors[:, 1] = ROW_BYTES
        self._messages[:, 2] = self._vectors.ctypes.data + rows * 16
        self._messages[:, 3] = 1
        self._messages[:, 4] = self._control.ctypes.data + rows * CONTROL_BYTES
        self._messages[:, _CONTROL_LENGTH] = CONTROL_BYTES
        self._address = self._messages.ctypes.data
        self._rows = 0
        self._owners: Ints = np.zeros(ROWS, np.int64)

    @property
    def full(self) -> bool:
        return self._rows == ROWS

    def take(self, descriptor: int, owner: int) -> bool:
        """What a socket has, as far as there is room; an ICMP error counts as nothing. Whether there was anything."""
        first = self._rows
        while self._rows < ROWS:
            at = self._rows
            got = self._library.recvmmsg(
                descriptor, ctypes.c_void_p(self._address + at * 8 * _MESSAGE_WORDS), ROWS - at, MSG_DONTWAIT, None
            )
            if got <= 0:
                break
            self._rows += got
            if got < ROWS - at:
                break
        if self._rows == first:
            return False
        self._owners[first : self._rows] = owner
        return True

    def read(self, other: Callable[[int, bytes, int], None], sample: Callable[[int, bytes, int], None]) -> Media:
        """All that was taken. ``other(owner, datagram, arrival_ns)``: STUN, DTLS and RTCP; ``sample(owner, packet,
        arrival_ns)``: the media packets that came whole."""
        count, self._rows = self._rows, 0
        self._messages[:count, _CONTROL_LENGTH] = CONTROL_BYTES  # the kernel has written how much of it is used
        data, owners = self._data[:count], self._owners[:count].copy()
        lengths = (self._messages[:count, _LENGTH] & 0xFFFFFFFF).astype(np.int64)
        kinds = data[:, 1] & 0x7F
        media = (data[:, 0] >= 128) & ((kinds < 64) | (kinds >= 96)) & (lengths >= 12)
        others = np.flatnonzero(~media & (lengths > 0))
        for row, at in zip(others, self._arrivals(others), strict=True):
            other(int(owners[row]), data[row, : lengths[row]].tobytes(), int(at))
        chosen = np.flatnonzero(media)
        head = data[chosen, :HEADERS_BYTES]
        known = lengths[chosen]
        head[np.arange(HEADERS_BYTES) >= known[:, None]] = 0
        arrived = self._arrivals(chosen)
        sampled = (known > HEADERS_BYTES) & (head[:, 3] & (SAMPLE_EVERY - 1) == 0)
        for row in np.flatnonzero(sampled):
            at = chosen[row]
            sample(int(owners[at]), data[at, : known[row]].tobytes(), int(arrived[row]))
        wide = head.astype(np.int64)
        transport = _transport_numbers(wide)
        for row in np.flatnonzero((wide[:, PROFILE_AT] << 8 | wide[:, PROFILE_AT + 1]) == TWO_BYTES):
            transport[row] = _of_two_bytes(data[chosen[row], : known[row]].tobytes())
        return Media(
            owner=owners[chosen],
            ssrc=wide[:, 8] << 24 | wide[:, 9] << 16 | wide[:, 10] << 8 | wide[:, 11],
            sequence=wide[:, 2] << 8 | wide[:, 3],
            payload_type=wide[:, 1] & 0x7F,
            transport=transport,
            arrival_ns=arrived,
        )

    def _arrivals(self, rows: npt.NDArray[Any]) -> Ints:
        """SCM_TIMESTAMPNS: when the kernel took each off the interface; 0 where it does not say."""
        control = self._control.view(np.int64)[rows]
        kind = control[:, 1] >> 32
        return np.where(kind == SO_TIMESTAMPNS, control[:, 2] * 1_000_000_000 + control[:, 3], 0)


def _of_two_bytes(packet: bytes) -> int:
    """Of two-byte header extensions (RFC 8285, 4.3) the transport-wide sequence number; -1: there is none."""
    found = extension(packet, TRANSPORT_CC_ID)
    return -1 if found is None else int.from_bytes(found[:2], "big")


def _transport_numbers(head: Ints) -> Ints:
    """Of one-byte header extensions (RFC 8285, 4.2) the transport-wide sequence number; -1: there is none."""
    rows = np.arange(len(head))
    found = np.full(len(head), -1, np.int64)
    at = 12 + 4 * (head[:, 0] & 0x0F)
    has = (head[:, 0] & 0x10 != 0) & (at + 4 <= HEADERS_BYTES)
    at = np.minimum(at, HEADERS_BYTES - 4)
    has &= (head[rows, at] == 0xBE) & (head[rows, at + 1] == 0xDE)
    end = np.minimum(at + 4 + 4 * (head[rows, at + 2] << 8 | head[rows, at + 3]), HEADERS_BYTES)
    at = at + 4
    for _ in range(4 * MAX_EXTENSIONS):
        inside = has & (at + 2 < end)
        if not inside.any():
            break
        where = np.minimum(at, HEADERS_BYTES - 3)
        first = head[rows, where]
        hit = inside & (first >> 4 == TRANSPORT_CC_ID) & (first & 0x0F == 1)
        found = np.where(hit, head[rows, where + 1] << 8 | head[rows, where + 2], found)
        has &= ~hit
        at = np.where(first == 0, at + 1, at + 2 + (first & 0x0F))
    return found
