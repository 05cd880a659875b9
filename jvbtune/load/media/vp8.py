"""One simulcast layer of VP8 (RFC 7741): frames of a stated rate, packets that a bridge's parser takes for real ones.

Frame sizes follow the statistical model of RFC 8593 (section 5): the size relative to the mean is Laplacian with scale
0.15. The frames' times, which that model scatters too, are exact here. A cycle has the distribution's quantiles in an
order that the seed shuffles, so that each cycle of a layer has the same bytes and the same packets, whatever the seed.
A key frame, on request only (WebRTC's encoder sends none for 100 s), is ``key_frame_ratio`` times the mean; the frames
after it are smaller until the rate is kept.
Jitsi's clients send two temporal layers with VP8 (lib-jitsi-meet, StandardVideoQualitySettings).
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from functools import cache

from jvbtune.load.media.rtp import HEADER_BYTES, MAX_PAYLOAD_BYTES, RTX, STAMP, VP8, header

CLOCK_RATE = 90_000
CYCLE_FRAMES = 300
#: RFC 8593's SCALE_B. Checked in an implementation of the model (mengelbart/syncodec), not in the RFC's own table.
SIZE_SCALE = 0.15
#: libwebrtc lets libvpx make a key frame of at most half of 600 ms of the rate, and at least three frames
#: (libvpx_vp8_encoder.cc, MaxIntraTarget): nine frames at 30 a second. How much of that a scene uses is not modelled.
KEY_FRAME_SECONDS, MIN_KEY_FRAME_RATIO = 0.3, 3.0
PAY_BACK_RATIO = 0.3  #: of a frame's size, after a key frame
DESCRIPTOR_BYTES = 6
FRAME_TAG_BYTES = 10  #: of a key frame, with its size (RFC 6386, 9.1)
#: Where the time of sending is in the RTP payload.
STAMP_IN_PAYLOAD = DESCRIPTOR_BYTES + FRAME_TAG_BYTES
MIN_FRAME_BYTES = FRAME_TAG_BYTES + STAMP.size
MAX_FRAGMENT_BYTES = MAX_PAYLOAD_BYTES - DESCRIPTOR_BYTES - 2  #: room for RTX's original sequence number
#: Packets that a NACK can ask for: a second of the highest layer and more.
HISTORY_PACKETS = 256
_FILLER = bytes(MAX_PAYLOAD_BYTES)


@cache
def cycle_sizes(mean_bytes: int) -> tuple[int, ...]:
    """The frame sizes of one cycle in ascending order; their sum is ``CYCLE_FRAMES`` times ``mean_bytes``."""
    shares = [(index + 0.5) / CYCLE_FRAMES - 0.5 for index in range(CYCLE_FRAMES)]
    sizes = [
        max(MIN_FRAME_BYTES, round(mean_bytes * (1 - SIZE_SCALE * math.copysign(math.log(1 - 2 * abs(p)), p))))
        for p in shares
    ]
    sizes[-1] += CYCLE_FRAMES * mean_bytes - sum(sizes)
    return tuple(sizes)


def mean_frame_bytes(bits_per_second: float, frames_per_second: float) -> int:
    return max(2 * MIN_FRAME_BYTES, round(bits_per_second / 8 / frames_per_second))


def key_frame_ratio(frames_per_second: float) -> float:
    """Of a key frame to a mean frame."""
    return max(MIN_KEY_FRAME_RATIO, KEY_FRAME_SECONDS * frames_per_second)


def packets_per_second(bits_per_second: float, frames_per_second: float) -> float:
    """Of one layer, key frames aside: exact over a cycle."""
    sizes = cycle_sizes(mean_frame_bytes(bits_per_second, frames_per_second))
    return sum(fragments(size) for size in sizes) / CYCLE_FRAMES * frames_per_second


def fragments(frame_bytes: int) -> int:
    return -(-frame_bytes // MAX_FRAGMENT_BYTES)


class Vp8Layer:
    """One SSRC. ``frame`` gives the packets of the next frame, without what is filled in when they leave."""

    __slots__ = (
        "_debt", "_height", "_history", "_index", "_key_frame_bytes", "_key_wanted", "_mean", "_picture",
        "_rtx_sequence", "_sizes", "_tl0", "_width", "frames", "key_frames", "octets", "packets", "rtx_ssrc",
        "sequence", "ssrc", "timestamp",
    )  # fmt: skip

    def __init__(
        self, ssrc: int, rtx_ssrc: int, *, height: int, bits_per_second: float, frames_per_second: float, seed: int
    ) -> None:
        self.ssrc, self.rtx_ssrc = ssrc, rtx_ssrc
        self.sequence = ssrc & 0x7FFF  # below 2^15, so that SRTP's roll-over counter starts at 0 on both sides
        self.timestamp = 0
        self.frames = self.key_frames = self.packets = self.octets = 0
        self._rtx_sequence = rtx_ssrc & 0x7FFF
        self._height, self._width = height, round(height * 16 / 9)
        self._mean = mean_frame_bytes(bits_per_second, frames_per_second)
        self._key_frame_bytes = round(key_frame_ratio(frames_per_second) * self._mean)
        sizes = list(cycle_sizes(self._mean))
        random.Random(seed).shuffle(sizes)
        self._sizes = sizes
        self._index = self._debt = 0
        self._picture, self._tl0 = ssrc & 0x7FFF, ssrc & 0xFF
        self._key_wanted = True
        self._history: OrderedDict[int, tuple[int, bytes]] = OrderedDict()

    def request_key_frame(self) -> None:
        """The next frame is one."""
        self._key_wanted = True

    @property
    def debt_bytes(self) -> int:
        """What was sent beyond the rate, and is being paid back."""
        return self._debt

    def frame(self, seconds: float) -> list[bytearray]:
        """The packets of the frame that was captured at ``seconds`` of the stream's clock."""
        key, self._key_wanted = self._key_wanted, False
        base = key or self._index % 2 == 0
        size = self._size(key)
        self.timestamp = round(seconds * CLOCK_RATE) & 0xFFFFFFFF
        self._index += 1
        self._picture = (self._picture + 1) & 0x7FFF
        if base:
            self._tl0 = (self._tl0 + 1) & 0xFF
        self.frames += 1
        self.key_frames += key
        count = fragments(size)
        small, larger = divmod(size, count)
        packets = []
        for number in range(count):
            self.sequence = (self.sequence + 1) & 0xFFFF
            data = header(VP8, number == count - 1, self.sequence, self.timestamp, self.ssrc)
            data += self._descriptor(base, number == 0)
            if number == 0:
                data += self._frame_tag(key)
            self._remember(bytes(data[HEADER_BYTES:]), small + (number < larger), last=number == count - 1)
            fill = HEADER_BYTES + DESCRIPTOR_BYTES + small + (number < larger) - len(data)
            data += _FILLER[:fill]
            packets.append(data)
            self.packets += 1
            self.octets += len(data) - HEADER_BYTES
        return packets

    def _size(self, key: bool) -> int:
        size = nominal = self._sizes[self._index % CYCLE_FRAMES]
        if key:
            size = max(nominal, self._key_frame_bytes)
        elif self._debt > 0:
            size = max(MIN_FRAME_BYTES, nominal - min(self._debt, int(PAY_BACK_RATIO * nominal)))
        self._debt += size - nominal
        return size

    def _descriptor(self, base: bool, start: bool) -> bytes:
        """X, N (nothing refers to it), S; I, L, T; 15 bits of picture id, TL0PICIDX, TID and Y (RFC 7741, 4.2)."""
        first = 0x80 | (0 if base else 0x20) | (0x10 if start else 0)
        tid = 0x20 if base else 0x40  # Y: a switch up is possible at each base frame
        return bytes((first, 0xE0, 0x80 | self._picture >> 8, self._picture & 0xFF, self._tl0, tid))

    def _frame_tag(self, key: bool) -> bytes:
        """RFC 6386, 9.1: shown, version 0; of a key frame the start code, width and height."""
        if not key:
            return b"\x11\x00\x00"
        return b"\x10\x00\x00\x9d\x01\x2a" + self._width.to_bytes(2, "little") + self._height.to_bytes(2, "little")

    def _remember(self, begin: bytes, fragment_bytes: int, *, last: bool) -> None:
        """What a retransmission is made of: the filler is the same for all."""
        self._history[self.sequence] = (self.timestamp, begin + (fragment_bytes | last << 15).to_bytes(2, "big"))
        if len(self._history) > HISTORY_PACKETS:
            self._history.popitem(last=False)

    def retransmission(self, sequence: int) -> bytearray | None:
        """RTX of a packet (RFC 4588, 4); None where it is too old, or was never sent. Its marker is not kept."""
        found = self._history.get(sequence)
        if found is None:
            return None
        timestamp, begin, fragment_bytes, _ = _recalled(found)
        self._rtx_sequence = (self._rtx_sequence + 1) & 0xFFFF
        data = header(RTX, False, self._rtx_sequence, timestamp, self.rtx_ssrc)
        data += sequence.to_bytes(2, "big") + begin
        data += _FILLER[: HEADER_BYTES + 2 + DESCRIPTOR_BYTES + fragment_bytes - len(data)]
        return data

    def repetition(self, sequence: int) -> bytearray | None:
        """The packet once more as it was, where no RTX was agreed on; None where it is too old, or was never sent."""
        found = self._history.get(sequence)
        if found is None:
            return None
        timestamp, begin, fragment_bytes, last = _recalled(found)
        data = header(VP8, last, sequence, timestamp, self.ssrc) + begin
        data += _FILLER[: HEADER_BYTES + DESCRIPTOR_BYTES + fragment_bytes - len(data)]
        return data


def _recalled(kept: tuple[int, bytes]) -> tuple[int, bytes, int, bool]:
    """Time stamp, the payload's beginning, the fragment's size, whether it was a frame's last packet."""
    timestamp, begin = kept
    number = int.from_bytes(begin[-2:], "big")
    return timestamp, begin[:-2], number & 0x7FFF, bool(number >> 15)
