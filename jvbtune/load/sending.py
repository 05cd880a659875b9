"""Frames of clients that are due: what is known only now is filled in, then they are protected and sent.

``Outbox`` does it in Python, ``native.CompiledOutbox`` in C, where the package was built with a compiler: the same
packets, byte by byte, and the same counts.
"""

from __future__ import annotations

import socket
from typing import Protocol

from pylibsrtp import Session

from jvbtune.load.media.codecs import KIND_OF, stamp_in_payload
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.rtp import STAMP, payload_at, set_abs_send_time, set_transport_sequence

UNNUMBERED = -1


class Port:
    """A client's socket and its keys. ``abs_send_time``: its video has it; ``numbered``: transport-wide."""

    def __init__(self, opened: socket.socket, session: Session, *, abs_send_time: bool, numbered: bool) -> None:
        self.socket, self.session, self.abs_send_time = opened, session, abs_send_time
        self.following = 0 if numbered else UNNUMBERED

    def number(self, packets: int) -> int:
        """Of the first of the next packets; ``UNNUMBERED``: they have none."""
        number = self.following
        if number != UNNUMBERED:
            self.following += packets
        return number


class Sends(Protocol):
    """What collects frames and sends them together, in order."""

    packets: int  #: that wait

    def port(self, opened: socket.socket, session: Session, *, abs_send_time: bool, numbered: bool = True) -> Port:
        """For ``add``."""

    def add(self, port: Port, frame: Frame, number: int) -> None:
        """``number``: the transport-wide sequence number of the first packet; ``UNNUMBERED``: they have none."""

    def flush(self, wall_ns: int) -> list[int]:
        """Of each frame, how many packets the kernel took: the others are lost. Raises pylibsrtp's Error."""


class Outbox:
    """In Python."""

    def __init__(self) -> None:
        self.packets = 0
        self._waiting: list[tuple[Port, Frame, int]] = []

    def port(self, opened: socket.socket, session: Session, *, abs_send_time: bool, numbered: bool = True) -> Port:
        return Port(opened, session, abs_send_time=abs_send_time, numbered=numbered)

    def add(self, port: Port, frame: Frame, number: int) -> None:
        self._waiting.append((port, frame, number))
        self.packets += len(frame.sizes)

    def flush(self, wall_ns: int) -> list[int]:
        waiting, self._waiting, self.packets = self._waiting, [], 0
        return [_send(port, frame, number, wall_ns) for port, frame, number in waiting]


def _send(port: Port, frame: Frame, number: int, wall_ns: int) -> int:
    taken = 0
    timed = port.abs_send_time and KIND_OF[frame.payload_type] != "audio"
    for at, packet in enumerate(frame.packets()):
        stamp = stamp_in_payload(packet)
        if stamp is not None:
            STAMP.pack_into(packet, payload_at(packet) + stamp, wall_ns)
        if timed:
            set_abs_send_time(packet, wall_ns)
        if number != UNNUMBERED:
            set_transport_sequence(packet, number + at)
        protected = port.session.protect(bytes(packet))
        try:
            port.socket.send(protected)
        except OSError:
            continue
        taken += 1
    return taken
