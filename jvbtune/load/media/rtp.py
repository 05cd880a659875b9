"""RTP packets of a meeting's client: one layout of header for audio and video, filled in when the packet leaves.

    0  RTP header (RFC 3550)                      12  0xBEDE, 2 words (RFC 8285, one-byte extensions)
    16 0x51, transport-wide sequence number       19  video: 0x32, abs-send-time; audio: 0x10, audio level; padding
    24 payload; of AV1 first the dependency descriptor

A descriptor of more than 16 bytes needs two-byte extensions: 0x1000, and each with a byte for its id and one for its
length. The ids of the extensions are those that Jicofo offers (its reference.conf, ``codec.rtp-extensions``): audio
level 1, abs-send-time 3, transport-cc 5, mid 10, AV1's dependency descriptor 11. mid is read here and not sent:
Chromium sends it until the first receiver report. rid and the others are off there by default.
"""

from __future__ import annotations

import struct

AUDIO_LEVEL_ID, ABS_SEND_TIME_ID, TRANSPORT_CC_ID, MID_ID, DESCRIPTOR_ID = 1, 3, 5, 10, 11
#: Payload types, as Jicofo offers them; ``RTX`` is of VP8.
OPUS, RED, VP8, VP9, AV1 = 111, 112, 100, 101, 41
RTX, VP9_RTX, AV1_RTX = 96, 97, 42
HEADER_BYTES = 24
#: Profiles of header extensions (RFC 8285, 4.2 and 4.3), and the most that one of the first holds.
ONE_BYTE, TWO_BYTES = 0xBEDE, 0x1000
ONE_BYTE_MOST = 16
PROFILE_AT, EXTENSIONS_AT = 12, 16
TRANSPORT_CC_AT, ABS_SEND_TIME_AT, LEVEL_AT = 17, 20, 20
#: An RTP packet of WebRTC has at most 1200 bytes, its header included.
MAX_PAYLOAD_BYTES = 1200 - HEADER_BYTES
STAMP = struct.Struct("!Q")
#: In a packet of video that has room for the time of sending, this is before it.
STAMP_MARK = b"jvbt"
_HEADER = struct.Struct("!BBHII")
_EXTENSIONS = struct.Struct("!HH")
_SEQUENCE = struct.Struct("!H")
#: Of most packets what follows the fixed header.
PLAIN = _EXTENSIONS.pack(ONE_BYTE, 2) + bytes(HEADER_BYTES - EXTENSIONS_AT)


def extensions(descriptor: bytes = b"") -> bytes:
    """What follows the fixed header: extensions that are empty yet, but for AV1's ``descriptor``."""
    if not descriptor:
        return PLAIN
    one_byte = len(descriptor) <= ONE_BYTE_MOST
    begin = bytes((DESCRIPTOR_ID << 4 | len(descriptor) - 1,) if one_byte else (0, DESCRIPTOR_ID, len(descriptor)))
    data = bytes(HEADER_BYTES - EXTENSIONS_AT) + begin + descriptor
    data += bytes(-len(data) % 4)
    return _EXTENSIONS.pack(ONE_BYTE if one_byte else TWO_BYTES, len(data) // 4) + data


def header(
    payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int, descriptor: bytes = b""
) -> bytearray:
    """The first 24 bytes, without anything in the extensions; with AV1's ``descriptor``, it follows in the header."""
    kind = payload_type | (0x80 if marker else 0)
    return bytearray(_HEADER.pack(0x90, kind, sequence, timestamp & 0xFFFFFFFF, ssrc) + extensions(descriptor))


def audio_level(level_dbov: int, voice: bool) -> bytes:
    """RFC 6464, as the end of the extensions of a packet of audio; ``level_dbov``: 0 (loudest) to 127 (silence)."""
    level = bytes((AUDIO_LEVEL_ID << 4, level_dbov | (0x80 if voice else 0)))
    return level + bytes(HEADER_BYTES - LEVEL_AT - 1)


def set_abs_send_time(packet: bytearray, now_ns: int) -> None:
    """24 bits, in 1/2^18 s (webrtc.org's abs-send-time)."""
    time = ((now_ns << 18) // 1_000_000_000 & 0xFFFFFF).to_bytes(3, "big")
    if packet[PROFILE_AT] == ONE_BYTE >> 8:
        packet[ABS_SEND_TIME_AT - 1] = ABS_SEND_TIME_ID << 4 | 2
        packet[ABS_SEND_TIME_AT : ABS_SEND_TIME_AT + 3] = time
    else:
        packet[ABS_SEND_TIME_AT : ABS_SEND_TIME_AT + 5] = bytes((ABS_SEND_TIME_ID, 3)) + time


def set_transport_sequence(packet: bytearray, sequence: int) -> None:
    """draft-holmer-rmcat-transport-wide-cc-extensions-01, section 2."""
    if packet[PROFILE_AT] == ONE_BYTE >> 8:
        packet[TRANSPORT_CC_AT - 1] = TRANSPORT_CC_ID << 4 | 1
        _SEQUENCE.pack_into(packet, TRANSPORT_CC_AT, sequence & 0xFFFF)
    else:
        packet[TRANSPORT_CC_AT - 1 : TRANSPORT_CC_AT + 1] = bytes((TRANSPORT_CC_ID, 2))
        _SEQUENCE.pack_into(packet, TRANSPORT_CC_AT + 1, sequence & 0xFFFF)


def payload_at(packet: bytes | bytearray) -> int:
    """Where the payload begins."""
    at = 12 + 4 * (packet[0] & 0x0F)
    return at + 4 + 4 * int.from_bytes(packet[at + 2 : at + 4], "big") if packet[0] & 0x10 else at


def extension(packet: bytes | bytearray, wanted: int) -> bytes | None:
    """A header extension's data by its id (RFC 8285, 4.2 and 4.3); None where the packet has none of that id."""
    if not packet[0] & 0x10:
        return None
    at = 12 + 4 * (packet[0] & 0x0F)
    profile, end = int.from_bytes(packet[at : at + 2], "big"), min(payload_at(packet), len(packet))
    at += 4
    two = profile & 0xFFF0 == TWO_BYTES
    if profile != ONE_BYTE and not two:
        return None
    while at + two < end:
        if not packet[at]:  # padding
            at += 1
            continue
        found = packet[at] if two else packet[at] >> 4
        length = packet[at + 1] if two else (packet[at] & 0x0F) + 1
        at += 1 + two
        if found == wanted:
            return bytes(packet[at : at + length])
        at += length
    return None
