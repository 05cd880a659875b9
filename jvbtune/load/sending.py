"""Packets of one client that are due together: what is known only now is filled in, then they are protected and sent.

``Sending`` does it in Python, ``native.CompiledSending`` in C, where the package was built with a compiler: the same
packets, byte by byte, and the same counts.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Protocol

from pylibsrtp import Session

from jvbtune.load.media.codecs import KIND_OF, stamp_in_payload
from jvbtune.load.media.rtp import STAMP, payload_at, set_abs_send_time, set_transport_sequence

#: What the kernel took of packets of one stream that follow each other: SSRC, payload type, how many.
Run = tuple[int, int, int]


class Sends(Protocol):
    """``number``: the transport-wide sequence number of the first packet; None: they have none. Raises pylibsrtp's
    Error; what the kernel does not take is left out of what was taken, and is not sent again."""

    def send(self, packets: Sequence[bytearray], wall_ns: int, number: int | None) -> list[Run]: ...


class Sending:
    """A client's socket and its keys. ``abs_send_time``: video has it."""

    def __init__(self, opened: socket.socket, session: Session, *, abs_send_time: bool) -> None:
        self._socket, self._session, self._abs_send_time = opened, session, abs_send_time

    def send(self, packets: Sequence[bytearray], wall_ns: int, number: int | None) -> list[Run]:
        runs: list[Run] = []
        for at, packet in enumerate(packets):
            kind = packet[1] & 0x7F
            stamp = stamp_in_payload(packet)
            if stamp is not None:
                STAMP.pack_into(packet, payload_at(packet) + stamp, wall_ns)
            if self._abs_send_time and KIND_OF[kind] != "audio":
                set_abs_send_time(packet, wall_ns)
            if number is not None:
                set_transport_sequence(packet, number + at)
            protected = self._session.protect(bytes(packet))
            try:
                self._socket.send(protected)
            except OSError:
                continue
            ssrc, taken = int.from_bytes(packet[8:12], "big"), 1
            if runs and runs[-1][:2] == (ssrc, kind):
                taken += runs.pop()[2]
            runs.append((ssrc, kind, taken))
        return runs
