"""RTP packets of a meeting's client: one layout of header for audio and video, filled in when the packet leaves.

    0  RTP header (RFC 3550)                      12  0xBEDE, 2 words (RFC 8285, one-byte extensions)
    16 0x51, transport-wide sequence number       19  video: 0x32, abs-send-time; audio: 0x10, audio level; padding
    24 payload

The ids of the extensions are those that Jicofo offers (its reference.conf, ``codec.rtp-extensions``): audio level 1,
abs-send-time 3, transport-cc 5. It also offers mid (10) and AV1's dependency descriptor (11), which are not sent here;
rid and the others are off there by default.
"""

from __future__ import annotations

import struct

AUDIO_LEVEL_ID, ABS_SEND_TIME_ID, TRANSPORT_CC_ID = 1, 3, 5
OPUS, VP8, RTX = 111, 100, 96  #: payload types, as Jicofo offers them
HEADER_BYTES = 24
TRANSPORT_CC_AT, ABS_SEND_TIME_AT, LEVEL_AT = 17, 20, 20
#: An RTP packet of WebRTC has at most 1200 bytes, its header included.
MAX_PAYLOAD_BYTES = 1200 - HEADER_BYTES
STAMP = struct.Struct("!Q")
_HEADER = struct.Struct("!BBHIIHH")
_SEQUENCE = struct.Struct("!H")


def header(payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int) -> bytearray:
    """The first 24 bytes, without anything in the extensions."""
    data = bytearray(HEADER_BYTES)
    _HEADER.pack_into(
        data, 0, 0x90, payload_type | (0x80 if marker else 0), sequence, timestamp & 0xFFFFFFFF, ssrc, 0xBEDE, 2
    )
    return data


def set_audio_level(packet: bytearray, level_dbov: int, voice: bool) -> None:
    """RFC 6464; ``level_dbov``: 0 (loudest) to 127 (silence)."""
    packet[LEVEL_AT - 1] = AUDIO_LEVEL_ID << 4
    packet[LEVEL_AT] = level_dbov | (0x80 if voice else 0)


def set_abs_send_time(packet: bytearray, now_ns: int) -> None:
    """24 bits, in 1/2^18 s (webrtc.org's abs-send-time)."""
    packet[ABS_SEND_TIME_AT - 1] = ABS_SEND_TIME_ID << 4 | 2
    packet[ABS_SEND_TIME_AT : ABS_SEND_TIME_AT + 3] = ((now_ns << 18) // 1_000_000_000 & 0xFFFFFF).to_bytes(3, "big")


def set_transport_sequence(packet: bytearray, sequence: int) -> None:
    """draft-holmer-rmcat-transport-wide-cc-extensions-01, section 2."""
    packet[TRANSPORT_CC_AT - 1] = TRANSPORT_CC_ID << 4 | 1
    _SEQUENCE.pack_into(packet, TRANSPORT_CC_AT, sequence & 0xFFFF)
