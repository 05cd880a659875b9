"""What a sender sends: RTP of Opus (RFC 7587) with the audio level that JVB reads (RFC 6464).

A source of another medium has the same face: ``packet(now_ns)`` gives the next RTP packet.
"""

from __future__ import annotations

import struct
from typing import Protocol

OPUS_PAYLOAD_TYPE = 111
AUDIO_LEVEL_ID = 1
#: 48 kHz, whatever is coded (RFC 7587, 4.1).
CLOCK_RATE = 48000
#: What a payload begins with: a decoder takes it as silence, whatever follows. One frame of CELT, fullband, mono (RFC
#: 6716, 3.1), which begins with as many ones as say "silence" (4.3: the first symbol, with a probability of 1 / 32768).
SILENCE_BYTES = b"\xff\xff"
#: Milliseconds of a frame by the configuration that a packet's first byte names.
_CELT_MS = {28: 2.5, 29: 5.0, 30: 10.0, 31: 20.0}
STAMP_AT = 1 + len(SILENCE_BYTES)  #: in the payload: of 8 bytes, the wall clock's time of sending, in ns
_PACKET = struct.Struct(f"!BBHIIHHBBH{STAMP_AT}sQ")
MIN_PAYLOAD_BYTES = STAMP_AT + 8


def payload(stream_pps: float, payload_bytes: int) -> bytes:
    """Of a packet that is sent so often: silence that any Opus decoder plays, with room for the time of sending.

    Its frame lasts as long as a packet does, or is the longest that CELT has.
    """
    each_ms = 1000 / stream_pps
    config = max((one for one, ms in _CELT_MS.items() if ms <= each_ms + 0.5), default=min(_CELT_MS))
    begin = bytes((config << 3,)) + SILENCE_BYTES
    return begin + bytes(max(payload_bytes, MIN_PAYLOAD_BYTES) - len(begin))


class Source(Protocol):
    """Gives packets in order."""

    ssrc: int

    def packet(self, now_ns: int) -> bytes:
        """The next packet, with ``now_ns`` (wall clock) as its time of sending."""


class OpusSource:
    """Packets of constant size, with the time of sending in their payload."""

    __slots__ = ("_begin", "_filler", "_level", "_step", "_timestamp", "sequence", "ssrc")

    def __init__(self, ssrc: int, *, stream_pps: float, payload_bytes: int, level_dbov: int = 20) -> None:
        self.ssrc = ssrc
        self.sequence = ssrc & 0x7FFF  # below 2^15, so that SRTP's roll-over counter starts at 0 on both sides
        self._timestamp = 0
        self._step = round(CLOCK_RATE / stream_pps)
        self._level = 0x80 | level_dbov  # voice activity, and the level in -dBov
        whole = payload(stream_pps, payload_bytes)
        self._begin, self._filler = whole[:STAMP_AT], whole[MIN_PAYLOAD_BYTES:]

    def packet(self, now_ns: int) -> bytes:
        self.sequence = (self.sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + self._step) & 0xFFFFFFFF
        return (
            _PACKET.pack(
                0x90,  # version 2, with an extension
                OPUS_PAYLOAD_TYPE,
                self.sequence,
                self._timestamp,
                self.ssrc,
                0xBEDE,  # one-byte extensions (RFC 8285), one word of them
                1,
                AUDIO_LEVEL_ID << 4,
                self._level,
                0,
                self._begin,
                now_ns,
            )
            + self._filler
        )


def sent_ns(packet: bytes, stamp_in_payload: int = STAMP_AT) -> tuple[int, int, int] | None:
    """(ssrc, sequence, time of sending) of a decrypted packet; None where it is none of ours.

    A bridge may leave out or rewrite header extensions, so the payload is looked for behind whatever is there.
    """
    if len(packet) < 12:
        return None
    offset = 12 + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        if len(packet) < offset + 4:
            return None
        offset += 4 + 4 * int.from_bytes(packet[offset + 2 : offset + 4], "big")
    offset += stamp_in_payload
    if len(packet) < offset + 8:
        return None
    sequence = int.from_bytes(packet[2:4], "big")
    ssrc = int.from_bytes(packet[8:12], "big")
    return ssrc, sequence, int.from_bytes(packet[offset : offset + 8], "big")
