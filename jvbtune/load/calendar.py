"""When each client of a meeting sends, and what was sent: an open loop on a calendar of 1 ms ticks.

A microphone each 20 ms, a camera's frame each 33 ms, its packets spread as libwebrtc's pacer spreads them.
``native.calendar.CompiledCalendar`` has what production sends most, VP8 and Opus, made and sent in C, where the package
was built with a compiler: the same packets at the same ticks, byte by byte. Only where a client has streams of either
kind, those of C leave first in a tick.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from jvbtune.load.camera import Camera, Source
from jvbtune.load.client import Client, Microphone
from jvbtune.load.lateness import Lateness
from jvbtune.load.media.codecs import KIND_OF
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.speech import Floor, Speech
from jvbtune.load.sending import Sends
from jvbtune.protocol import worker as messages

TICK_SECONDS = 0.001
SLOTS = 2048
#: Packets that wait for others: some 0.2 ms at most, and a call costs nearly nothing for each.
SENT_AT_ONCE = 64
KINDS = ("audio", "video", "rtx", "rtcp")
#: Phases that are so far apart fill an interval evenly, however many there are.
GOLDEN = (math.sqrt(5) - 1) / 2

Action = tuple[Callable[[Client, Any], None], Client, Any]


class Calendar:
    """``sent``, ``unsent``, ``audio_expected``, ``lateness``: since the last edge, once it is settled."""

    def __init__(self, sends: Sends) -> None:
        self.sends = sends
        self.tick = 0
        self.next_tick = 0.0
        self._slots: list[list[Action]] = [[] for _ in range(SLOTS)]
        self._clients: set[Client] = set()
        self._floors: dict[int, Floor] = {}
        self._wall_ns = 0
        self._waiting: list[tuple[Client, Frame]] = []  #: in the outbox
        self._count()

    # -- streams ------------------------------------------------------------------------------------------------

    def floor(self, seed: int, speakers: int) -> Floor:
        """By its seed, so that all of a conference share one."""
        return self._floors.setdefault(seed, Floor(seed, speakers))

    def microphone(self, asked: messages.Microphone) -> Microphone:
        """For a client that is added later."""
        return self._speech(asked)

    def _speech(self, asked: messages.Microphone) -> Speech:
        return Speech(
            asked.ssrc,
            number=asked.number,
            floor=self.floor(asked.floor_seed, asked.speakers),
            stream_pps=asked.stream_pps,
            payload_bytes=asked.payload_bytes,
            dtx=asked.dtx,
            redundant=asked.red,
        )

    def camera(self, asked: messages.Camera) -> Source:
        """For a client that is added later."""
        return Camera(asked)

    def add(self, client: Client, phase: float) -> None:
        """Its streams begin, each after its share of an interval; a client without keys sends nothing."""
        self._clients.add(client)
        if client.port is None:
            return
        for at, microphone in enumerate(client.microphones):
            self._begin_to_speak(client, microphone, (phase + at * GOLDEN) % 1 * microphone.step_seconds)
        for at, camera in enumerate(client.cameras):
            self._begin_to_film(client, camera, (phase + at * GOLDEN) % 1 / camera.frames_per_second)

    def _begin_to_speak(self, client: Client, microphone: Microphone, seconds: float) -> None:
        self._at(seconds, self._speak, client, (microphone, None))

    def _begin_to_film(self, client: Client, camera: Source, seconds: float) -> None:
        self._at(seconds, self._film, client, (camera, None))

    def remove(self, client: Client) -> None:
        """It sends nothing from now on. What it sent stays counted."""
        self._settle(client)
        self._clients.discard(client)
        if not self._clients:
            self._slots = [[] for _ in range(SLOTS)]  # all for those who are gone

    # -- sending ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The tick that is next is due now."""
        self.next_tick = time.monotonic()

    def run(self) -> None:
        """Send what is due at the next tick."""
        slot = self._slots[self.tick % SLOTS]
        if slot:
            self._wall_ns = time.time_ns()
            self._slots[self.tick % SLOTS] = []
            for action, client, argument in slot:
                if client in self._clients:
                    action(client, argument)
            self._send_waiting()
        self.tick += 1
        self.next_tick += TICK_SECONDS

    def send_now(self, client: Client, frames: Iterable[Frame]) -> None:
        """What was asked for again: it has no time of its own. To be flushed."""
        for frame in frames:
            self._hand_over(client, frame)

    def flush(self, wall_ns: int) -> None:
        """Send what waits."""
        if self._waiting:
            self._wall_ns = wall_ns
            self._flush()

    def _at(self, seconds: float, action: Callable[[Client, Any], None], client: Client, argument: Any) -> None:
        """In so many seconds from the tick under way."""
        ahead = min(SLOTS - 1, max(1, round(seconds / TICK_SECONDS)))
        self._slots[(self.tick + ahead) % SLOTS].append((action, client, argument))

    def _speak(self, client: Client, asked: tuple[Speech, float | None]) -> None:
        """With what is due: seconds of the stream's clock, kept apart from the ticks so that no rounding adds up."""
        microphone, due = asked
        at = self.tick * TICK_SECONDS if due is None else due
        frame = microphone.frame(at)
        if frame is not None:
            self._send(client, frame)
        following = at + microphone.step_seconds
        self._at(following - self.tick * TICK_SECONDS, self._speak, client, (microphone, following))

    def _film(self, client: Client, asked: tuple[Camera, float | None]) -> None:
        camera, due = asked
        at = self.tick * TICK_SECONDS if due is None else due
        for delay, frame in camera.frame(at):
            if delay < TICK_SECONDS and not camera.pacing:
                self._send(client, frame)
            else:
                camera.pacing += 1
                self._at(delay, self._send_paced, client, (camera, frame))
        following = at + 1 / camera.frames_per_second
        self._at(following - self.tick * TICK_SECONDS, self._film, client, (camera, following))

    def _send_paced(self, client: Client, paced: tuple[Camera, Frame]) -> None:
        camera, frame = paced
        camera.pacing -= 1
        self._send(client, frame)

    def _send(self, client: Client, frame: Frame) -> None:
        """What is due at the tick under way: soon, with that of other clients."""
        self._hand_over(client, frame)
        if self.sends.packets >= SENT_AT_ONCE:
            self._send_waiting()

    def _hand_over(self, client: Client, frame: Frame) -> None:
        assert client.port is not None
        self.sends.add(client.port, frame, client.port.number(len(frame.sizes)))
        self._waiting.append((client, frame))

    def _send_waiting(self) -> None:
        """All are as late as the last of them."""
        packets = self.sends.packets
        if packets:
            self._flush()
            self.lateness.add(time.monotonic() - self.next_tick, packets)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for (client, frame), taken in zip(waiting, self.sends.flush(self._wall_ns), strict=True):
            self._book(client, frame.ssrc, KIND_OF[frame.payload_type], taken)
            self.unsent += len(frame.sizes) - taken

    # -- the account --------------------------------------------------------------------------------------------

    def _book(self, client: Client, ssrc: int, kind: str, packets: int) -> None:
        client.took(ssrc, packets)
        self.sent[kind] += packets
        if kind == "audio":
            self.audio_expected += client.receives * packets

    def settle(self) -> None:
        """Bring the account up to date."""

    def _settle(self, client: Client) -> None:
        """What one client sent."""

    def edge(self) -> None:
        """Count from here on."""
        self.settle()
        self._count()

    def _count(self) -> None:
        """From nothing."""
        self.sent = dict.fromkeys(KINDS, 0)
        self.audio_expected = self.unsent = 0
        self.lateness = Lateness()
