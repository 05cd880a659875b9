"""The generator of this machine: a worker process for media, COLIBRI through the host for signalling."""

from __future__ import annotations

import itertools
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeError, JvbtuneError, LoadError
from jvbtune.hosts.base import Host
from jvbtune.inventory import HostEntry
from jvbtune.load.base import Edge, IntendedLoad, Mix, Offered
from jvbtune.load.colibri import PATH as COLIBRI_PATH
from jvbtune.load.colibri import Answer, Conference, LocalTransport
from jvbtune.load.target import media_target

DEFAULT_MAX_PPS = 250_000.0
MAX_WORKER_SECONDS = 24 * 3600.0
#: A bridge that was just started needs seconds for its first DTLS handshakes.
CONNECT_TIMEOUT_SECONDS = 25.0
SIGNALLING_TIMEOUT_SECONDS = 20.0
PARALLEL_REQUESTS = 8
#: Endpoints that are connected at once: more would make the handshakes time out on a cold bridge.
BATCH_CONFERENCES = 10
ATTEMPTS = 3
#: Of numbers that are missing in a row this many mean that there are no more.
MAX_CONFERENCES_AT_ONCE = 300

#: Beyond these the generator, not the bridge, is what a trial measured.
MAX_CPU_RATIO = 0.85
MAX_LATENESS_MS = 10.0
MIN_OFFERED_RATIO = 0.99


@dataclass(frozen=True)
class _Group:
    """A conference with its endpoints' names; the first ones send."""

    conference: Conference
    endpoints: tuple[str, ...]
    ssrcs: tuple[int, ...]


class LocalGenerator:
    """Makes load on one bridge from this machine. See ``load.base.Generator``."""

    def __init__(self, entry: HostEntry, host: Host, *, max_pps: float = DEFAULT_MAX_PPS) -> None:
        self._entry, self._host, self._max_pps = entry, host, max_pps
        self._client = BridgeClient(
            host, entry.bridge.http_address, entry.bridge.http_port, timeout_seconds=SIGNALLING_TIMEOUT_SECONDS
        )
        self._prefix = f"jvbtune-{secrets.token_hex(4)}"  #: of its conferences' meeting ids
        self._numbers = itertools.count()
        self._groups: list[_Group] = []
        self._mix: Mix | None = None
        self._worker: _Worker | None = None

    @property
    def prefix(self) -> str:
        return self._prefix

    @property
    def worker_pid(self) -> int | None:
        return None if self._worker is None else self._worker.pid

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
        worker = self._running_worker()
        worker.call("start", stream_pps=load.mix.stream_pps, burst_packets=load.mix.burst_packets)
        if settle_seconds > 0:
            worker.check_alive(settle_seconds)
        worker.call("quiet")
        edges = [edge()] if edge is not None else []
        seen = worker.call("window", timeout_seconds=duration_seconds + 30, seconds=duration_seconds)
        edges += [edge()] if edge is not None else []
        worker.call("resume")
        return self._offered(load, {**seen, "edges": edges}, set_up_seconds)

    def stop(self) -> None:
        """Expire all conferences; the worker stays for the next offer."""
        self._expire(len(self._groups))
        if self._worker is not None:
            self._worker.call("pause")

    def close(self) -> None:
        try:
            self._expire(len(self._groups), best_effort=True)
        finally:
            if self._worker is not None:
                self._worker.close()
                self._worker = None

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
            self._add_batch(batch, mix)
            count -= batch

    def _add_batch(self, count: int, mix: Mix) -> None:
        """Set up whole conferences; one that fails is expired and tried anew."""
        failures: list[str] = []
        missing = count
        for _ in range(ATTEMPTS):
            groups = [self._new_group(mix) for _ in range(missing)]
            failures = self._connect(groups, mix)
            if not failures:
                return
            missing = count - sum(group in self._groups for group in groups)
            count = missing
        raise LoadError(
            f"{self._entry.name}: {missing} conferences could not be set up: {'; '.join(failures[:3])}",
            hint="Does the bridge's media port answer from here? See bridge.media_address in jvbtune.toml.",
        )

    def _new_group(self, mix: Mix) -> _Group:
        number = next(self._numbers)
        names = tuple(f"{secrets.randbits(32):08x}" for _ in range(mix.participants))
        ssrcs = tuple(secrets.randbelow(1 << 31) + 1 for _ in range(mix.senders))
        return _Group(Conference(self._client, f"{self._prefix}-{number}"), names, ssrcs)

    def _connect(self, groups: Sequence[_Group], mix: Mix) -> list[str]:
        """Open, signal, connect. Groups of which all endpoints are connected are kept; why others are not."""
        failures: list[str] = []
        answers: dict[str, Answer] = {}
        address = self._media_address(groups, mix, answers, failures)
        if address is None:
            return failures or ["no endpoint was signalled"]
        worker = self._running_worker()
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

    def _media_address(
        self, groups: Sequence[_Group], mix: Mix, answers: dict[str, Answer], failures: list[str]
    ) -> tuple[str, int] | None:
        """Signal all endpoints; where the bridge takes media, checked against what the inventory allows."""
        worker = self._running_worker()
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
        return worker.remote if answers else None

    def _drop(self, group: _Group) -> None:
        if self._worker is not None:
            self._worker.call("close", endpoints=list(group.endpoints))
        try:
            group.conference.expire()
        except BridgeError:
            pass  # it expires by itself once nothing arrives any more

    def _expire(self, count: int, *, best_effort: bool = False) -> None:
        keep = min(len(self._groups), max(0, len(self._groups) - count))
        going, self._groups = self._groups[keep:], self._groups[:keep]
        if not going:
            return
        if self._worker is not None:
            try:
                self._worker.call("close", endpoints=[name for group in going for name in group.endpoints])
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

    def _running_worker(self) -> _Worker:
        if self._worker is None:
            self._worker = _Worker(self._entry, media_target(self._entry), self._max_pps)
        return self._worker

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


class _Worker:
    """The worker process and its lines."""

    def __init__(self, entry: HostEntry, remote: tuple[str, int], max_pps: float) -> None:
        self.remote = remote
        argv = [sys.executable, "-m", "jvbtune.load.worker"]
        netns = entry.generator.netns
        if netns:
            argv = ["nsenter", f"--net=/run/netns/{netns}", "--", *argv]
        cpus = entry.generator.cpus
        environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]), PYTHONDONTWRITEBYTECODE="1")
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
                preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise LoadError(f"the generator's worker cannot be started: {error}") from error
        self._numbers = itertools.count(1)
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._stderr = b""
        self._readers = [
            threading.Thread(target=self._read, name="worker-stdout", daemon=True),
            threading.Thread(target=self._read_stderr, name="worker-stderr", daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        self._write(
            {
                "address": remote[0],
                "port": remote[1],
                "bind_address": entry.generator.bind_address,
                "max_pps": max_pps,
                "max_seconds": MAX_WORKER_SECONDS,
            }
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, op: str, timeout_seconds: float = 30.0, **args: Any) -> dict[str, Any]:
        """One request and its answer. Raises LoadError."""
        number = next(self._numbers)
        self._write({"id": number, "op": op, "args": args})
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise LoadError(f"the generator did not answer {op} within {timeout_seconds:g} s") from None
            if answer is None:
                raise LoadError(self._why())
            if answer["id"] != number:
                continue
            if not answer["ok"]:
                raise LoadError(f"the generator: {answer['error']}")
            return dict(answer["result"])

    def check_alive(self, seconds: float) -> None:
        """Wait, but not on a worker that ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise LoadError(self._why())

    def _why(self) -> str:
        self._process.wait(5)
        text = self._stderr.decode("utf-8", "replace").strip()
        return f"the generator's worker ended with status {self._process.returncode}: {text[-800:]}"

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise LoadError(self._why()) from error

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                self._answers.put(json.loads(line))
        self._answers.put(None)

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            for line in stderr:
                self._stderr = (self._stderr + line)[-8192:]

    def close(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(5)
