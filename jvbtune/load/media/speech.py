"""Who speaks in a meeting, and Opus packets with the levels of it.

One participant has the floor at a time; turns last about ``TURN_SECONDS``, an assumption. Who has the floor speaks in
talk spurts and pauses of the lengths of ITU-T P.59 (artificial conversational speech): means of 1.004 and 1.587 s,
not verified: no text of P.59 could be had to check them. Everybody else's microphone picks up the room, in packets of a
low level all the same: Jitsi's clients do not use DTX by default (lib-jitsi-meet, enableOpusDtx). (127 is digital
silence, of which a JVB forwards nothing.) With ``dtx``, silence is one packet in 400 ms (RFC 6716, 2.1.9).
"""

from __future__ import annotations

import random

from jvbtune.load.media import opus, red
from jvbtune.load.media.frame import FIXED_BYTES, Frame
from jvbtune.load.media.rtp import OPUS, PLAIN, RED, audio_level

CLOCK_RATE = 48_000
TURN_SECONDS = 8.0
TALK_SECONDS, PAUSE_SECONDS = 1.004, 1.587
SPEECH_DBOV, ROOM_DBOV = 25, 75
DTX_SECONDS = 0.4


class Floor:
    """Who speaks at a time: the same for all that have the same seed. Ask in the order of time."""

    def __init__(self, seed: int, speakers: int) -> None:
        self._random = random.Random(seed)
        self._speakers = speakers
        self._holder = self._random.randrange(speakers)
        self._turn_ends = self._random.expovariate(1 / TURN_SECONDS)
        self._talking, self._changes = True, self._random.expovariate(1 / TALK_SECONDS)

    @property
    def holder(self) -> int:
        """Who had the floor when it was last asked."""
        return self._holder

    @property
    def until(self) -> float:
        """Until when what was last asked holds: seconds of the meeting."""
        return min(self._turn_ends, self._changes)

    def speaker(self, seconds: float) -> int | None:
        """Of the speakers which one talks at that time of the meeting; None: a pause."""
        while seconds >= self.until:
            if self._turn_ends <= self._changes:
                if self._speakers > 1:
                    self._holder = (self._holder + self._random.randrange(1, self._speakers)) % self._speakers
                self._turn_ends += self._random.expovariate(1 / TURN_SECONDS)
            else:
                self._talking = not self._talking
                self._changes += self._random.expovariate(1 / (TALK_SECONDS if self._talking else PAUSE_SECONDS))
        return self._holder if self._talking else None


class Speech:
    """One microphone: ``frame`` gives the packet that is due at a time, None in DTX's silence."""

    __slots__ = (
        "_before", "_dtx", "_floor", "_number", "_red", "_since_sent", "fronts", "octets", "packets", "payload",
        "sequence", "silent", "ssrc", "step_seconds", "timestamp",
    )  # fmt: skip

    def __init__(
        self,
        ssrc: int,
        *,
        number: int,
        floor: Floor,
        stream_pps: float,
        payload_bytes: int,
        dtx: bool = False,
        redundant: bool = False,
    ) -> None:
        self.ssrc = ssrc
        self.sequence = ssrc & 0x7FFF
        self.timestamp = 0
        self.packets = self.octets = self.silent = 0
        self._number, self._floor, self._dtx, self._red = number, floor, dtx, redundant
        self._before: int | None = None  #: time stamp of the last packet
        self.step_seconds = 1 / stream_pps
        self._since_sent = DTX_SECONDS
        self.payload = opus.payload(stream_pps, payload_bytes)  #: of a packet, redundancy aside
        #: Extensions and payload of a packet, by whether its microphone's owner talks; of RED without the payload.
        payload = b"" if redundant else self.payload
        levels = (audio_level(ROOM_DBOV, False), audio_level(SPEECH_DBOV, True))
        room, speech = (PLAIN[: -len(level)] + level + payload for level in levels)
        self.fronts = room, speech

    def frame(self, seconds: float) -> Frame | None:
        """What is due at ``seconds`` of the stream's clock: one packet."""
        talks = self._floor.speaker(seconds) == self._number
        self._since_sent += self.step_seconds
        self.timestamp = round(seconds * CLOCK_RATE) & 0xFFFFFFFF
        if self._dtx and not talks and self._since_sent < DTX_SECONDS - self.step_seconds / 2:
            self.silent += 1
            return None
        self._since_sent = 0.0
        self.sequence = (self.sequence + 1) & 0xFFFF
        front = self.fronts[talks]
        if self._red:
            front += red.headers(self._before, self.timestamp, self.payload) + self.payload
            self._before = self.timestamp
        self.packets += 1
        self.octets += len(front) - len(PLAIN)
        kind, size = RED if self._red else OPUS, FIXED_BYTES + len(front)
        return Frame(kind, False, self.sequence, self.timestamp, self.ssrc, [front], [b""], [size])

    def packet(self, seconds: float) -> bytearray | None:
        """The frame's packet."""
        frame = self.frame(seconds)
        return frame.packets()[0] if frame is not None else None
