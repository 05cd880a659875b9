"""What the codecs of video share: frame sizes that keep a rate exactly, and one RTP stream with its retransmissions.

Frame sizes follow the statistical model of RFC 8593 (section 5): the size relative to the mean is Laplacian with scale
0.15. The frames' times, which that model scatters too, are exact here. A cycle has the distribution's quantiles in an
order that the seed shuffles, so that each cycle of a layer has the same bytes and the same packets, whatever the seed.
A key frame, on request only (WebRTC's encoder sends none for 100 s), is a multiple of the mean; the frames after it are
smaller until the rate is kept.

The content of each frame is a grey picture that decoders take, and filler that they skip. Packets with room in the
filler have the time of sending there.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

from jvbtune.load.media.frame import FIXED_BYTES, Frame
from jvbtune.load.media.rtp import STAMP, STAMP_MARK

CLOCK_RATE = 90_000
CYCLE_FRAMES = 300
#: RFC 8593's SCALE_B. Checked in an implementation of the model (mengelbart/syncodec), not in the RFC's own table.
SIZE_SCALE = 0.15
#: libwebrtc lets libvpx make a key frame of at most half of 600 ms of the rate, and at least three frames
#: (libvpx_vp8_encoder.cc and libvpx_vp9_encoder.cc, MaxIntraTarget): nine frames at 30 a second. How much of that a
#: scene uses is not modelled.
KEY_FRAME_SECONDS, MIN_KEY_FRAME_RATIO = 0.3, 3.0
PAY_BACK_RATIO = 0.3  #: of a frame's size, after a key frame
#: What a NACK can ask for: as much as libwebrtc keeps at least (rtp_packet_history.h, kMinPacketDuration).
HISTORY_SECONDS = 1.0
RTX_BYTES = 2  #: of RTX's original sequence number, for which each packet leaves room
STAMP_PLACE = STAMP_MARK + bytes(STAMP.size)
STAMP_BYTES = len(STAMP_PLACE)


@cache
def cycle_sizes(mean_bytes: int, least_bytes: int) -> tuple[int, ...]:
    """The frame sizes of one cycle in descending order; their sum is ``CYCLE_FRAMES`` times ``mean_bytes``."""
    shares = [(index + 0.5) / CYCLE_FRAMES - 0.5 for index in range(CYCLE_FRAMES)]
    sizes = [
        max(least_bytes, round(mean_bytes * (1 - SIZE_SCALE * math.copysign(math.log(1 - 2 * abs(p)), p))))
        for p in shares
    ]
    missing = CYCLE_FRAMES * mean_bytes - sum(sizes)
    sizes[-1 if sizes[-1] + missing >= least_bytes else 0] += missing
    return tuple(sizes)


def mean_frame_bytes(bits_per_second: float, frames_per_second: float, least_bytes: int) -> int:
    return max(2 * least_bytes, round(bits_per_second / 8 / frames_per_second))


def key_frame_ratio(frames_per_second: float) -> float:
    """Of a key frame to a mean frame."""
    return max(MIN_KEY_FRAME_RATIO, KEY_FRAME_SECONDS * frames_per_second)


def fragments(frame_bytes: int, most_bytes: int) -> tuple[int, ...]:
    """The parts of a frame, each in a packet: as few as there may be, evenly split, the larger ones first."""
    count = -(-frame_bytes // most_bytes)
    small, larger = divmod(frame_bytes, count)
    return (small + 1,) * larger + (small,) * (count - larger)


def shares(parts: Sequence[int], begin: bytes, end: bytes) -> list[tuple[bytes, bytes]]:
    """What of a frame's begin and end is in each of its parts."""
    found, at, filled = [], 0, sum(parts) - len(end)
    for part in parts:
        found.append((begin[at : at + part], end[max(0, at - filled) : max(0, at + part - filled)]))
        at += part
    return found


def width_of(height: int) -> int:
    """Cameras are of 16:9."""
    return round(height * 16 / 9)


def least_frame_bytes(repeated: int, key_frame: int, key_ratio: float) -> int:
    """The least of a layer's frame, by the content of frames: a mean one is at least twice as large, and a key frame
    ``key_ratio`` times the mean."""
    return max(repeated, math.ceil(key_frame / (2 * key_ratio)))


def packets_per_second(bits_per_second: float, frames_per_second: float, *, least_bytes: int, most_bytes: int) -> float:
    """Of one layer, key frames aside: exact over a cycle. ``most_bytes``: of a frame, in one packet."""
    sizes = cycle_sizes(mean_frame_bytes(bits_per_second, frames_per_second, least_bytes), least_bytes)
    return sum(-(-size // most_bytes) for size in sizes) / CYCLE_FRAMES * frames_per_second


class Sizes:
    """The frame sizes of one layer, in the order in which they are made."""

    __slots__ = ("_index", "cycle", "debt", "key_frame_bytes", "least_bytes")

    def __init__(
        self, bits_per_second: float, frames_per_second: float, *, least_bytes: int, key_ratio: float, seed: int
    ) -> None:
        mean = mean_frame_bytes(bits_per_second, frames_per_second, least_bytes)
        sizes = list(cycle_sizes(mean, least_bytes))
        random.Random(seed).shuffle(sizes)
        self.cycle, self.least_bytes, self._index = sizes, least_bytes, 0
        self.key_frame_bytes = round(key_ratio * mean)
        self.debt = 0  #: what was sent beyond the rate, and is being paid back

    def following(self, key: bool) -> int:
        """Of the next frame."""
        size = nominal = self.cycle[self._index % CYCLE_FRAMES]
        self._index += 1
        if key:
            size = max(nominal, self.key_frame_bytes)
        elif self.debt > 0:
            size = max(self.least_bytes, nominal - min(self.debt, int(PAY_BACK_RATIO * nominal)))
        self.debt += size - nominal
        return size


class Retransmits(ABC):
    """A stream of which packets can be asked for again. ``rtx_sequence``: of the last RTX packet."""

    rtx_type: ClassVar[int]

    __slots__ = ("rtx_sequence", "rtx_ssrc")

    rtx_sequence: int
    rtx_ssrc: int

    @abstractmethod
    def repetition(self, sequence: int) -> Frame | None:
        """The packet once more as it was, where no RTX was agreed on; None where it is too old, or was never sent."""

    def retransmission(self, sequence: int) -> Frame | None:
        """RTX of a packet (RFC 4588, 4); None where it is too old, or was never sent. Its marker is not kept."""
        found = self.repetition(sequence)
        if found is None:
            return None
        self.rtx_sequence = (self.rtx_sequence + 1) & 0xFFFF
        (front,), (size,) = found.fronts, found.sizes
        payload = 4 + 4 * int.from_bytes(front[2:4], "big")
        front = front[:payload] + sequence.to_bytes(RTX_BYTES, "big") + front[payload:]
        sizes = [size + RTX_BYTES]
        return Frame(
            self.rtx_type, False, self.rtx_sequence, found.timestamp, self.rtx_ssrc, [front], found.ends, sizes
        )


class VideoStream(Retransmits):
    """One SSRC. ``picture`` gives the frames of the next one, without what is filled in when they leave."""

    payload_type: ClassVar[int]
    behind_stamp: ClassVar[int]  #: bytes at the end of each packet

    __slots__ = (
        "_history", "_key_wanted", "frames", "key_frames", "octets", "packets", "sequence", "ssrc",
        "timestamp",
    )  # fmt: skip

    def __init__(self, ssrc: int, rtx_ssrc: int) -> None:
        self.ssrc, self.rtx_ssrc = ssrc, rtx_ssrc
        self.sequence = ssrc & 0x7FFF  # below 2^15, so that SRTP's roll-over counter starts at 0 on both sides
        self.timestamp = 0
        self.frames = self.key_frames = self.packets = self.octets = 0
        self.rtx_sequence = rtx_ssrc & 0x7FFF
        self._key_wanted = True
        self._history: deque[Frame] = deque()

    def request_key_frame(self) -> None:
        """The next frame is one."""
        self._key_wanted = True

    @property
    @abstractmethod
    def debt_bytes(self) -> int:
        """What was sent beyond the rate, and is being paid back."""

    @abstractmethod
    def picture(self, seconds: float) -> list[Frame]:
        """Of what was captured at ``seconds`` of the stream's clock: a frame for each spatial layer."""

    def frame(self, seconds: float) -> list[bytearray]:
        """The picture's packets."""
        return [packet for frame in self.picture(seconds) for packet in frame.packets()]

    def _begin_frame(self, seconds: float) -> bool:
        """Whether it is a key frame."""
        key, self._key_wanted = self._key_wanted, False
        self.timestamp = round(seconds * CLOCK_RATE) & 0xFFFFFFFF
        self.frames += 1
        self.key_frames += key
        return key

    def _frame(self, fronts: list[bytes], ends: list[bytes], sizes: Sequence[int], octets: int, marker: bool) -> Frame:
        """The next packets: each begins so after the fixed header, and ends so. ``octets``: of their payloads."""
        count = len(sizes)
        first = (self.sequence + 1) & 0xFFFF
        frame = Frame(self.payload_type, marker, first, self.timestamp, self.ssrc, fronts, ends, sizes)
        self.sequence = (first + count - 1) & 0xFFFF
        self.packets += count
        self.octets += octets
        self._history.append(frame)
        while (self.timestamp - self._history[0].timestamp) & 0xFFFFFFFF > HISTORY_SECONDS * CLOCK_RATE:
            self._history.popleft()
        return frame

    def repetition(self, sequence: int) -> Frame | None:
        for frame in reversed(self._history):
            at = (sequence - frame.sequence) & 0xFFFF
            if at < len(frame.sizes):
                return frame.part(at, at + 1)
        return None

    def _end(self, room: int, end: bytes) -> bytes:
        """Of a packet with so many bytes behind its front: a place for the stamp, if nothing else is there."""
        after = self.behind_stamp - len(end)
        if after < 0 or room < STAMP_BYTES + self.behind_stamp:
            return end
        return STAMP_PLACE + bytes(after) + end

    def _ends(self, fronts: Sequence[bytes], sizes: Sequence[int], ends: Sequence[bytes]) -> list[bytes]:
        return [
            self._end(size - FIXED_BYTES - len(front), end)
            for front, size, end in zip(fronts, sizes, ends, strict=True)
        ]
