"""The generator of this machine: worker processes for media, COLIBRI through the host for signalling."""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeError, JvbtuneError, LoadError
from jvbtune.hosts.base import Host
from jvbtune.inventory import HostEntry
from jvbtune.load.base import Edge, IntendedLoad, Mix, Offered
from jvbtune.load.colibri import PATH as COLIBRI_PATH
from jvbtune.load.colibri import Answer, Conference, LocalTransport
from jvbtune.load.process import WorkerProcess
from jvbtune.load.target import media_target
from jvbtune.load.windows import merge_windows

DEFAULT_MAX_PPS = 250_000.0
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
MAX_WORKERS = 16
#: All workers begin a window at one moment of the clock that they share.
START_TOGETHER_SECONDS = 0.05

#: Beyond these the generator, not the bridge, is what a trial measured.
MAX_CPU_RATIO = 0.85
MAX_LATENESS_MS = 10.0
MIN_OFFERED_RATIO = 0.99


@dataclass(frozen=True)
class _Group:
    """A conference with its endpoints' names; the first ones send. One worker has all of it."""

    worker: WorkerProcess
    conference: Conference
    endpoints: tuple[str, ...]
    ssrcs: tuple[int, ...]


class LocalGenerator:
    """Makes load on one bridge from this machine. See ``load.base.Generator``."""

    def __init__(
        self,
        entry: HostEntry,
        host: Host,
        *,
        max_pps: float = DEFAULT_MAX_PPS,
        sent_pps_per_worker: float = SENT_PPS_PER_WORKER,
    ) -> None:
        self._entry, self._host, self._max_pps = entry, host, max_pps
        self._sent_pps_per_worker = sent_pps_per_worker
        cpus = entry.generator.cpus
        self._max_workers = min(MAX_WORKERS, len(cpus) if cpus else max(1, (os.cpu_count() or 2) - 1))
        self._client = BridgeClient(
            host, entry.bridge.http_address, entry.bridge.http_port, timeout_seconds=SIGNALLING_TIMEOUT_SECONDS
        )
        self._prefix = f"jvbtune-{secrets.token_hex(4)}"  #: of its conferences' meeting ids
        self._numbers = itertools.count()
        self._groups: list[_Group] = []
        self._mix: Mix | None = None
        self._workers: list[WorkerProcess] = []

    @property
    def prefix(self) -> str:
        return self._prefix

    @property
    def worker_pid(self) -> int | None:
        """The first worker's; None before there is one."""
        return self._workers[0].pid if self._workers else None

    @property
    def endpoints(self) -> int:
        """How many endpoints are on the bridge now."""
        return sum(len(group.endpoints) for group in self._groups)

    def offer(
        self, load: IntendedLoad, duration_seconds: float, *, settle_seconds: float = 2.0, edge: Edge | None = None
    ) -> Offered:
        if load.packet_rate_pps > self._max_pps:
            raise LoadError(f"{load.packet_rate_pps:.0f} pps is more than the {self._max_pps:.0f} pps that are allowed")
        shape = (load.mix.participants, load.mix.senders, load.mix.payload_bytes, load.mix.stream_pps)
        if self._mix is not None and shape != (
            self._mix.participants,
            self._mix.senders,
            self._mix.payload_bytes,
            self._mix.stream_pps,
        ):
            self._expire(len(self._groups))
        self._mix = load.mix
        begun = time.monotonic()
        self._expire(len(self._groups) - load.conferences)
        self._add(load.conferences - len(self._groups), load.mix)
        set_up_seconds = time.monotonic() - begun
        self._all("start", stream_pps=load.mix.stream_pps, burst_packets=load.mix.burst_packets)
        for number, worker in enumerate(self._workers):
            worker.check_alive(settle_seconds if number == 0 else 0.0)
        self._all("quiet")
        edges = [edge()] if edge is not None else []
        begin = time.monotonic() + START_TOGETHER_SECONDS
        windows = self._all("window", timeout_seconds=duration_seconds + 30, seconds=duration_seconds, begin_mono=begin)
        edges += [edge()] if edge is not None else []
        self._all("resume")
        return self._offered(load, {**merge_windows(windows), "edges": edges}, set_up_seconds)

    def stop(self) -> None:
        """Expire all conferences; the workers stay for the next offer."""
        self._expire(len(self._groups))
        self._all("pause")

    def close(self) -> None:
        try:
            self._expire(len(self._groups), best_effort=True)
        finally:
            for worker in self._workers:
                worker.close()
            self._workers = []

    def __enter__(self) -> LocalGenerator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- conferences --------------------------------------------------------------------------------------------

    def _add(self, count: int, mix: Mix) -> None:
        while count > 0:
            batch = min(count, BATCH_CONFERENCES)
            self._add_batch(batch, mix, self._worker_for(batch * mix.in_pps()))
            count -= batch

    def _add_batch(self, count: int, mix: Mix, worker: WorkerProcess) -> None:
        """Set up whole conferences; one that fails is expired and tried anew."""
        failures: list[str] = []
        missing = count
        for _ in range(ATTEMPTS):
            groups = [self._new_group(mix, worker) for _ in range(missing)]
            failures = self._connect(groups, mix, worker)
            if not failures:
                return
            missing = count - sum(group in self._groups for group in groups)
            count = missing
        raise LoadError(
            f"{self._entry.name}: {missing} conferences could not be set up: {'; '.join(failures[:3])}",
            hint="Does the bridge's media port answer from here? See bridge.media_address in jvbtune.toml.",
        )

    def _new_group(self, mix: Mix, worker: WorkerProcess) -> _Group:
        number = next(self._numbers)
        names = tuple(f"{secrets.randbits(32):08x}" for _ in range(mix.participants))
        ssrcs = tuple(secrets.randbelow(1 << 31) + 1 for _ in range(mix.senders))
        return _Group(worker, Conference(self._client, f"{self._prefix}-{number}"), names, ssrcs)

    def _connect(self, groups: Sequence[_Group], mix: Mix, worker: WorkerProcess) -> list[str]:
        """Open, signal, connect. Groups of which all endpoints are connected are kept; why others are not."""
        failures: list[str] = []
        answers: dict[str, Answer] = {}
        self._signal(groups, worker, answers, failures)
        if not answers:
            return failures or ["no endpoint was signalled"]
        remotes = {
            name: {
                "ufrag": answer.remote.ufrag,
                "password": answer.remote.password,
                "fingerprint": answer.remote.fingerprint,
            }
            for name, answer in answers.items()
        }
        done = worker.call(
            "connect",
            timeout_seconds=CONNECT_TIMEOUT_SECONDS + 10,
            endpoints=remotes,
            within_seconds=CONNECT_TIMEOUT_SECONDS,
        )
        failed = dict(done["failed"])
        for group in groups:
            bad = [name for name in group.endpoints if name not in answers or name in failed]
            if bad:
                failures += [f"{name}: {failed.get(name, 'not signalled')}" for name in bad]
                self._drop(group)
                continue
            self._groups.append(group)
            receivers = len(group.endpoints) - 1
            worker.call(
                "senders",
                senders=[
                    {
                        "endpoint": name,
                        "ssrc": ssrc,
                        "stream_pps": mix.stream_pps,
                        "payload_bytes": mix.payload_bytes,
                        "receivers": receivers,
                    }
                    for name, ssrc in zip(group.endpoints, group.ssrcs, strict=False)
                ],
            )
        return failures

    def _signal(
        self, groups: Sequence[_Group], worker: WorkerProcess, answers: dict[str, Answer], failures: list[str]
    ) -> None:
        """Signal all endpoints; where the bridge takes media is checked against what the inventory allows."""
        names = [name for group in groups for name in group.endpoints]
        opened = worker.call("open", endpoints=names)
        fingerprint = opened["fingerprint"]

        def signal(group: _Group) -> None:
            for index, name in enumerate(group.endpoints):
                own = opened["endpoints"][name]
                transport = LocalTransport(own["ufrag"], own["password"], own["ip"], own["port"], fingerprint)
                try:
                    answers[name] = group.conference.add(name, transport, group.ssrcs[index : index + 1])
                except JvbtuneError as error:
                    failures.append(f"{name}: {error.message}")
                    return

        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            list(pool.map(signal, groups))
        for answer in answers.values():
            if worker.remote not in answer.candidates:
                offered = ", ".join(f"{ip}:{port}" for ip, port in answer.candidates) or "nothing"
                raise LoadError(
                    f"{self._entry.name}: the bridge offers {offered} for media, load may go to "
                    f"{worker.remote[0]}:{worker.remote[1]} only",
                    hint="Set bridge.media_address and bridge.media_port in jvbtune.toml.",
                )

    def _drop(self, group: _Group) -> None:
        group.worker.call("close", endpoints=list(group.endpoints))
        try:
            group.conference.expire()
        except BridgeError:
            pass  # it expires by itself once nothing arrives any more

    def _expire(self, count: int, *, best_effort: bool = False) -> None:
        keep = min(len(self._groups), max(0, len(self._groups) - count))
        going, self._groups = self._groups[keep:], self._groups[:keep]
        if not going:
            return
        for worker in self._workers:
            try:
                names = [name for group in going if group.worker is worker for name in group.endpoints]
                worker.call("close", endpoints=names)
            except LoadError:
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

    def _worker_for(self, sent_pps: float) -> WorkerProcess:
        """The worker that sends least; a new one where that would send too much, and there is a core for it."""
        sends = {worker.pid: 0.0 for worker in self._workers}
        for group in self._groups:
            assert self._mix is not None
            sends[group.worker.pid] += len(group.ssrcs) * self._mix.stream_pps
        if self._workers:
            least = min(self._workers, key=lambda worker: sends[worker.pid])
            full = sends[least.pid] > 0 and sends[least.pid] + sent_pps > self._sent_pps_per_worker
            if not full or len(self._workers) >= self._max_workers:
                return least
        self._workers.append(WorkerProcess(self._entry, media_target(self._entry), self._max_pps))
        return self._workers[-1]

    def _all(self, op: str, timeout_seconds: float = 30.0, **args: Any) -> list[dict[str, Any]]:
        """The same request to every worker at once; their answers. Raises LoadError."""
        if len(self._workers) == 1:
            return [self._workers[0].call(op, timeout_seconds, **args)]
        with ThreadPoolExecutor(max(1, len(self._workers))) as pool:
            asked = [pool.submit(worker.call, op, timeout_seconds, **args) for worker in self._workers]
            return [answer.result() for answer in asked]

    def _offered(self, load: IntendedLoad, seen: dict[str, Any], set_up_seconds: float) -> Offered:
        seconds = float(seen["duration_seconds"])
        sent, expected, received = (int(seen[f"{key}_packets"]) for key in ("sent", "expected", "received"))
        offered_pps = (sent + expected) / seconds
        because = []
        if seen["cpu_ratio"] > MAX_CPU_RATIO:
            because.append(f"its CPU is at {seen['cpu_ratio']:.0%} of a core")
        if load.mix.burst_packets == 1 and seen["lateness_p99_ms"] > MAX_LATENESS_MS:
            because.append(f"it was {seen['lateness_p99_ms']:.1f} ms late (p99)")
        if seen["overflows"]:
            because.append(f"its own sockets overflowed {seen['overflows']} times")
        if received > expected:
            because.append(f"{received - expected} packets of before the window arrived in it")
        if seen["unsent_packets"]:
            because.append(f"the kernel did not take {seen['unsent_packets']} of its packets")
        if offered_pps < MIN_OFFERED_RATIO * load.packet_rate_pps and load.mix.burst_packets == 1:
            because.append(f"it offered {offered_pps:.0f} of {load.packet_rate_pps:.0f} pps")
        return Offered(
            intended_pps=load.packet_rate_pps,
            offered_pps=offered_pps,
            sent_packets=sent,
            expected_packets=expected,
            received_packets=received,
            loss_ratio=max(0.0, 1 - received / expected) if expected else 0.0,
            reordered_packets=int(seen["reordered_packets"]),
            delay_ms=dict(seen["delay_ms"]),
            delayed_50ms_ratio=seen["delayed_50ms_ratio"],
            duration_seconds=seconds,
            lateness_p99_ms=float(seen["lateness_p99_ms"]),
            cpu_ratio=float(seen["cpu_ratio"]),
            endpoints=self.endpoints,
            generator_limited=bool(because),
            generator_limited_because=tuple(because),
            started_unix=float(seen["started_unix"]),
            extra={**seen, "set_up_seconds": set_up_seconds},
        )


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
