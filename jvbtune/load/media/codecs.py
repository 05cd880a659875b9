"""The codecs of video that clients send, by the names that mixes have; and what each payload type is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jvbtune.load.media import av1, opus, red, vp8, vp9
from jvbtune.load.media.rtp import (
    AV1,
    AV1_RTX,
    OPUS,
    RED,
    RTX,
    STAMP,
    STAMP_MARK,
    VP8,
    VP9,
    VP9_RTX,
    payload_at,
)


@dataclass(frozen=True)
class Codec:
    """``svc``: all layers under one SSRC. ``behind_stamp``: bytes of a packet. ``packets_per_second``: of one layer, by
    its bits a second, frames a second and height."""

    name: str  #: as it is signalled
    payload_type: int
    rtx_type: int
    svc: bool
    behind_stamp: int
    packets_per_second: Callable[[float, float, int], float]


CODECS = {
    "vp8": Codec("VP8", VP8, RTX, False, vp8.BEHIND_STAMP, vp8.packets_per_second),
    "vp9": Codec("VP9", VP9, VP9_RTX, True, vp9.BEHIND_STAMP, vp9.packets_per_second),
    "av1": Codec("AV1", AV1, AV1_RTX, True, av1.BEHIND_STAMP, av1.packets_per_second),
}
#: Payload type -> kind of stream.
KIND_OF = {OPUS: "audio", RED: "audio"}
KIND_OF |= {codec.payload_type: "video" for codec in CODECS.values()}
KIND_OF |= {codec.rtx_type: "rtx" for codec in CODECS.values()}
BEHIND_STAMP = {codec.payload_type: codec.behind_stamp for codec in CODECS.values()}


def stamp_in_payload(packet: bytes | bytearray) -> int | None:
    """Where the time of sending is in the payload of a packet in the clear; None where it has none."""
    payload_type = packet[1] & 0x7F
    if payload_type == RED:
        return red.primary_at(packet, payload_at(packet)) + opus.STAMP_AT
    if payload_type == OPUS:
        return opus.STAMP_AT
    behind = BEHIND_STAMP.get(payload_type)
    if behind is None:
        return None
    begin, at = payload_at(packet), len(packet) - behind - STAMP.size
    mark = at - len(STAMP_MARK)
    return at - begin if mark >= begin and packet[mark:at] == STAMP_MARK else None
