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
from jvbtune.load.audio import Audio
from jvbtune.load.client import Client
from jvbtune.load.dtls import identity
from jvbtune.load.endpoint import Endpoint
from jvbtune.load.media import OpusSource
from jvbtune.load.meeting import Meetings
from jvbtune.load.relay import RelayPeer
from jvbtune.load.schedule import Wheel
from jvbtune.load.traffic import ALL_THERE_SECONDS, MAX_DRAIN_SECONDS, Traffic
from jvbtune.protocol import worker as messages
from jvbtune.protocol.codec import ProtocolError, Splitter, encode
from jvbtune.protocol.messages import Fault, Nothing, Refusal, refusal, reply
from jvbtune.protocol.peers import Asked, Served, read_asked, table

HOUSEKEEPING_SECONDS = 0.05
DRAIN_STEP_SECONDS = 0.01
MAX_SET_UP_BYTES = 65536


Joining = TypeVar("Joining", bound=Client)


class Worker:
    """The loop: a tick each millisecond, and whatever the sockets and the controller say in between."""

    def __init__(self, set_up: messages.SetUp) -> None:
        self._remote_address = (set_up.address, set_up.port)
        self._bind_address = set_up.bind_address
        self._max_pps = set_up.max_pps
        self._ends = time.monotonic() + set_up.lease_seconds
        self._endpoints: dict[str, Endpoint] = {}
        self._by_fd: dict[int, Endpoint] = {}
        self._epoll = select.epoll()
        self._epoll.register(0, select.EPOLLIN)
        os.set_blocking(0, False)
        self._splitter = Splitter()
        self._next_housekeeping = 0.0
        self._connecting: set[str] = set()
        self._asked_to_connect: int | None = None
        self._audio, self._meetings = Audio(self._endpoints), Meetings()
        self._pps_of: dict[str, float] = {}  #: of each client, its share of what its conference may cause

    @property
    def _traffic(self) -> Traffic:
        """What it makes: clients take part in meetings, other endpoints send audio alone."""
        return self._meetings if len(self._meetings) else self._audio

    # -- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        while time.monotonic() < self._ends:
            self.step()
        raise LoadError("its controller was silent for the lease, so it stopped sending")

    def step(self) -> None:
        """One tick: what is due, and what has come."""
        now, traffic = time.monotonic(), self._traffic
        if traffic.active:
            traffic.step(now)
            now = time.monotonic()
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
        except ProtocolError as error:
            line = refusal(asked.id, Fault("load", f"{asked.served.operation.name}: the result {error}"))
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
            self._audio.add(self._endpoints[entry.endpoint], source, entry.receivers)
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
        rate = self._audio.pps(wheel)
        if rate > self._max_pps * 1.01:
            raise LoadError(f"{rate:.0f} pps would be more than the {self._max_pps:.0f} that this worker may make")
        return messages.Started(self._audio.follow(wheel), rate)

    def pause(self, asked: Nothing) -> Nothing:
        self._audio.sending = self._meetings.sending = False
        return asked

    def quiet(self, asked: Nothing) -> messages.Quiet:
        """Stop sending until nothing more arrives: the edge of a window, where counts are exact."""
        return messages.Quiet(self._silence())

    def resume(self, asked: Nothing) -> Nothing:
        self._traffic.start()
        return asked

    def window(self, asked: messages.Hold) -> messages.Window:
        """Measure, from quiet to quiet: so that nothing in flight is counted twice or lost. Stays quiet."""
        traffic = self._traffic
        traffic.begin()
        overflows = _overflows()
        time.sleep(max(0.0, asked.begin_mono - time.monotonic()))
        usage, begun, started_unix = _cpu_seconds(), time.monotonic(), time.time()
        traffic.start()
        while (now := time.monotonic()) < begun + asked.seconds and now < self._ends:
            self.step()
        traffic.sending = False
        lasted = time.monotonic() - begun
        cpu = _cpu_seconds() - usage
        drained = self._silence()
        counted = traffic.counted()
        delays = sorted(counted.delays_us)
        measured = messages.Window(
            started_unix=started_unix,
            duration_seconds=lasted,
            sent_packets=counted.sent_packets,
            unsent_packets=traffic.unsent,
            expected_packets=counted.expected_packets,
            received_packets=counted.received_packets,
            reordered_packets=counted.reordered_packets,
            overflows=_overflows() - overflows,
            drain_seconds=drained,
            lateness_p99_ms=traffic.lateness.quantile_ms(0.99),
            lateness_max_ms=traffic.lateness.latest_us / 1000,
            cpu_ratio=cpu / lasted,
            delays_us=delays,
            delay_counts=[counted.delays_us[delay] for delay in delays],
            kinds=counted.kinds,
            meetings=counted.meetings,
            lateness_us=list(traffic.lateness.counts),
            silent_endpoints=list(counted.silent_endpoints),
        )
        traffic.edge()
        return measured

    def _silence(self) -> float:
        """Send nothing until nothing more arrives; how long that took. What a bridge sends on its own goes on."""
        traffic = self._traffic
        traffic.sending = False
        begun = changed = time.monotonic()
        count = traffic.arrived_packets
        while (now := time.monotonic()) - begun < MAX_DRAIN_SECONDS:
            traffic.poll(now)
            if traffic.arrived_packets != count:
                changed, count = now, traffic.arrived_packets
            if now - changed >= ALL_THERE_SECONDS and now - changed >= traffic.patience_seconds():
                break
            for descriptor, _ in self._epoll.poll(DRAIN_STEP_SECONDS):
                if descriptor in self._by_fd:
                    self._by_fd[descriptor].read()
                else:
                    time.sleep(DRAIN_STEP_SECONDS)  # a request: it is read after the window
        return time.monotonic() - begun

    def streams(self, asked: Nothing) -> messages.Streams:
        """What every endpoint sent and received so far. Ask while it is quiet."""
        return self._traffic.streams()

    def forget(self, asked: messages.Names) -> Nothing:
        """Close endpoints."""
        self._audio.remove(asked.endpoints)
        for name in asked.endpoints:
            self._forget(name)
        if not (self._audio.sending or self._meetings.sending):
            gc.collect()  # nothing is due; what a library left in cycles would stay for as long as the worker runs
        return Nothing()

    def _forget(self, name: str) -> None:
        self._meetings.leave(name)
        self._pps_of.pop(name, None)
        endpoint = self._endpoints.pop(name, None)
        if endpoint is not None:
            if self._by_fd.pop(endpoint.socket.fileno(), None) is not None:
                self._epoll.unregister(endpoint.socket.fileno())
            endpoint.close()

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
    # A collection makes packets late. Endpoints leave no cycles when they are closed; what libraries leave is collected
    # while nothing is sent (see forget).
    gc.disable()
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
