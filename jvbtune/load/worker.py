"""The generator's process: endpoints, schedule, counts. ``python -m jvbtune.load.worker``.

Newline-delimited JSON on standard input and output, like the agent's. It ends at once when its input ends (the
controller is gone), after ``max_seconds``, and it sends to one address only, which it is told at the start.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import sys
import time
from pathlib import Path
from typing import Any

from jvbtune.errors import LoadError
from jvbtune.load.dtls import identity
from jvbtune.load.endpoint import Endpoint, Remote
from jvbtune.load.media import OpusSource
from jvbtune.load.schedule import Wheel
from jvbtune.load.sockets import Batch

CONNECT_TIMEOUT_SECONDS = 20.0
HOUSEKEEPING_SECONDS = 0.05
#: Quiet for this long after the last packet: nothing is in flight any more, though packets are missing. A JVM that
#: collects garbage or compiles stands still for longer than one thinks.
QUIET_SECONDS = 0.6
#: Where every packet has arrived, there is nothing to wait for but duplicates.
ALL_THERE_SECONDS = 0.05
#: Where none has, the path is not open yet: a JVM may load and compile for seconds when the first packet comes.
MAX_DRAIN_SECONDS = 10.0


class Sender:
    """An endpoint's stream. ``sent_at_edge``: of ``sent``, what was sent before the last edge of a window."""

    __slots__ = ("endpoint", "receivers", "sent", "sent_at_edge", "source")

    def __init__(self, endpoint: Endpoint, source: OpusSource, receivers: int) -> None:
        self.endpoint, self.source, self.receivers = endpoint, source, receivers
        self.sent = self.sent_at_edge = 0


class Worker:
    """The loop: a tick each millisecond, and whatever the sockets and the controller say in between."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._remote_address = (str(arguments["address"]), int(arguments["port"]))
        self._bind_address = arguments.get("bind_address")
        self._max_pps = float(arguments["max_pps"])
        self._ends = time.monotonic() + float(arguments["max_seconds"])
        self._endpoints: dict[str, Endpoint] = {}
        self._senders: dict[str, Sender] = {}
        self._by_fd: dict[int, Endpoint] = {}
        self._epoll = select.epoll()
        self._epoll.register(0, select.EPOLLIN)
        os.set_blocking(0, False)
        self._pending = b""
        self._wheel = Wheel.of(50.0, 1)
        self._slots: list[list[Sender]] = []
        self._prepared: list[Batch] = []
        self._sending = False
        self._tick = 0
        self._next_tick = 0.0
        self._next_housekeeping = 0.0
        self._lateness: list[float] = []
        self._unsent = 0
        self._connecting: set[str] = set()
        self._connect_answer: int | None = None

    # -- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        while time.monotonic() < self._ends:
            self.step()
        raise LoadError("the load's time is up")

    def step(self) -> None:
        """One tick: sleep until it is due, send, read what has come."""
        now = time.monotonic()
        if self._sending:
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
            self._lateness.append(now - self._next_tick)
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
            endpoint.tick(now)
        if self._connecting:
            done = {n for n in self._connecting if self._endpoints[n].state in ("connected", "failed")}
            self._connecting -= done
            if not self._connecting and self._connect_answer is not None:
                failed = {n: e.why for n, e in self._endpoints.items() if e.state == "failed"}
                self._answer(self._connect_answer, {"failed": failed})
                self._connect_answer = None

    # -- what the controller asks -------------------------------------------------------------------------------

    def _read_requests(self) -> None:
        try:
            data = os.read(0, 1 << 20)
        except BlockingIOError:
            return
        if not data:
            raise SystemExit(0)
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            try:
                result = getattr(self, "do_" + request["op"])(request["id"], **request.get("args", {}))
            except (LoadError, OSError) as error:
                self._write({"id": request["id"], "ok": False, "error": str(error)})
                continue
            if result is not None:
                self._answer(request["id"], result)

    def do_open(self, number: int, endpoints: list[str]) -> dict[str, Any]:
        """Sockets and credentials of new endpoints."""
        opened = {}
        for name in endpoints:
            endpoint = Endpoint(name, self._bind_address, self._remote_address)
            self._endpoints[name] = endpoint
            self._by_fd[endpoint.socket.fileno()] = endpoint
            self._epoll.register(endpoint.socket.fileno(), select.EPOLLIN)
            opened[name] = {
                "ufrag": endpoint.ufrag,
                "password": endpoint.password,
                "ip": endpoint.address[0],
                "port": endpoint.address[1],
            }
        return {"endpoints": opened, "fingerprint": identity().fingerprint}

    def do_connect(self, number: int, endpoints: dict[str, dict[str, str]], within_seconds: float) -> None:
        """ICE and DTLS with what the bridge signalled; answered when all are connected or failed."""
        for name, remote in endpoints.items():
            self._endpoints[name].connect(Remote(**remote), within_seconds)
        self._connecting |= set(endpoints)
        self._connect_answer = number

    def do_senders(self, number: int, senders: list[dict[str, Any]]) -> dict[str, Any]:
        """Which endpoints send: ``endpoint, ssrc, stream_pps, payload_bytes, receivers``."""
        for entry in senders:
            source = OpusSource(
                int(entry["ssrc"]), stream_pps=float(entry["stream_pps"]), payload_bytes=int(entry["payload_bytes"])
            )
            endpoint = self._endpoints[entry["endpoint"]]
            self._senders[endpoint.name] = Sender(endpoint, source, int(entry["receivers"]))
        return {}

    def do_start(self, number: int, stream_pps: float, burst_packets: int) -> dict[str, Any]:
        """Send, with all connected senders. A running schedule is replaced."""
        wheel = Wheel.of(stream_pps, burst_packets)
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
        return {"senders": len(senders), "pps": rate}

    def do_pause(self, number: int) -> dict[str, Any]:
        self._sending = False
        return {}

    def do_quiet(self, number: int) -> dict[str, Any]:
        """Stop sending until nothing more arrives: the edge of a window, where counts are exact."""
        return {"drain_seconds": self._silence()}

    def do_resume(self, number: int) -> dict[str, Any]:
        self._next_tick, self._sending = time.monotonic(), True
        return {}

    def do_window(self, number: int, seconds: float, begin_mono: float) -> dict[str, Any]:
        """Measure, from quiet to quiet: so that nothing in flight is counted twice or lost. Stays quiet.

        ``begin_mono``: when to begin, so that several workers do it together.
        """
        for endpoint in self._endpoints.values():
            endpoint.delays_ns.clear()
            endpoint.reordered = 0
        self._mark_edge()
        overflow_before = _overflows()
        self._lateness, self._unsent = [], 0
        time.sleep(max(0.0, begin_mono - time.monotonic()))
        usage = _cpu_seconds()
        self._next_tick = begun = time.monotonic()
        started_unix = time.time()
        self._tick, self._prepared, self._sending = 0, [], True
        ends = begun + seconds
        while time.monotonic() < ends and time.monotonic() < self._ends:
            self.step()
        self._sending = False
        lasted = time.monotonic() - begun
        cpu = _cpu_seconds() - usage
        drained = self._silence()
        sent = sum(sender.sent - sender.sent_at_edge for sender in self._senders.values())
        measured = {
            "started_unix": started_unix,
            "duration_seconds": lasted,
            "sent_packets": sent,
            "unsent_packets": self._unsent,
            "expected_packets": self._expected(),
            "received_packets": self._received(),
            "reordered_packets": sum(endpoint.reordered for endpoint in self._endpoints.values()),
            "overflows": _overflows() - overflow_before,
            "drain_seconds": drained,
            "lateness_p99_ms": _quantile(sorted(self._lateness), 0.99) * 1000,
            "lateness_max_ms": max(self._lateness, default=0.0) * 1000,
            "cpu_ratio": cpu / lasted,
            "delays_us": [d // 1000 for endpoint in self._endpoints.values() for d in endpoint.delays_ns],
        }
        self._mark_edge()
        return measured

    def _silence(self) -> float:
        """Send nothing until nothing more arrives; how long that took."""
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

    def do_close(self, number: int, endpoints: list[str]) -> dict[str, Any]:
        for name in endpoints:
            self._senders.pop(name, None)
            endpoint = self._endpoints.pop(name, None)
            if endpoint is not None:
                del self._by_fd[endpoint.socket.fileno()]
                self._epoll.unregister(endpoint.socket.fileno())
                endpoint.close()
        if self._sending:
            senders = [s for s in self._senders.values() if s.endpoint.outbound is not None]
            self._slots, self._prepared = self._wheel.place(senders), []
        return {}

    def _answer(self, number: int, result: dict[str, Any]) -> None:
        self._write({"id": number, "ok": True, "result": result})

    def _write(self, message: dict[str, Any]) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(1, data) :]

    def close(self) -> None:
        for endpoint in self._endpoints.values():
            endpoint.close()
        self._epoll.close()


def _overflows() -> int:
    """Packets that found a receive buffer of this network namespace full: the generator's own losses."""
    lines = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines() if line.startswith("Udp:")]
    return int(lines[1][lines[0].index("RcvbufErrors")])


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _quantile(ordered: list[float], share: float) -> float:
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))]) if ordered else 0.0


def main() -> int:
    """The first line of input is the worker's arguments."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    line = b""
    while not line.endswith(b"\n"):  # a byte at a time: what follows belongs to the loop
        byte = os.read(0, 1)
        if not byte:
            return 0
        line += byte
    worker = Worker(json.loads(line))
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
