"""Cameras of one worker that send to a socket which nobody reads: the path of a meeting's client without a bridge."""

from __future__ import annotations

import math
import os
import resource
import socket
import time
from dataclasses import dataclass
from types import TracebackType

import psutil
from pylibsrtp import Policy, Session

from jvbtune.load.calendar import TICK_SECONDS
from jvbtune.load.client import Client
from jvbtune.load.lateness import Lateness
from jvbtune.load.meeting import DRAIN_SECONDS, Meetings
from jvbtune.load.mix import VP8_LAYERS, Mix, Video
from jvbtune.load.participants import participants, sources_of
from jvbtune.protocol.worker import LATENESS_EDGES_US

LATE_US = 2000


@dataclass(frozen=True)
class Held:
    """What was sent in a stretch of time."""

    packets: int
    packets_per_second: float
    cpu_per_packet: float  #: seconds
    cpu_ratio: float
    late_ratio: float  #: of all packets, those that left more than 2 ms after their time


def late_ratio(lateness: Lateness) -> float:
    total = sum(lateness.counts)
    on_time = sum(count for edge, count in zip(LATENESS_EDGES_US, lateness.counts, strict=False) if edge <= LATE_US)
    return 1 - on_time / total if total else 0.0


class Cameras:
    """So many clients, each with a camera of three layers of VP8 at 30 frames a second and a microphone."""

    def __init__(self, many: int) -> None:
        self._far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._far.bind(("127.0.0.1", 0))
        self.meetings, self._clients = Meetings(), []
        mix = Mix(2, 1, video=Video(1, VP8_LAYERS))
        for number in range(many):
            names = (f"a{number:07x}", f"b{number:07x}")
            asked = participants(mix, names, sources_of(mix), seed=number)[0]
            client = Client(names[0], "127.0.0.1", self._far.getsockname())
            policy = Policy(
                key=os.urandom(28),
                ssrc_type=Policy.SSRC_ANY_OUTBOUND,
                srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
            )
            client.outbound, client.state = Session(policy), "connected"
            client.next_check = math.inf  # there is nobody who would answer
            self.meetings.join(client, asked)
            self._clients.append(client)

    def hold(self, seconds: float) -> Held:
        self.meetings.start()
        self.meetings.edge()
        begun, cpu = time.monotonic(), time.process_time()
        while (now := time.monotonic()) < begun + seconds:
            self.meetings.step(now)
        cpu, lasted = time.process_time() - cpu, time.monotonic() - begun
        self.meetings.calendar.settle()
        sent = sum(self.meetings.calendar.sent.values())
        return Held(sent, sent / lasted, cpu / sent, cpu / lasted, late_ratio(self.meetings.lateness))

    def rush(self, seconds: float) -> float:
        """CPU of a packet, in seconds, of so much time of the streams, with all that is done in it but the waiting."""
        ticks, sockets_seconds = round(seconds / TICK_SECONDS), round(DRAIN_SECONDS / TICK_SECONDS)
        self.meetings.start()
        self.meetings.edge()
        begun, cpu = time.monotonic(), time.process_time()
        for tick in range(ticks):
            self.meetings.calendar.run()
            if tick % sockets_seconds == 0:
                self.meetings.poll(begun + tick * TICK_SECONDS)
        cpu = time.process_time() - cpu
        self.meetings.calendar.settle()
        return cpu / sum(self.meetings.calendar.sent.values())

    def __enter__(self) -> Cameras:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for client in self._clients:
            client.close()
        self._far.close()


def resident_bytes(many: int) -> float:
    """Of each client, of so many that send."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with Cameras(1) as one:
        one.hold(0.2)
    before = psutil.Process().memory_info().rss
    with Cameras(many) as cameras:
        cameras.hold(3.0)
        return (psutil.Process().memory_info().rss - before) / many
