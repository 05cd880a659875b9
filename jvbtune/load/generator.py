"""jvbtune's own generator: workers for media, here or on other hosts; COLIBRI through the bridge's host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import JvbtuneError, LoadError
from jvbtune.hosts.base import Host
from jvbtune.interrupts import results
from jvbtune.inventory import HostEntry
from jvbtune.load.base import Edge, IntendedLoad, Mix, Offered
from jvbtune.load.colibri import Signalling, Sources
from jvbtune.load.conferences import Conferences
from jvbtune.load.participants import hear_nothing
from jvbtune.load.places import Place, open_places
from jvbtune.load.process import DEFAULT_LEASE_SECONDS
from jvbtune.load.shares import Share, shares_of
from jvbtune.load.target import media_target
from jvbtune.load.windows import Windows, merge_windows
from jvbtune.load.workers import Worker
from jvbtune.protocol import worker as messages
from jvbtune.protocol.messages import Nothing, Operation

A = TypeVar("A")
R = TypeVar("R")

#: No generator of this kind makes more: a bound where the caller sets none.
DEFAULT_MAX_PPS = 10_000_000.0
SIGNALLING_TIMEOUT_SECONDS = 20.0

#: A packet of audio alone costs a worker 5 µs of its core to send (``benchmarks/bench_load.py``), one of a meeting 3 to
#: 7 µs (``bench_sending.py``), and up to 20 µs with the kernel's way to the bridge and what is received: another worker
#: is started well before one is half busy, where the generator has another core.
SENT_PPS_PER_WORKER = 15_000.0
#: All workers begin a window at one moment, by this machine's clock: in so long, and time to tell the farthest.
START_TOGETHER_SECONDS = 0.05

#: Beyond these the generator, not the bridge, is what a trial measured.
MAX_CPU_RATIO = 0.85
MAX_LATENESS_MS = 10.0
MIN_OFFERED_RATIO = 0.99
#: Workers that begin a window farther apart than this were not in it together.
MAX_APART_MS = 250.0
#: Where so much is missing of what everybody was to get, some that get nothing at all are no fault of their set-up.
LOST_TO_ALL_RATIO = 0.1


class WorkerGenerator:
    """Makes load on one bridge, from this machine or from those of ``generator.hosts``. See ``load.base.Generator``."""

    def __init__(
        self,
        entry: HostEntry,
        host: Host,
        *,
        max_pps: float = DEFAULT_MAX_PPS,
        sent_pps_per_worker: float = SENT_PPS_PER_WORKER,
        leased: bool = False,
        refuse: Callable[[IntendedLoad], None] | None = None,
        sink: Callable[[Mix], Signalling] | None = None,
    ) -> None:
        """``leased``: somebody else calls ``keep_alive``, as long as the host is theirs; else the generator does.
        ``refuse`` raises LoadError for a load that must not be offered. ``sink``: makes the conferences that take the
        bridge's place when this machine is calibrated; it has no bridge channel."""
        self._refuse = refuse
        self._entry, self._max_pps = entry, max_pps
        self._sent_pps_per_worker = sent_pps_per_worker
        client = BridgeClient(
            host, entry.bridge.http_address, entry.bridge.http_port, timeout_seconds=SIGNALLING_TIMEOUT_SECONDS
        )
        self._conferences = Conferences(entry, client, sink)
        self._places = open_places(entry)
        self._mix: Mix | None = None
        self._workers: list[Worker] = []
        self._place_of: dict[Worker, Place] = {}
        self._lease_ends = time.monotonic() + DEFAULT_LEASE_SECONDS
        self._closed = threading.Event()
        if not leased:
            threading.Thread(target=self._keep_itself_alive, name="generator-alive", daemon=True).start()
        self._aborted: JvbtuneError | None = None

    def _keep_itself_alive(self) -> None:
        while not self._closed.wait(DEFAULT_LEASE_SECONDS / 4):
            self.keep_alive(DEFAULT_LEASE_SECONDS)

    def keep_alive(self, seconds: float) -> None:
        self._lease_ends = time.monotonic() + seconds
        for worker in list(self._workers):
            worker.keep_alive(seconds)

    def abort(self, error: JvbtuneError) -> None:
        """Also if a worker is lost: a load that lacks a share is none."""
        self._aborted = self._aborted or error
        for worker in list(self._workers):
            worker.abort(error)

    @property
    def prefix(self) -> str:
        return self._conferences.prefix

    @property
    def worker_pid(self) -> int | None:
        """The first worker's; None before there is one."""
        return self._workers[0].pid if self._workers else None

    @property
    def _remote(self) -> bool:
        return self._places[0].name is not None

    @property
    def endpoints(self) -> int:
        """How many endpoints are on the bridge now."""
        return sum(len(group.endpoints) for group in self._conferences.groups)

    @property
    def conferences(self) -> list[tuple[Signalling, dict[str, Sources]]]:
        """Those that are on the bridge now, each with what its endpoints send."""
        return [
            (one.conference, dict(zip(one.endpoints, one.sources, strict=True))) for one in self._conferences.groups
        ]

    def offer(
        self, load: IntendedLoad, duration_seconds: float, *, settle_seconds: float = 2.0, edge: Edge | None = None
    ) -> Offered:
        load.refuse_above(self._max_pps)
        if self._refuse is not None:
            self._refuse(load)
        if self._mix is not None and _endpoints_of(load.mix) != _endpoints_of(self._mix):
            self._expire(len(self._conferences))
        self._mix = load.mix
        begun = time.monotonic()
        self._expire(len(self._conferences) - load.conferences)
        missing = load.conferences - len(self._conferences)
        self._conferences.add(missing, load.mix, machines=len(self._places), worker_for=self._worker_for)
        set_up_seconds = time.monotonic() - begun
        self._all(messages.START, messages.Start(load.mix.stream_pps, load.mix.burst_packets))
        for number, worker in enumerate(self._workers):
            worker.check_alive(settle_seconds if number == 0 else 0.0)
        self._all(messages.QUIET, Nothing())
        if self._remote:
            self._each(lambda worker: worker.measure_clock())
        edges = [edge()] if edge is not None else []
        far = max(worker.clock.uncertainty for worker in self._workers)
        begin = time.monotonic() + START_TOGETHER_SECONDS + 4 * far
        windows = self._each(lambda worker: _hold(worker, duration_seconds, begin))
        edges += [edge()] if edge is not None else []
        self._all(messages.RESUME, Nothing())
        hosts = [worker.place or "" for worker in self._workers]
        shares = shares_of(self._workers, windows) if self._remote else []
        return self._offered(load, merge_windows(windows, hosts), edges, set_up_seconds, shares)

    def streams(self) -> list[messages.Streams]:
        """What each worker's endpoints sent and received since they were opened, stream by stream. For ``edge``: it is
        exact while nothing is sent or in flight."""
        return self._all(messages.STREAMS, Nothing())

    def stop(self) -> None:
        """Expire all conferences; the workers stay for the next offer."""
        self._expire(len(self._conferences))
        self._all(messages.PAUSE, Nothing())

    def _expire(self, count: int) -> None:
        self._conferences.expire(count, self._workers)

    def close(self) -> None:
        self._closed.set()
        try:
            self._conferences.expire(len(self._conferences), self._workers, best_effort=True)
        finally:
            for worker in self._workers:
                worker.close()
            self._workers = []
            for place in self._places:
                place.close()

    def __enter__(self) -> WorkerGenerator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the worker ---------------------------------------------------------------------------------------------

    def _worker_for(self, sent_pps: float) -> Worker:
        """The worker that sends least; a new one if a machine has none yet, or if that one would send too much and
        there is a core for another."""
        sends = dict.fromkeys(self._workers, 0.0)
        for group in self._conferences.groups:
            assert self._mix is not None
            sends[group.worker] += self._mix.sent_pps()
        runs = [(list(self._place_of.values()).count(place), place) for place in self._places]
        workers, place = min(runs, key=lambda one: one[0])
        if workers == 0:
            return self._start(place)
        least = min(self._workers, key=sends.__getitem__)
        full = sends[least] > 0 and sends[least] + sent_pps > self._sent_pps_per_worker
        free = [(workers, place) for workers, place in runs if workers < place.max_workers]
        return self._start(min(free, key=lambda one: one[0])[1]) if full and free else least

    def _start(self, place: Place) -> Worker:
        if self._aborted is not None:
            raise self._aborted
        lease = max(0.0, self._lease_ends - time.monotonic())
        worker = place.start(media_target(self._entry), self._max_pps, lease, self.abort)
        self._place_of[worker] = place
        self._workers.append(worker)
        if self._aborted is not None:  # in between
            worker.abort(self._aborted)
        return worker

    def _all(self, operation: Operation[A, R], arguments: A, timeout_seconds: float = 30.0) -> list[R]:
        """The same request to every worker at once; their answers. Raises LoadError."""
        return self._each(lambda worker: worker.call(operation, arguments, timeout_seconds))

    def _each(self, ask: Callable[[Worker], R]) -> list[R]:
        """Of every worker at once. Raises LoadError."""
        if len(self._workers) == 1:
            return [ask(self._workers[0])]
        with ThreadPoolExecutor(max(1, len(self._workers))) as pool:
            asked = [pool.submit(ask, worker) for worker in self._workers]
            try:
                return results(asked)
            except KeyboardInterrupt:
                for worker in self._workers:
                    worker.abort(LoadError("interrupted"))
                raise

    def _offered(
        self, load: IntendedLoad, seen: Windows, edges: list[Any], set_up_seconds: float, shares: list[Share]
    ) -> Offered:
        sent, expected, received = seen.sent_packets, seen.expected_packets, seen.received_packets
        because = []
        if seen.cpu_ratio > MAX_CPU_RATIO:
            because.append(f"its CPU is at {seen.cpu_ratio:.0%} of a core")
        if load.mix.burst_packets == 1 and seen.lateness_p99_ms > MAX_LATENESS_MS:
            because.append(f"it was {seen.lateness_p99_ms:.1f} ms late (p99)")
        if seen.workers_apart_ms > MAX_APART_MS:
            because.append(f"its workers began {seen.workers_apart_ms:.0f} ms apart")
        if seen.overflows:
            because.append(f"its own sockets overflowed {seen.overflows} times")
        if received > expected:
            because.append(f"{received - expected} packets of before the window arrived in it")
        if seen.unsent_packets:
            because.append(f"the kernel did not take {seen.unsent_packets} of its packets")
        groups = self._conferences.groups
        nothing = [n for group in groups for n in hear_nothing(group.endpoints, group.sources, group.behind)]
        silent = sorted(set(seen.silent_endpoints) - set(nothing))
        if silent and not _lost_to_all(len(silent), self.endpoints, expected, received):
            because.append(f"first packet: {len(silent)} endpoints never got any media, {', '.join(silent[:3])} first")
        if seen.meetings is not None and seen.meetings.channels_closed:
            because.append(f"channel: the bridge closed {seen.meetings.channels_closed} of them")
        exact = load.mix.burst_packets == 1 and not load.mix.meeting  # else the bridge decides how much it forwards
        if seen.offered_pps < MIN_OFFERED_RATIO * load.packet_rate_pps and exact:
            because.append(f"it offered {seen.offered_pps:.0f} of {load.packet_rate_pps:.0f} pps")
        return Offered(
            intended_pps=load.packet_rate_pps,
            offered_pps=seen.offered_pps,
            sent_packets=sent,
            expected_packets=expected,
            received_packets=received,
            loss_ratio=max(0.0, 1 - received / expected) if expected else 0.0,
            reordered_packets=seen.reordered_packets,
            delay_ms=seen.delay_ms,
            delayed_50ms_ratio=seen.delayed_50ms_ratio,
            duration_seconds=seen.duration_seconds,
            lateness_p99_ms=seen.lateness_p99_ms,
            cpu_ratio=seen.cpu_ratio,
            endpoints=self.endpoints,
            generator_limited=bool(because),
            generator_limited_because=tuple(because),
            started_unix=seen.started_unix,
            extra={
                **_plain(seen),
                "edges": edges,
                "set_up_seconds": set_up_seconds,
                "hosts": [vars(share) for share in shares],
            },
        )


def _lost_to_all(silent: int, endpoints: int, expected: int, received: int) -> bool:
    """Whether some heard nothing because everybody lost packets: of what the others were to get a tenth is missing too.
    Bursts are sent in one order, so that a buffer that overflows takes the same ones' packets each time."""
    others = expected * (1 - silent / endpoints) if endpoints > silent else 0.0
    return received < (1 - LOST_TO_ALL_RATIO) * others


def _hold(worker: Worker, seconds: float, begin: float) -> messages.Window:
    """A worker's window, which begins at ``begin`` of this machine's clock, told by this machine's clock."""
    window = worker.call(messages.WINDOW, messages.Hold(seconds, begin + worker.clock.mono), seconds + 30)
    return replace(window, started_unix=window.started_unix - worker.clock.unix)


def _plain(seen: Windows) -> dict[str, Any]:
    """To be kept raw."""
    kinds = {name: vars(counts) for name, counts in seen.kinds.items()}
    return {**vars(seen), "kinds": kinds, "meetings": vars(seen.meetings) if seen.meetings else None}


def _endpoints_of(mix: Mix) -> Mix:
    """What of a mix its endpoints depend on: conferences of another one are set up again."""
    plain = mix.video is None and mix.remote is None
    return replace(mix, burst_packets=1 if plain else min(2, mix.burst_packets))
