"""Redundant audio (RFC 2198): a packet has the one before it too, as libwebrtc sends it (audio_encoder_copy_red.cc).

libwebrtc adds one packet of redundancy, kRedNumberOfRedundantEncodings, and none where there is none yet, or where it
is too old for the header's time offset. The redundant block has no time of sending, so that what a bridge restores from
it is not taken for a packet that was long on its way.
"""

from __future__ import annotations

from jvbtune.load.media.rtp import OPUS

HEADER_BYTES, LAST_HEADER_BYTES = 4, 1
OVERHEAD_BYTES = HEADER_BYTES + LAST_HEADER_BYTES
_MOST_TICKS, _MOST_BYTES = (1 << 14) - 1, (1 << 10) - 1
_PRIMARY = bytes((OPUS,))


def headers(before: int | None, timestamp: int, block: bytes) -> bytes:
    """What is before the primary block: ``before`` is the time stamp of the last packet, with the same ``block``."""
    ticks = (timestamp - before) & 0xFFFFFFFF if before is not None else _MOST_TICKS + 1
    if ticks > _MOST_TICKS or len(block) > _MOST_BYTES:
        return _PRIMARY
    first = (1 << 7 | OPUS) << 24 | ticks << 10 | len(block)
    return first.to_bytes(4, "big") + _PRIMARY + block


def primary_at(packet: bytes | bytearray, payload: int) -> int:
    """Where the primary block begins in the payload, which begins at ``payload``."""
    at, blocks = payload, 0
    while at + HEADER_BYTES <= len(packet) and packet[at] & 0x80:
        blocks += int.from_bytes(packet[at + 2 : at + 4], "big") & _MOST_BYTES
        at += HEADER_BYTES
    return at + LAST_HEADER_BYTES + blocks - payload
