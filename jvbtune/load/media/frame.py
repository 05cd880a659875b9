"""Packets of one stream that are made at once: of each only what differs from the others is there until it is sent.

A packet is RTP's fixed header, its front (the header extensions and the beginning of the payload), zeros, and its end.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

FIXED_BYTES = 12
_FIXED = struct.Struct("!BBHII")
_EXTENDED = 0x90  #: RTP's version 2, with header extensions


class Frame(NamedTuple):
    """``marker``: whether the last packet has one; ``fronts``, ``ends`` and, in all, ``sizes``: of each packet."""

    payload_type: int
    marker: bool
    sequence: int  #: of the first packet; the others follow
    timestamp: int
    ssrc: int
    fronts: list[bytes]
    ends: list[bytes]
    sizes: Sequence[int]

    def packets(self) -> list[bytearray]:
        """As they are on the wire before SRTP, without what is filled in when they leave."""
        written = []
        for at, (front, end, size) in enumerate(zip(self.fronts, self.ends, self.sizes, strict=True)):
            packet = bytearray(size)
            marker = self.marker and at == len(self.sizes) - 1
            kind, sequence = self.payload_type | marker << 7, self.sequence + at & 0xFFFF
            _FIXED.pack_into(packet, 0, _EXTENDED, kind, sequence, self.timestamp, self.ssrc)
            packet[FIXED_BYTES : FIXED_BYTES + len(front)] = front
            packet[size - len(end) :] = end
            written.append(packet)
        return written

    def part(self, begin: int, end: int) -> Frame:
        """Some of its packets."""
        marker = self.marker and end == len(self.sizes)
        sequence = self.sequence + begin & 0xFFFF
        return self._replace(
            marker=marker,
            sequence=sequence,
            fronts=self.fronts[begin:end],
            ends=self.ends[begin:end],
            sizes=self.sizes[begin:end],
        )
