"""Endpoints that send Opus and nothing else, steadily or in bursts; the kernel counts most of what they receive."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from jvbtune.load.endpoint import Endpoint
from jvbtune.load.lateness import Lateness
from jvbtune.load.media import OpusSource
from jvbtune.load.schedule import Wheel
from jvbtune.load.sockets import Batch
from jvbtune.load.traffic import ALL_THERE_SECONDS, MAX_BEHIND_TICKS, MAX_DRAIN_SECONDS, QUIET_SECONDS, Counted
from jvbtune.protocol import worker as messages


class Sender:
    """An endpoint's stream. ``sent_at_edge``: of ``sent``, what was sent before the last edge of a window."""

    __slots__ = ("endpoint", "receivers", "sent", "sent_at_edge", "source")

    def __init__(self, endpoint: Endpoint, source: OpusSource, receivers: int) -> None:
        self.endpoint, self.source, self.receivers = endpoint, source, receivers
        self.sent = self.sent_at_edge = 0


class Audio:
    """See ``traffic.Traffic``. ``endpoints``: all of the worker, those that only receive too. It reads them itself."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self.sending = False
        self.unsent = 0
        self.lateness = Lateness()
        self._endpoints = endpoints
        self._senders: dict[str, Sender] = {}
        self._wheel = Wheel.of(50.0, 1)
        self._slots: list[list[Sender]] = []
        self._prepared: list[Batch] = []
        self._tick = 0
        self._next_tick = 0.0

    @property
    def active(self) -> bool:
        return self.sending

    # -- who sends ----------------------------------------------------------------------------------------------

    def add(self, endpoint: Endpoint, source: OpusSource, receivers: int) -> None:
        """It sends from the next schedule on."""
        self._senders[endpoint.name] = Sender(endpoint, source, receivers)

    def remove(self, names: Iterable[str]) -> None:
        gone = [name for name in names if self._senders.pop(name, None) is not None]
        if gone:
            self._slots, self._prepared = self._wheel.place(self._connected()), []

    def _connected(self) -> list[Sender]:
        return [sender for sender in self._senders.values() if sender.endpoint.outbound is not None]

    def pps(self, wheel: Wheel) -> float:
        """What the connected senders would cause by that schedule: what they send, and what the bridge forwards."""
        return wheel.pps * sum(1 + sender.receivers for sender in self._connected())

    def follow(self, wheel: Wheel) -> int:
        """Send by that schedule from now on, in place of the one before; how many send."""
        senders = self._connected()
        self._wheel, self._slots = wheel, wheel.place(senders)
        self._tick, self._prepared = 0, []
        self.start()
        return len(senders)

    def start(self) -> None:
        self._next_tick, self.sending = time.monotonic(), True

    # -- sending ------------------------------------------------------------------------------------------------

    def step(self, now: float) -> None:
        if self._next_tick > now:
            time.sleep(self._next_tick - now)
            now = time.monotonic()
        behind = 0
        while self._next_tick <= now and behind < MAX_BEHIND_TICKS:
            if self._wheel.packets == 1:
                self._send_slot(self._slots[self._tick])
            else:
                self._send_burst()
            self._tick = (self._tick + 1) % self._wheel.ticks
            self._next_tick += self._wheel.tick_seconds
            behind += 1

    def _send_slot(self, senders: list[Sender]) -> None:
        if not senders:
            return
        wall = time.time_ns()
        for sender in senders:
            session = sender.endpoint.outbound
            if session is None:
                continue
            try:
                sender.endpoint.socket.send(session.protect(sender.source.packet(wall)))
                sender.sent += 1
            except OSError:
                self.unsent += 1
            self.lateness.add(time.monotonic() - self._next_tick)

    def _send_burst(self) -> None:
        """Packets are built in the ticks between two bursts, and leave in one system call an endpoint."""
        senders = self._slots[0]
        if self._tick != 0:
            self._prepare(senders)
            return
        for sender in senders[len(self._prepared) :]:
            self._prepared.append(self._batch(sender))
        for batch, sender in zip(self._prepared, senders, strict=True):
            taken = batch.send()
            sender.sent += taken
            self.unsent += self._wheel.packets - taken
            self.lateness.add(time.monotonic() - self._next_tick, self._wheel.packets)
        self._prepared = []

    def _prepare(self, senders: list[Sender]) -> None:
        """A share of the next burst at each tick."""
        share = -(-len(senders) // max(1, self._wheel.ticks // 2))
        if self._tick < self._wheel.ticks // 2:
            return  # late, so that the times of sending in the packets are not far from the truth
        for sender in senders[len(self._prepared) : len(self._prepared) + share]:
            self._prepared.append(self._batch(sender))

    def _batch(self, sender: Sender) -> Batch:
        session = sender.endpoint.outbound
        assert session is not None
        remaining = (self._wheel.ticks - self._tick) % self._wheel.ticks * self._wheel.tick_seconds
        wall = time.time_ns() + int(remaining * 1e9)
        packets = [session.protect(sender.source.packet(wall)) for _ in range(self._wheel.packets)]
        return Batch(sender.endpoint.socket, packets)

    # -- the account --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self.edge()
        self._tick, self._prepared = 0, []

    def edge(self) -> None:
        for sender in self._senders.values():
            sender.sent_at_edge = sender.sent
        for endpoint in self._endpoints.values():
            endpoint.received_at_edge = endpoint.received_packets()
            endpoint.delays_us.clear()
            endpoint.reordered = 0
        self.lateness, self.unsent = Lateness(), 0

    def poll(self, now: float) -> None:
        """The worker's loop reads all of its sockets."""

    @property
    def arrived_packets(self) -> int:
        """Since the last edge."""
        return sum(e.received_packets() - e.received_at_edge for e in self._endpoints.values())

    def _expected(self) -> int:
        """What the endpoints should have received of what was sent since the last edge."""
        return sum((sender.sent - sender.sent_at_edge) * sender.receivers for sender in self._senders.values())

    def patience_seconds(self) -> float:
        received = self.arrived_packets
        if received >= self._expected():
            return ALL_THERE_SECONDS
        return QUIET_SECONDS if received else MAX_DRAIN_SECONDS

    def counted(self) -> Counted:
        delays = Counter[int]()
        for endpoint in self._endpoints.values():
            delays.update(endpoint.delays_us)
        return Counted(
            sent_packets=sum(sender.sent - sender.sent_at_edge for sender in self._senders.values()),
            expected_packets=self._expected(),
            received_packets=self.arrived_packets,
            reordered_packets=sum(endpoint.reordered for endpoint in self._endpoints.values()),
            delays_us=delays,
            silent_endpoints=[e.name for e in self._endpoints.values() if not e.received_packets()],
        )

    def streams(self) -> messages.Streams:
        until_ns = time.time_ns()
        return messages.Streams(
            until_ns,
            [messages.StreamCount(s.endpoint.name, s.source.ssrc, s.sent) for s in self._senders.values()],
            [],
            {
                e.name: messages.EndpointCount(e.address[1], e.received_packets(), 0, 0)
                for e in self._endpoints.values()
            },
        )
