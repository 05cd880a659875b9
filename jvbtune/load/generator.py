"""jvbtune's own generator: workers for media, here or on other hosts; COLIBRI through the bridge's host."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeVar

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeError, JvbtuneError, LoadError
from jvbtune.hosts.base import Host
from jvbtune.interrupts import results
from jvbtune.inventory import HostEntry
from jvbtune.load.base import Edge, IntendedLoad, Mix, Offered
from jvbtune.load.colibri import PATH as COLIBRI_PATH
from jvbtune.load.colibri import Answer, Conference, LocalTransport, Signalling, Sources
from jvbtune.load.participants import Behind, hear_nothing, participants, peer, sources_behind, sources_of
from jvbtune.load.places import Place, open_places
from jvbtune.load.process import DEFAULT_LEASE_SECONDS
from jvbtune.load.shares import Share, shares_of
from jvbtune.load.target import channel_target, media_target, refuse_elsewhere
from jvbtune.load.windows import Windows, merge_windows
from jvbtune.load.workers import Worker
from jvbtune.protocol import worker as messages
from jvbtune.protocol.messages import Nothing, Operation

A = TypeVar("A")
R = TypeVar("R")

#: No generator of this kind makes more: a bound where the caller sets none.
DEFAULT_MAX_PPS = 10_000_000.0
#: A bridge that was just started needs seconds for its first DTLS handshakes.
CONNECT_TIMEOUT_SECONDS = 25.0
SIGNALLING_TIMEOUT_SECONDS = 20.0
PARALLEL_REQUESTS = 8
#: Endpoints that are connected at once: more would make the handshakes time out on a cold bridge.
BATCH_CONFERENCES = 10
ATTEMPTS = 3
#: Of numbers that are missing in a row this many mean that there are no more.
MAX_CONFERENCES_AT_ONCE = 300

#: A packet costs a worker 5 µs of its core to send (``benchmarks/bench_load.py``), and up to 20 µs with the loop, the
#: kernel's way to the bridge and what is received: another worker is started well before one is half busy, where the
#: generator has another core.
SENT_PPS_PER_WORKER = 15_000.0
#: All workers begin a window at one moment, by this machine's clock: in so long, and time to tell the farthest.
START_TOGETHER_SECONDS = 0.05

#: Beyond these the generator, not the bridge, is what a trial measured.
MAX_CPU_RATIO = 0.85
MAX_LATENESS_MS = 10.0
MIN_OFFERED_RATIO = 0.99
#: Workers that begin a window farther apart than this were not in it together.
MAX_APART_MS = 250.0


@dataclass(frozen=True)
class _Group:
    """A conference with its endpoints' names; the first ones send. One worker has all of it."""

    worker: Worker
    number: int
    conference: Signalling
    endpoints: tuple[str, ...]
    sources: tuple[Sources, ...]
    behind: Behind | None = None  #: a relay, and who is at its other end

    @property
    def relays(self) -> list[str]:
        return [self.behind.relay] if self.behind is not None else []

    @property
    def ends(self) -> list[str]:
        """What the worker has of it: the endpoints, and the bridge at the other end of the relay."""
        return [*self.endpoints, *self.relays]


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
        self._refuse, self._sink = refuse, sink
        self._entry, self._max_pps = entry, max_pps
        self._sent_pps_per_worker = sent_pps_per_worker
        self._client = BridgeClient(
            host, entry.bridge.http_address, entry.bridge.http_port, timeout_seconds=SIGNALLING_TIMEOUT_SECONDS
        )
        self._places = open_places(entry)
        self._prefix = f"jvbtune-{secrets.token_hex(4)}"  #: of its conferences' meeting ids
        self._numbers = itertools.count()
        self._groups: list[_Group] = []
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
        return self._prefix

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
        return sum(len(group.endpoints) for group in self._groups)

    @property
    def conferences(self) -> list[tuple[Signalling, dict[str, Sources]]]:
        """Those that are on the bridge now, each with what its endpoints send."""
        return [(one.conference, dict(zip(one.endpoints, one.sources, strict=True))) for one in self._groups]

    def offer(
        self, load: IntendedLoad, duration_seconds: float, *, settle_seconds: float = 2.0, edge: Edge | None = None
    ) -> Offered:
        load.refuse_above(self._max_pps)
        if self._refuse is not None:
            self._refuse(load)
        if self._mix is not None and _endpoints_of(load.mix) != _endpoints_of(self._mix):
            self._expire(len(self._groups))
        self._mix = load.mix
        begun = time.monotonic()
        self._expire(len(self._groups) - load.conferences)
        self._add(load.conferences - len(self._groups), load.mix)
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
        self._expire(len(self._groups))
        self._all(messages.PAUSE, Nothing())

    def close(self) -> None:
        self._closed.set()
        try:
            self._expire(len(self._groups), best_effort=True)
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

    # -- conferences --------------------------------------------------------------------------------------------

    def _add(self, count: int, mix: Mix) -> None:
        """As fast as the bridge takes them, or a conference at a time at the mix's mean rate of joins."""
        begun, joined = time.monotonic(), 0
        while count > 0:
            each = -(-count // len(self._places))  # several machines share even a small load
            batch = min(each, BATCH_CONFERENCES) if not mix.joins_per_second else 1
            worker = self._worker_for(batch * mix.sent_pps())
            self._add_batch(batch, mix, worker)
            count -= batch
            joined += batch * mix.participants
            if mix.joins_per_second:
                worker.check_alive(max(0.0, begun + joined / mix.joins_per_second - time.monotonic()))

    def _add_batch(self, count: int, mix: Mix, worker: Worker) -> None:
        """Set up whole conferences; one that fails is expired and tried anew."""
        failures: list[str] = []
        missing = count
        for _ in range(ATTEMPTS):
            groups = [self._new_group(mix, worker) for _ in range(missing)]
            try:
                failures = self._connect(groups, mix, worker)
            except BaseException:
                self._forget(groups)
                raise
            if not failures:
                return
            missing = count - sum(group in self._groups for group in groups)
            count = missing
        raise LoadError(
            f"{self._entry.name}: {missing} conferences could not be set up: {'; '.join(failures[:3])}",
            hint="Does the bridge's media port answer from here? See bridge.media_address in jvbtune.toml.",
        )

    def _new_group(self, mix: Mix, worker: Worker) -> _Group:
        number = next(self._numbers)
        sources, remote = sources_of(mix), sources_behind(mix)
        behind = Behind(f"jvbtune-{_name()}", tuple(_name() for _ in remote), remote) if remote else None
        conference: Signalling = Conference(self._client, f"{self._prefix}-{number}")
        if self._sink is not None:
            conference = self._sink(mix)
        return _Group(worker, number, conference, tuple(_name() for _ in sources), sources, behind)

    def _connect(self, groups: Sequence[_Group], mix: Mix, worker: Worker) -> list[str]:
        """Open, signal, connect. Groups of which all endpoints are connected are kept; why others are not."""
        failures: list[str] = []
        signalled = self._signal(groups, worker, failures)
        if not signalled:
            return failures or ["no endpoint was signalled"]
        connect = messages.Connect(sorted(signalled), CONNECT_TIMEOUT_SECONDS)
        failed = worker.call(messages.CONNECT, connect, CONNECT_TIMEOUT_SECONDS + 10).failed
        for group in groups:
            bad = [name for name in group.ends if name not in signalled or name in failed]
            if bad:
                failures += [f"{name}: {failed.get(name, 'not signalled')}" for name in bad]
                self._drop(group)
                continue
            self._groups.append(group)
            if mix.meeting:
                members, seed, behind = (group.endpoints, group.sources), group.number, group.behind
                asked = participants(mix, *members, seed=seed, behind=behind, channel=self._sink is None)
                peers = [peer(mix, *members, behind, seed=seed)] if behind is not None else []
                worker.call(messages.JOIN, messages.Participants(asked, mix.packet_rate_pps(), peers))
                continue
            receivers = len(group.endpoints) - 1
            senders = [
                messages.SenderOf(name, sources.audio, mix.stream_pps, mix.payload_bytes, receivers)
                for name, sources in zip(group.endpoints, group.sources, strict=True)
                if sources.audio is not None
            ]
            worker.call(messages.SENDERS, messages.Senders(senders))
        return failures

    def _signal(self, groups: Sequence[_Group], worker: Worker, failures: list[str]) -> set[str]:
        """Signal all endpoints, and begin to connect each at once; those that were signalled."""
        names = [name for group in groups for name in group.ends]
        clients = any(sources.clients for group in groups for sources in group.sources)
        relays = [name for group in groups for name in group.relays]
        opened = worker.call(messages.OPEN, messages.Open(names, clients, relays))
        signalled: set[str] = set()

        def signal(group: _Group) -> None:
            for index, name in enumerate(group.ends):
                own = opened.endpoints[name]
                transport = LocalTransport(own.ufrag, own.password, own.ip, own.port, opened.fingerprint)
                try:
                    answer = self._introduce(group, index, transport)
                except JvbtuneError as error:
                    failures.append(f"{name}: signalling: {error.message}")
                    return
                remote = self._allowed(answer, worker, clients)
                worker.call(messages.BEGIN, messages.Begin({name: remote}, CONNECT_TIMEOUT_SECONDS))
                signalled.add(name)

        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            list(pool.map(signal, groups))
        return signalled

    def _introduce(self, group: _Group, index: int, transport: LocalTransport) -> Answer:
        """One of the conference's ends, the relay as the last."""
        if index < len(group.endpoints):
            return group.conference.add(group.endpoints[index], transport, group.sources[index])
        behind = group.behind
        assert behind is not None
        assert isinstance(group.conference, Conference), "a sink takes no relays"
        remote = dict(zip(behind.endpoints, behind.sources, strict=True))
        return group.conference.add_relay(behind.relay, transport, remote)

    def _allowed(self, answer: Answer, worker: Worker, clients: bool) -> messages.Remote:
        """The bridge's end, if the inventory allows load where it takes media. Raises LoadError."""
        refuse_elsewhere(self._entry.name, worker.remote, answer.candidates)
        if not clients or self._sink is not None:
            return answer.remote
        return replace(answer.remote, channel=channel_target(self._entry, answer.channels))

    def _drop(self, group: _Group) -> None:
        group.worker.call(messages.CLOSE, messages.Names(group.ends))
        try:
            group.conference.expire()
        except BridgeError:
            pass  # it expires by itself once nothing arrives any more

    def _forget(self, groups: Sequence[_Group]) -> None:
        """What was signalled is gone from the bridge at once, though the worker may have ended."""
        for group in groups:
            if group in self._groups:
                self._groups.remove(group)
            with contextlib.suppress(JvbtuneError):
                group.conference.expire()

    def _expire(self, count: int, *, best_effort: bool = False) -> None:
        going = _from_the_fullest(self._groups, count)
        self._groups = [group for group in self._groups if group not in going]
        if not going:
            return
        for worker in self._workers:
            try:
                names = [name for group in going if group.worker is worker for name in group.ends]
                worker.call(messages.CLOSE, messages.Names(names))
            except JvbtuneError:
                if not best_effort:
                    raise

        def expire(group: _Group) -> None:
            try:
                group.conference.expire()
            except BridgeError:
                pass  # a bridge that is down, or restarts, has lost them anyway

        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            list(pool.map(expire, going))

    # -- the worker ---------------------------------------------------------------------------------------------

    def _worker_for(self, sent_pps: float) -> Worker:
        """The worker that sends least; a new one if a machine has none yet, or if that one would send too much and
        there is a core for another."""
        sends = dict.fromkeys(self._workers, 0.0)
        for group in self._groups:
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
        nothing = [n for group in self._groups for n in hear_nothing(group.endpoints, group.sources, group.behind)]
        silent = sorted(set(seen.silent_endpoints) - set(nothing))
        if silent:
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


def _from_the_fullest(groups: Sequence[_Group], count: int) -> list[_Group]:
    """So many of them, so that the shares of the workers stay as equal as they were."""
    shares: dict[Worker, list[_Group]] = {}
    for group in groups:
        shares.setdefault(group.worker, []).append(group)
    return [max(shares.values(), key=len).pop() for _ in range(min(count, len(groups)))]


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


def _name() -> str:
    """An id as Jicofo's: 8 hexadecimal digits."""
    return f"{secrets.randbits(32):08x}"


def expire_leftover(client: BridgeClient, prefix: str) -> int:
    """Expire the conferences that a killed generator left on the bridge; how many.

    Meeting ids are the prefix and a running number; a bridge forgets such conferences by itself only after a minute.
    """
    expired = misses = number = 0
    while misses < MAX_CONFERENCES_AT_ONCE:
        status, _ = client.raw("PATCH", f"{COLIBRI_PATH}{prefix}-{number}", {"expire": True})
        misses = 0 if status == 200 else misses + 1
        expired += status == 200
        number += 1
    return expired
