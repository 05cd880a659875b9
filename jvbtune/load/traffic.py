"""What a worker can make: audio alone (``audio.py``) or meetings (``meeting.py``), and what of a window is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jvbtune.load.lateness import Lateness
from jvbtune.protocol import worker as messages


@dataclass(frozen=True)
class Counted:
    """Of the packets that were sent since the last edge. ``kinds`` and ``meetings``: of meetings only."""

    sent_packets: int
    expected_packets: int
    received_packets: int
    reordered_packets: int
    delays_us: Mapping[int, int]  #: of the sampled packets, how many had each
    silent_endpoints: Sequence[str]  #: that never got a packet of media
    kinds: dict[str, messages.KindCounts] = field(default_factory=dict)
    meetings: messages.MeetingCounts | None = None


class Traffic(Protocol):
    """Sends in an open loop: ``step`` never waits for the bridge."""

    sending: bool

    @property
    def unsent(self) -> int:
        """Packets since the last edge that the kernel did not take."""

    @property
    def lateness(self) -> Lateness:
        """Of each packet since the last edge."""

    @property
    def active(self) -> bool:
        """Whether ``step`` has something to do, and waits by itself."""

    def start(self) -> None:
        """Send from now on; streams go on where they were."""

    def step(self, now: float) -> None:
        """Until the next tick, and what is due at it."""

    def begin(self) -> None:
        """A window begins: an edge, and a schedule of bursts at its first tick."""

    def edge(self) -> None:
        """Count from here on. What is missing now is lost, or it counts as too much later on."""

    def poll(self, now: float) -> None:
        """Read the sockets that the worker's loop does not read."""

    @property
    def arrived_packets(self) -> int:
        """Of media, so far: it changes with each that comes."""

    def patience_seconds(self) -> float:
        """For how long nothing has to come, until nothing is thought to be in flight any more."""

    def counted(self) -> Counted:
        """To be asked while nothing is in flight."""

    def streams(self) -> messages.Streams:
        """What every endpoint sent and received so far. To be asked while nothing is in flight."""


#: Quiet for this long after the last packet: nothing is in flight any more, though packets are missing. A JVM that
#: collects garbage or compiles stands still for longer than one thinks.
QUIET_SECONDS = 0.6
#: Where every packet has arrived, there is nothing to wait for but duplicates.
ALL_THERE_SECONDS = 0.05
#: Where none has, the path is not open yet: a JVM may load and compile for seconds when the first packet comes.
MAX_DRAIN_SECONDS = 10.0
#: Of those that are due, so many are made up for before sockets are read again.
MAX_BEHIND_TICKS = 200
