"""The conferences of one generator on a bridge: set up by COLIBRI and by workers, of which one has each; expired."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import quote

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeError, JvbtuneError, LoadError
from jvbtune.inventory import HostEntry
from jvbtune.load.base import Mix
from jvbtune.load.colibri import PATH as COLIBRI_PATH
from jvbtune.load.colibri import Answer, Conference, LocalTransport, Signalling, Sources
from jvbtune.load.participants import Behind, participants, peer, sources_behind, sources_of
from jvbtune.load.target import channel_target, refuse_elsewhere
from jvbtune.load.workers import Worker
from jvbtune.protocol import worker as messages

#: A bridge that was just started needs seconds for its first DTLS handshakes.
CONNECT_TIMEOUT_SECONDS = 25.0
PARALLEL_REQUESTS = 8
#: Endpoints that are connected at once: more would make the handshakes time out on a cold bridge.
BATCH_CONFERENCES = 10
ATTEMPTS = 3
#: Of numbers so many that are missing in a row mean that there are no more: they run on over all restarts of a bridge.
MISSING_IN_A_ROW = 1000


@dataclass(frozen=True)
class Group:
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


class Conferences:
    """Those that are on the bridge now. ``sink``: makes those that take a bridge's place; it has no bridge channel."""

    def __init__(self, entry: HostEntry, client: BridgeClient, sink: Callable[[Mix], Signalling] | None) -> None:
        self._entry, self._client, self._sink = entry, client, sink
        self.prefix = f"jvbtune-{secrets.token_hex(4)}"  #: of their meeting ids
        self._numbers = itertools.count()
        self._groups: list[Group] = []

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def groups(self) -> Sequence[Group]:
        return self._groups

    def add(self, count: int, mix: Mix, *, machines: int, worker_for: Callable[[float], Worker]) -> None:
        """As fast as the bridge takes them, or a conference at a time at the mix's mean rate of joins. So many
        ``machines`` share even a small load. ``worker_for``: the one that can send so many packets a second more."""
        begun, joined = time.monotonic(), 0
        while count > 0:
            batch = min(-(-count // machines), BATCH_CONFERENCES) if not mix.joins_per_second else 1
            worker = worker_for(batch * mix.sent_pps())
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

    def _new_group(self, mix: Mix, worker: Worker) -> Group:
        number = next(self._numbers)
        sources, remote = sources_of(mix), sources_behind(mix)
        behind = Behind(f"jvbtune-{_name()}", tuple(_name() for _ in remote), remote) if remote else None
        conference: Signalling = Conference(self._client, f"{self.prefix}-{number}")
        if self._sink is not None:
            conference = self._sink(mix)
        return Group(worker, number, conference, tuple(_name() for _ in sources), sources, behind)

    def _connect(self, groups: Sequence[Group], mix: Mix, worker: Worker) -> list[str]:
        """Open, signal, connect. Groups of which all endpoints are connected are kept; why others are not."""
        failures: list[str] = []
        signalled = self._signal(groups, worker, failures)
        if not signalled:
            for group in groups:
                self._drop(group)
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

    def _signal(self, groups: Sequence[Group], worker: Worker, failures: list[str]) -> set[str]:
        """Signal all endpoints, and begin to connect each at once; those that were signalled."""
        names = [name for group in groups for name in group.ends]
        clients = any(sources.clients for group in groups for sources in group.sources)
        relays = [name for group in groups for name in group.relays]
        opened = worker.call(messages.OPEN, messages.Open(names, clients, relays))
        signalled: set[str] = set()

        def signal(group: Group) -> None:
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

    def _introduce(self, group: Group, index: int, transport: LocalTransport) -> Answer:
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

    def _drop(self, group: Group) -> None:
        group.worker.call(messages.CLOSE, messages.Names(group.ends))
        try:
            group.conference.expire()
        except BridgeError:
            pass  # it expires by itself once nothing arrives any more

    def _forget(self, groups: Sequence[Group]) -> None:
        """What was signalled is gone from the bridge at once, though the worker may have ended."""
        for group in groups:
            if group in self._groups:
                self._groups.remove(group)
            with contextlib.suppress(JvbtuneError):
                group.conference.expire()

    def expire(self, count: int, workers: Sequence[Worker], *, best_effort: bool = False) -> None:
        """So many, of those workers that have most."""
        going = _from_the_fullest(self._groups, count)
        self._groups = [group for group in self._groups if group not in going]
        if not going:
            return
        failed: JvbtuneError | None = None
        for worker in workers:
            try:
                names = [name for group in going if group.worker is worker for name in group.ends]
                worker.call(messages.CLOSE, messages.Names(names))
            except JvbtuneError as error:
                failed = error  # the bridge is told all the same

        def expire(group: Group) -> None:
            try:
                group.conference.expire()
            except BridgeError:
                pass  # a bridge that is down, or restarts, has lost them anyway

        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            list(pool.map(expire, going))
        if failed is not None and not best_effort:
            raise failed


def _from_the_fullest(groups: Sequence[Group], count: int) -> list[Group]:
    """So many of them, so that the shares of the workers stay as equal as they were."""
    shares: dict[Worker, list[Group]] = {}
    for group in groups:
        shares.setdefault(group.worker, []).append(group)
    return [max(shares.values(), key=len).pop() for _ in range(min(count, len(groups)))]


def _name() -> str:
    """An id as Jicofo's: 8 hexadecimal digits."""
    return f"{secrets.randbits(32):08x}"


def expire_leftover(client: BridgeClient, prefix: str) -> int:
    """Expire the conferences that a killed generator left on the bridge; how many.

    Meeting ids are the prefix and a running number; a bridge forgets such conferences by itself only after a minute.
    """
    listed = _meeting_ids(client)
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:

        def expire(meeting_ids: Iterable[str]) -> int:
            return sum(pool.map(lambda one: _expire(client, one), meeting_ids))

        if listed is not None:
            return expire(one for one in listed if one.startswith(f"{prefix}-"))
        expired = misses = number = 0
        while misses < MISSING_IN_A_ROW:
            found = expire(f"{prefix}-{number + ahead}" for ahead in range(PARALLEL_REQUESTS))
            misses = 0 if found else misses + PARALLEL_REQUESTS
            expired += found
            number += PARALLEL_REQUESTS
        return expired


def _expire(client: BridgeClient, meeting_id: str) -> bool:
    """Whether there was such a conference."""
    status, _ = client.raw("PATCH", COLIBRI_PATH + quote(meeting_id, safe=""), {"expire": True})
    return status == 200


def _meeting_ids(client: BridgeClient) -> list[str] | None:
    """Of all conferences on the bridge; None if it does not list them (``videobridge.rest.debug.enabled = false``)."""
    try:
        status, answer = client.raw("GET", "/debug")
        conferences = json.loads(answer).get("conferences") if status == 200 else None
        return [str(one.get("meeting_id", "")) for one in conferences.values()] if conferences is not None else None
    except (BridgeError, ValueError, RecursionError, AttributeError):  # no answer, a page of a proxy, another form
        return None
