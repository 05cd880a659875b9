"""The generator's process: endpoints, schedule, counts. ``python -m jvbtune.load.worker``.

The lines of ``jvbtune.protocol`` on standard input and output, like the agent's. It ends at once when its input ends
(the controller is gone), or when nobody said for a lease that the controller lives; it sends to one address only, that
of the first request.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import sys
import time
from pathlib import Path
from typing import TypeVar

from jvbtune.errors import LoadError
from jvbtune.load.client import Client
from jvbtune.load.dtls import identity
from jvbtune.load.endpoint import Endpoint
from jvbtune.load.lateness import Lateness
from jvbtune.load.media import OpusSource
from jvbtune.load.meeting import Meetings
from jvbtune.load.relay import RelayPeer
from jvbtune.load.schedule import Wheel
from jvbtune.load.sockets import Batch
from jvbtune.protocol import worker as messages
from jvbtune.protocol.codec import ProtocolError, Splitter, encode
from jvbtune.protocol.messages import Fault, Nothing, Refusal, refusal, reply
from jvbtune.protocol.peers import Asked, Served, read_asked, table

CONNECT_TIMEOUT_SECONDS = 20.0
HOUSEKEEPING_SECONDS = 0.05
#: Quiet for this long after the last packet: nothing is in flight any more, though packets are missing. A JVM that
#: collects garbage or compiles stands still for longer than one thinks.
QUIET_SECONDS = 0.6
#: Where every packet has arrived, there is nothing to wait for but duplicates.
ALL_THERE_SECONDS = 0.05
#: Where none has, the path is not open yet: a JVM may load and compile for seconds when the first packet comes.
MAX_DRAIN_SECONDS = 10.0
MAX_SET_UP_BYTES = 65536


Joining = TypeVar("Joining", bound=Client)


class Sender:
    """An endpoint's stream. ``sent_at_edge``: of ``sent``, what was sent before the last edge of a window."""

    __slots__ = ("endpoint", "receivers", "sent", "sent_at_edge", "source")

    def __init__(self, endpoint: Endpoint, source: OpusSource, receivers: int) -> None:
        self.endpoint, self.source, self.receivers = endpoint, source, receivers
        self.sent = self.sent_at_edge = 0


class Worker:
    """The loop: a tick each millisecond, and whatever the sockets and the controller say in between."""

    def __init__(self, set_up: messages.SetUp) -> None:
        self._remote_address = (set_up.address, set_up.port)
        self._bind_address = set_up.bind_address
        self._max_pps = set_up.max_pps
        self._ends = time.monotonic() + set_up.lease_seconds
        self._endpoints: dict[str, Endpoint] = {}
        self._senders: dict[str, Sender] = {}
        self._by_fd: dict[int, Endpoint] = {}
        self._epoll = select.epoll()
        self._epoll.register(0, select.EPOLLIN)
        os.set_blocking(0, False)
        self._splitter = Splitter()
        self._wheel = Wheel.of(50.0, 1)
        self._slots: list[list[Sender]] = []
        self._prepared: list[Batch] = []
        self._sending = False
        self._tick = 0
        self._next_tick = 0.0
        self._next_housekeeping = 0.0
        self._lateness = Lateness()
        self._unsent = 0
        self._connecting: set[str] = set()
        self._asked_to_connect: int | None = None
        self._meetings = Meetings()
        self._pps_of: dict[str, float] = {}  #: of each client, its share of what its conference may cause

    # -- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        while time.monotonic() < self._ends:
            self.step()
        raise LoadError("its controller was silent for the lease, so it stopped sending")

    def step(self) -> None:
        """One tick: sleep until it is due, send, read what has come."""
        now = time.monotonic()
        if len(self._meetings):
            self._meetings.step(now)
            now = time.monotonic()
            events = self._epoll.poll(0)
        elif self._sending:
            wait = self._next_tick - now
            if wait > 0:
                time.sleep(wait)
                now = time.monotonic()
            self._send_due(now)
            events = self._epoll.poll(0)
        else:
            events = self._epoll.poll(0.005 if self._connecting else 0.05)
        for descriptor, _ in events:
            if descriptor == 0:
                self._read_requests()
            else:
                endpoint = self._by_fd.get(descriptor)
                if endpoint is not None:
                    endpoint.read()
        if now >= self._next_housekeeping:
            self._housekeep(now)

    def _send_due(self, now: float) -> None:
        due = 0
        while self._next_tick <= now and due < 200:
            if self._wheel.packets == 1:
                self._send_slot(self._slots[self._tick])
            else:
                self._send_burst()
            self._tick = (self._tick + 1) % self._wheel.ticks
            self._next_tick += self._wheel.tick_seconds
            due += 1

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
                self._unsent += 1
            self._lateness.add(time.monotonic() - self._next_tick)

    def _send_burst(self) -> None:
        """Packets are built in the ticks between two bursts, and leave in one system call an endpoint."""
        if self._tick != 0:
            self._prepare()
            return
        if not self._prepared:
            self._prepare_all()
        for batch, sender in zip(self._prepared, self._slots[0], strict=False):
            taken = batch.send()
            sender.sent += taken
            self._unsent += self._wheel.packets - taken
            self._lateness.add(time.monotonic() - self._next_tick, self._wheel.packets)
        self._prepared = []

    def _prepare(self) -> None:
        """A share of the next burst at each tick."""
        senders = self._slots[0]
        share = -(-len(senders) // max(1, self._wheel.ticks // 2))
        if self._tick < self._wheel.ticks // 2:
            return  # late, so that the times of sending in the packets are not far from the truth
        for sender in senders[len(self._prepared) : len(self._prepared) + share]:
            self._prepared.append(self._batch(sender))

    def _prepare_all(self) -> None:
        for sender in self._slots[0][len(self._prepared) :]:
            self._prepared.append(self._batch(sender))

    def _batch(self, sender: Sender) -> Batch:
        session = sender.endpoint.outbound
        assert session is not None
        remaining = (self._wheel.ticks - self._tick) % self._wheel.ticks * self._wheel.tick_seconds
        wall = time.time_ns() + int(remaining * 1e9)
        packets = [session.protect(sender.source.packet(wall)) for _ in range(self._wheel.packets)]
        return Batch(sender.endpoint.socket, packets)

    def _housekeep(self, now: float) -> None:
        self._next_housekeeping = now + HOUSEKEEPING_SECONDS
        for endpoint in self._endpoints.values():
            if endpoint.name not in self._meetings:  # they are served with their turn
                endpoint.tick(now)
        if self._connecting:
            done = {n for n in self._connecting if self._endpoints[n].state in ("connected", "failed")}
            self._connecting -= done
            if not self._connecting and self._asked_to_connect is not None:
                failed = {n: e.why for n, e in self._endpoints.items() if e.state == "failed"}
                _write(reply(self._asked_to_connect, messages.Connected(failed)))
                self._asked_to_connect = None

    # -- what the controller asks -------------------------------------------------------------------------------

    def _read_requests(self) -> None:
        try:
            data = os.read(0, 1 << 20)
        except BlockingIOError:
            return
        if not data:
            raise SystemExit(0)
        try:
            lines = self._splitter.feed(data)
        except ProtocolError as error:
            raise LoadError(f"the controller's request: {error}") from error
        for line in lines:
            asked = read_asked(line, OPERATIONS)
            if isinstance(asked, Refusal):
                _write(encode(asked))
            elif asked.served.operation is messages.CONNECT:
                self._connect(asked.id, asked.arguments)
            else:
                self._perform(asked)

    def _perform(self, asked: Asked) -> None:
        try:
            line = reply(asked.id, asked.served.perform(self, asked.arguments))
        except (LoadError, OSError) as error:
            line = refusal(asked.id, Fault("load", str(error)))
        except KeyError as error:
            line = refusal(asked.id, Fault("usage", f"no endpoint is named {error}"))
        _write(line)

    def alive(self, asked: messages.Alive) -> Nothing:
        self._ends = time.monotonic() + asked.seconds
        return Nothing()

    def clock(self, asked: Nothing) -> messages.Clock:
        return messages.Clock(time.time(), time.monotonic())

    def open(self, asked: messages.Open) -> messages.Opened:
        """Sockets and credentials of new endpoints."""
        opened = {}
        for name in asked.endpoints:
            make = RelayPeer if name in asked.peers else Client if asked.clients else Endpoint
            endpoint = make(name, self._bind_address, self._remote_address)
            self._endpoints[name] = endpoint
            self._by_fd[endpoint.socket.fileno()] = endpoint
            self._epoll.register(endpoint.socket.fileno(), select.EPOLLIN)
            opened[name] = messages.OwnEnd(endpoint.ufrag, endpoint.password, *endpoint.address)
        return messages.Opened(opened, identity().fingerprint)

    def begin(self, asked: messages.Begin) -> Nothing:
        """ICE and DTLS with what the bridge signalled."""
        for name, remote in asked.endpoints.items():
            self._endpoints[name].connect(remote, asked.within_seconds)
            self._connecting.add(name)
        return Nothing()

    def _connect(self, number: int, asked: messages.Connect) -> None:
        """Answered when all that have begun are connected or failed."""
        unknown = [name for name in asked.endpoints if name not in self._endpoints]
        if unknown:
            _write(refusal(number, Fault("usage", f"no endpoint is named {unknown[0]!r}")))
            return
        for name in asked.endpoints:
            self._endpoints[name].allow(asked.within_seconds)
        self._connecting |= set(asked.endpoints)
        self._asked_to_connect = number

    def connected(self, asked: messages.Connect) -> messages.Connected:
        """Whose connecting failed."""
        return messages.Connected({n: e.why for n, e in self._endpoints.items() if e.state == "failed"})

    def senders(self, asked: messages.Senders) -> Nothing:
        """Which endpoints send."""
        for entry in asked.senders:
            source = OpusSource(entry.ssrc, stream_pps=entry.stream_pps, payload_bytes=entry.payload_bytes)
            endpoint = self._endpoints[entry.endpoint]
            self._senders[endpoint.name] = Sender(endpoint, source, entry.receivers)
        return Nothing()

    def join(self, asked: messages.Participants) -> Nothing:
        """Which clients take part in meetings, and how. Their sockets are read in batches from now on."""
        total = asked.pps + sum(self._pps_of.values())
        if total > self._max_pps * 1.01:
            raise LoadError(f"{total:.0f} pps would be more than the {self._max_pps:.0f} that this worker may make")
        for entry in asked.participants:
            self._pps_of[entry.endpoint] = asked.pps / len(asked.participants)
            self._meetings.join(self._hand_over(entry.endpoint, Client), entry)
        for peer in asked.peers:
            self._meetings.relay(self._hand_over(peer.endpoint, RelayPeer), peer)
        return Nothing()

    def _hand_over(self, name: str, kind: type[Joining]) -> Joining:
        """A connected client, whose socket is the meetings' from now on."""
        client = self._endpoints[name]
        if not isinstance(client, kind) or client.outbound is None:
            raise LoadError(f"{name} is not connected as a meeting's client")
        self._epoll.unregister(client.socket.fileno())
        del self._by_fd[client.socket.fileno()]
        return client

    def start(self, asked: messages.Start) -> messages.Started:
        """Send, with all connected senders. A running schedule is replaced."""
        if len(self._meetings):
            self._meetings.start()
            return messages.Started(len(self._meetings), 0.0)
        wheel = Wheel.of(asked.stream_pps, asked.burst_packets)
        senders = [s for s in self._senders.values() if s.endpoint.outbound is not None]
        rate = wheel.pps * sum(1 + sender.receivers for sender in senders)
        if rate > self._max_pps * 1.01:
            raise LoadError(f"{rate:.0f} pps would be more than the {self._max_pps:.0f} that this worker may make")
        self._wheel = wheel
        self._slots = wheel.place(senders)
        self._prepared = []
        self._tick = 0
        self._next_tick = time.monotonic()
        self._sending = True
        return messages.Started(len(senders), rate)

    def pause(self, asked: Nothing) -> Nothing:
        self._sending = self._meetings.sending = False
        return asked

    def quiet(self, asked: Nothing) -> messages.Quiet:
        """Stop sending until nothing more arrives: the edge of a window, where counts are exact."""
        return messages.Quiet(self._silence())

    def resume(self, asked: Nothing) -> Nothing:
        if len(self._meetings):
            self._meetings.start()
            return asked
        self._next_tick, self._sending = time.monotonic(), True
        return asked

    def window(self, asked: messages.Hold) -> messages.Window:
        """Measure, from quiet to quiet: so that nothing in flight is counted twice or lost. Stays quiet."""
        if len(self._meetings):
            return self._meetings_window(asked)
        for endpoint in self._endpoints.values():
            endpoint.delays_ns.clear()
            endpoint.reordered = 0
        self._mark_edge()
        overflow_before = _overflows()
        self._lateness, self._unsent = Lateness(), 0
        time.sleep(max(0.0, asked.begin_mono - time.monotonic()))
        usage = _cpu_seconds()
        self._next_tick = begun = time.monotonic()
        started_unix = time.time()
        self._tick, self._prepared, self._sending = 0, [], True
        ends = begun + asked.seconds
        while time.monotonic() < ends and time.monotonic() < self._ends:
            self.step()
        self._sending = False
        lasted = time.monotonic() - begun
        cpu = _cpu_seconds() - usage
        drained = self._silence()
        sent = sum(sender.sent - sender.sent_at_edge for sender in self._senders.values())
        measured = messages.Window(
            started_unix=started_unix,
            duration_seconds=lasted,
            sent_packets=sent,
            unsent_packets=self._unsent,
            expected_packets=self._expected(),
            received_packets=self._received(),
            reordered_packets=sum(endpoint.reordered for endpoint in self._endpoints.values()),
            overflows=_overflows() - overflow_before,
            drain_seconds=drained,
            lateness_p99_ms=self._lateness.quantile_ms(0.99),
            lateness_max_ms=self._lateness.latest_us / 1000,
            cpu_ratio=cpu / lasted,
            delays_us=[d // 1000 for endpoint in self._endpoints.values() for d in endpoint.delays_ns],
            lateness_us=list(self._lateness.counts),
            silent_endpoints=[e.name for e in self._endpoints.values() if not e.received_packets()],
        )
        self._mark_edge()
        return measured

    def _meetings_window(self, asked: messages.Hold) -> messages.Window:
        meetings = self._meetings
        meetings.edge()
        overflow_before = _overflows()
        time.sleep(max(0.0, asked.begin_mono - time.monotonic()))
        usage, begun, started_unix = _cpu_seconds(), time.monotonic(), time.time()
        meetings.start()
        while (now := time.monotonic()) < begun + asked.seconds and now < self._ends:
            self.step()
        meetings.sending = False
        lasted = time.monotonic() - begun
        cpu = _cpu_seconds() - usage
        drained = self._silence()
        kinds, counts = meetings.kinds(), meetings.counts()
        media = [kinds[kind] for kind in ("audio", "video")]
        measured = messages.Window(
            started_unix=started_unix,
            duration_seconds=lasted,
            sent_packets=sum(kinds[kind].sent for kind in kinds),
            unsent_packets=meetings.unsent,
            expected_packets=sum(kind.expected for kind in media),
            received_packets=sum(kind.received for kind in media),
            reordered_packets=sum(kind.reordered for kind in media),
            overflows=_overflows() - overflow_before,
            drain_seconds=drained,
            lateness_p99_ms=meetings.lateness.quantile_ms(0.99),
            lateness_max_ms=meetings.lateness.latest_us / 1000,
            cpu_ratio=cpu / lasted,
            delays_us=[delay // 1000 for delay in meetings.delays_ns],
            kinds=kinds,
            meetings=counts,
            lateness_us=list(meetings.lateness.counts),
            silent_endpoints=meetings.silent(),
        )
        meetings.edge()
        return measured

    def _meetings_silence(self) -> float:
        """As ``_silence``. What the bridge sends on its own, RTCP and probes, goes on."""
        meetings = self._meetings
        meetings.sending = False
        begun = changed = time.monotonic()
        count = meetings.media_received
        while (now := time.monotonic()) - begun < MAX_DRAIN_SECONDS:
            meetings.poll(now)
            if meetings.media_received != count:
                changed, count = now, meetings.media_received
            if now - changed >= ALL_THERE_SECONDS and (now - changed >= QUIET_SECONDS or not meetings.missing()):
                break
            time.sleep(0.01)
        return time.monotonic() - begun

    def _silence(self) -> float:
        """Send nothing until nothing more arrives; how long that took."""
        if len(self._meetings):
            return self._meetings_silence()
        self._sending = False
        begun = changed = time.monotonic()
        count = self._received()
        while time.monotonic() - begun < MAX_DRAIN_SECONDS:
            for descriptor, _ in self._epoll.poll(0.01):
                if descriptor in self._by_fd:
                    self._by_fd[descriptor].read()
                elif descriptor == 0:
                    break  # read after the window; a controller that is gone is seen then
            now, current = time.monotonic(), self._received()
            if current != count:
                changed, count = now, current
            if now - changed >= self._patience_seconds(current):
                break
        return time.monotonic() - begun

    def _patience_seconds(self, received: int) -> float:
        if received >= self._expected():
            return ALL_THERE_SECONDS
        return QUIET_SECONDS if received else MAX_DRAIN_SECONDS

    def _mark_edge(self) -> None:
        """Count anew from here: what is missing now is lost, or it counts as too much later on."""
        for sender in self._senders.values():
            sender.sent_at_edge = sender.sent
        for endpoint in self._endpoints.values():
            endpoint.received_at_edge = endpoint.received_packets()

    def _expected(self) -> int:
        """What the endpoints should have received of what was sent since the last edge."""
        return sum((sender.sent - sender.sent_at_edge) * sender.receivers for sender in self._senders.values())

    def _received(self) -> int:
        """What they have received since the last edge."""
        return sum(e.received_packets() - e.received_at_edge for e in self._endpoints.values())

    def streams(self, asked: Nothing) -> messages.Streams:
        """What every endpoint sent and received so far. Ask while it is quiet."""
        if len(self._meetings):
            return self._meetings.streams()
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

    def forget(self, asked: messages.Names) -> Nothing:
        """Close endpoints."""
        for name in asked.endpoints:
            self._senders.pop(name, None)
            self._meetings.leave(name)
            self._pps_of.pop(name, None)
            endpoint = self._endpoints.pop(name, None)
            if endpoint is not None:
                if self._by_fd.pop(endpoint.socket.fileno(), None) is not None:
                    self._epoll.unregister(endpoint.socket.fileno())
                endpoint.close()
        if self._sending:
            senders = [s for s in self._senders.values() if s.endpoint.outbound is not None]
            self._slots, self._prepared = self._wheel.place(senders), []
        return Nothing()

    def close(self) -> None:
        for endpoint in self._endpoints.values():
            endpoint.close()
        self._epoll.close()


OPERATIONS = table(
    (
        Served(messages.ALIVE, Worker.alive),
        Served(messages.CLOCK, Worker.clock),
        Served(messages.OPEN, Worker.open),
        Served(messages.BEGIN, Worker.begin),
        Served(messages.CONNECT, Worker.connected),
        Served(messages.SENDERS, Worker.senders),
        Served(messages.JOIN, Worker.join),
        Served(messages.START, Worker.start),
        Served(messages.PAUSE, Worker.pause),
        Served(messages.QUIET, Worker.quiet),
        Served(messages.RESUME, Worker.resume),
        Served(messages.WINDOW, Worker.window),
        Served(messages.STREAMS, Worker.streams),
        Served(messages.CLOSE, Worker.forget),
    )
)


def _write(line: bytes) -> None:
    data = memoryview(line)
    while data:
        data = data[os.write(1, data) :]


def _overflows() -> int:
    """Packets that found a receive buffer of this network namespace full: the generator's own losses."""
    lines = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines() if line.startswith("Udp:")]
    return int(lines[1][lines[0].index("RcvbufErrors")])


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """The first request sets the worker up."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    line = b""
    while not line.endswith(b"\n") and len(line) < MAX_SET_UP_BYTES:  # byte by byte: what follows is the loop's
        byte = os.read(0, 1)
        if not byte:
            return 0
        line += byte
    asked = read_asked(line, table((Served(messages.SET_UP, lambda _, set_up: Nothing()),)))
    if isinstance(asked, Refusal):
        _write(encode(asked))
        return 1
    worker = Worker(asked.arguments)
    _write(reply(asked.id, Nothing()))
    gc.disable()  # nothing in the loop makes cycles; a collection would make packets late
    try:
        worker.run()
    except LoadError as error:
        sys.stderr.write(error.message + "\n")
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 0
    finally:
        with contextlib.suppress(OSError):
            worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
