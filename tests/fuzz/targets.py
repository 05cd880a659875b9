"""What reads foreign input, and the errors that it may end in. Everything else that it does is a finding.

A target is given the bytes and a directory of its own. Seeds are the files of ``corpus/NAME`` and of the tests' cases.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from jvbtune.agent import calls, hsperf, jvbconfig, main
from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault
from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.config import asked_buffer
from jvbtune.bridge.counts import bridge_counts
from jvbtune.capture import serve
from jvbtune.capture.sources import Reader
from jvbtune.capture.stored import load_capture
from jvbtune.errors import (
    BridgeError,
    ConfigError,
    FormatError,
    HostError,
    HostKeyError,
    JvbtuneError,
    StoreError,
    UsageError,
)
from jvbtune.fit.history import nearest_shape, open_history
from jvbtune.flame.formats import read, streams
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.base import Completed
from jvbtune.hosts.host_keys import KnownHosts
from jvbtune.hosts.lines import LineBuffer
from jvbtune.hosts.openssh import Resolved, parse_resolved
from jvbtune.inventory import load_inventory, refuse_same_machine, select
from jvbtune.inventory.document import looks_like_json
from jvbtune.inventory.lookup import ssh_aliases
from jvbtune.load import worker
from jvbtune.protocol import agent as protocol
from jvbtune.protocol import check as look
from jvbtune.protocol import tuning
from jvbtune.protocol import worker as generator
from jvbtune.protocol.codec import ProtocolError, to_json
from jvbtune.protocol.messages import Nothing, Refusal, Refused
from jvbtune.protocol.peers import Caller, Gone, read_asked
from jvbtune.store import open_run
from jvbtune.store.rows import samples_frame
from jvbtune.sweep.experiment import load_experiment
from jvbtune.sweep.plan import make_plan, planned_time
from jvbtune.trials.csvfile import read_csv

TESTS = Path(__file__).parents[1]
CORPUS = Path(__file__).parent / "corpus"
#: Longer ones would be changed at places that no reader gets to.
MOST_SEED_BYTES = 192 << 10
CORPUS_BYTES = 32 << 10  #: of a file in the corpus


class Broken(Exception):
    """A promise that is no exception's: two readers that differ, a figure that is none."""


@dataclass(frozen=True)
class Target:
    """``run(data, directory)`` may raise ``expected``. ``seeds``: patterns below tests/; ``tokens``: its own words."""

    name: str
    run: Callable[[bytes, Path], object]
    expected: tuple[type[Exception], ...]
    seeds: tuple[str, ...] = ()
    tokens: tuple[bytes, ...] = ()
    quick: int = 50  #: executions in ``make test``
    most_cpu_seconds: float = 4.0

    def corpus(self) -> list[bytes]:
        """Files that end in .gz are kept small that way; mutations are of their content."""
        paths = [*sorted((CORPUS / self.name).glob("*"))]
        paths += [path for pattern in self.seeds for path in sorted(TESTS.parent.glob(pattern)) if path.is_file()]
        contents = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in paths]
        return [content for content in contents if len(content) <= MOST_SEED_BYTES] or [b""]


# -- profiles ------------------------------------------------------------------------------------------------------


def _profile(data: bytes, directory: Path) -> None:
    """By the loops in Python and by those in C, which must agree. A profile's total is a number."""
    path = directory / "profile"
    path.write_bytes(data)
    in_python = _read(path)
    before, streams.WORTH_IT_BYTES = streams.WORTH_IT_BYTES, 0
    try:
        in_c = _read(path)
    finally:
        streams.WORTH_IT_BYTES = before
    if in_python != in_c:
        raise Broken(f"the readers differ: {in_python} and {in_c}")


def _read(path: Path) -> tuple[float, int] | str:
    """(total, rows), or the error."""
    try:
        (profile,) = read([path])
    except FormatError as error:
        return str(error)
    total = float(profile.counts.sum())
    if not math.isfinite(total):
        raise Broken(f"a total of {total}")
    return round(total, 6), len(profile)


def _capture(data: bytes, directory: Path) -> None:
    """Read, listed, and on every page of ``flame serve``."""
    captures = directory / "captures"
    for name in ("x", "good"):
        (captures / name).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            (captures / name / f"slice-{number:02}.collapsed").write_bytes(b"main;a 600\nmain;b 300\n")
    (captures / "x/capture.json").write_bytes(data)
    (captures / "good/capture.json").write_bytes((CORPUS / "capture/good.json").read_bytes())
    store = serve.Store(Reader(runs_dir=directory / "runs", captures_dir=captures))
    if "good" not in serve.index(store, {}):
        raise Broken("the other capture is not listed")
    capture = load_capture(captures / "x")
    for query in ({"a": capture.id}, {"a": capture.id, "b": "good"}, {"a": "good", "b": capture.id, "force": "on"}):
        with contextlib.suppress(JvbtuneError):
            (serve.diff if "b" in query else serve.view)(store, query)
    serve.view(store, {"a": "good"})
    capture.profiles()


# -- tables and files of the user's ----------------------------------------------------------------------------------


def _csv(data: bytes, directory: Path) -> None:
    path = directory / "trials.csv"
    path.write_bytes(data)
    with contextlib.suppress(ConfigError, FormatError):
        nearest_shape(open_history(path).rows)
    read_csv(path)


def _inventory(data: bytes, directory: Path) -> None:
    path = directory / "jvbtune.toml"
    path.write_bytes(data)
    load_inventory(path)


def _listing(data: bytes, directory: Path) -> None:
    """Recognised by its content, as a file of any form. What is accepted is what OpenSSH takes for a host."""
    path = directory / "listing.json"
    path.write_bytes(data)
    if not looks_like_json(data.decode("utf-8", "replace")):
        return  # Ansible's own files are read by ansible-inventory
    inventory = load_inventory(path)
    for entry in inventory.hosts.values():
        for text in (entry.name, entry.ssh or "x", entry.bridge.media_address or "x"):
            if text.startswith("-") or any(c.isspace() or not c.isprintable() for c in text):
                raise Broken(f"a host {text!r}")
    with contextlib.suppress(UsageError):
        refuse_same_machine(select(inventory))


def _experiment(data: bytes, directory: Path) -> None:
    """What is accepted can also be planned."""
    path = directory / "experiment.toml"
    path.write_bytes(data)
    experiment = load_experiment(path)
    plan = make_plan(experiment, [1000.0, 2000.0], 1)
    planned_time(experiment, plan)


def _run(data: bytes, directory: Path) -> None:
    """A run directory: its manifest, then its journal, parted by an empty line."""
    manifest, _, journal = data.partition(b"\n\n")
    path = directory / "20260101-000000-h-x"
    path.mkdir(exist_ok=True)
    (path / "manifest.json").write_bytes(manifest)
    (path / "journal.ndjson").write_bytes(journal)
    run = open_run(path)
    for ask in (lambda: run.status, lambda: run.labels, lambda: run.experiment_name, run.finished_trials, run.trials):
        with contextlib.suppress(StoreError):
            ask()


# -- the bridge's answers and configuration --------------------------------------------------------------------------


class _Connection:
    """One answer, whatever is asked."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def sendall(self, data: bytes, /) -> None:
        pass

    def recv(self, size: int, /) -> bytes:
        return self._data.read(min(size, 700))

    def makefile(self, *_: object) -> io.BytesIO:
        return self._data

    def settimeout(self, seconds: float | None, /) -> None:
        pass

    def close(self) -> None:
        pass


class _Answering:
    name = "fuzzed"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def connect_tcp(self, *_: object, **__: object) -> _Connection:
        return _Connection(self.data)


def _http(data: bytes, directory: Path) -> None:
    """As the controller asks, and as the agent does."""
    client = BridgeClient(_Answering(data))  # type: ignore[arg-type]
    for ask in (client.healthy, client.version, client.draining, client.stats, lambda: client.request("GET", "/x")):
        with contextlib.suppress(BridgeError):
            ask()
    with contextlib.suppress(BridgeError, ValueError):  # ValueError is what its callers expect
        queues = client.queue_stats()
        bridge_counts(queues, queues, 1.0)
        bridge_counts({}, queues, 1.0)
    real = http.client.HTTPConnection.connect
    http.client.HTTPConnection.connect = lambda self: setattr(self, "sock", _Connection(data))  # type: ignore
    try:
        bridge = Bridge({})
        found = calls.look(bridge)
        if found.foreign is not None and (not isinstance(found.foreign, int) or found.foreign < 0):
            raise Broken(f"{found.foreign} participants")
        bridge.healthy()
        with contextlib.suppress(AgentFault):
            bridge.draining()
    finally:
        http.client.HTTPConnection.connect = real  # type: ignore[method-assign]


def _hocon(data: bytes, directory: Path) -> None:
    """Included by itself too. Never an error: what cannot be read is not known."""
    encoded = base64.b64encode(data).decode()

    def ask(files: list[str], names: list[str]) -> Mapping[str, Any]:
        properties = {"config.file": "/etc/jitsi/videobridge/jvb.conf"} if "config.file" in names else {}
        kept = {path: encoded for path in files if path.endswith((".conf", ".json", ".properties"))}
        return {"files": kept, "directory": "/", "properties": properties, "environment": {}, "argument_files": False}

    asked_buffer(ask)
    jvbconfig.redacted(data)


def _hsperf(data: bytes, directory: Path) -> None:
    path = directory / "hsperfdata"
    path.write_bytes(data)
    perf = hsperf.HsPerf(0, str(path))
    try:
        perf.collections()
        perf.compilation()
    finally:
        perf.close()


# -- lines -----------------------------------------------------------------------------------------------------------


class _Scripted:
    """A stream that answers each request with the lines up to the next answer, and ends when it is silent."""

    SILENT_SECONDS = 0.05

    def __init__(self, data: bytes) -> None:
        self._waiting = data.split(b"\n")
        self._lines = LineBuffer()

    def write(self, data: bytes) -> None:
        while self._waiting:
            line = self._waiting.pop(0)
            self._lines.feed(line[: len(line) // 2])
            self._lines.feed(line[len(line) // 2 :] + b"\n")
            if b'"id"' in line:
                break
        if not self._waiting:
            self._lines.end()

    def read_line(self, timeout_seconds: float | None = None) -> bytes | None:
        try:
            return self._lines.read_line(self.SILENT_SECONDS if timeout_seconds is None else timeout_seconds)
        except TimeoutError:
            return None

    def close_stdin(self) -> None:
        self._lines.end()

    def stderr_tail(self) -> bytes:
        return b"\xff\x1b[31m said"

    def wait(self, timeout_seconds: float | None = None) -> int:
        return 1

    def close(self) -> None:
        self._lines.end()


class _WithAgent:
    name = "fuzzed"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def run(self, argv: Any, **_: object) -> Completed:
        return Completed(tuple(argv), 0, b"", b"")

    def stream(self, argv: Any, *, sudo: bool = False) -> _Scripted:
        return _Scripted(self.data)


def _agent(data: bytes, directory: Path) -> None:
    """The agent's side of the ssh channel, to a controller that asks for one thing after the other."""
    with AgentClient(_WithAgent(data)) as client:  # type: ignore[arg-type]
        bridge = protocol.OfBridge(protocol.BridgeQuery())
        for operation, arguments in (
            (protocol.BRIDGE_FIND, bridge),
            (protocol.PROVENANCE, Nothing()),
            (look.LOOK, look.Look(protocol.BridgeQuery(), [], True)),
            (tuning.CALLS, bridge),
            (tuning.VERIFY, Nothing()),
            (tuning.STATUS, Nothing()),
        ):
            with contextlib.suppress(JvbtuneError):
                client.call(operation, arguments, timeout_seconds=5)  # type: ignore[arg-type]
        samples = []
        while not client.events.empty():
            event = client.events.get()
            if isinstance(event, protocol.Sample):
                samples.append(to_json(event))
        samples_frame(samples)


def _worker(data: bytes, directory: Path) -> None:
    """A load worker's answers."""
    stream = _Scripted(data)
    caller = Caller(stream.write)

    def receive(items: Any, seconds: float | None) -> Any:
        while (line := stream.read_line(0)) is not None:
            caller.take(line)
            if not items.empty():
                return items.get()
        caller.end("the end")
        return items.get()

    caller._receive = receive
    for operation, arguments in (
        (generator.OPEN, generator.Names(["a"])),
        (generator.QUIET, Nothing()),
        (generator.WINDOW, generator.Hold(0.0, 1.0)),
    ):
        with contextlib.suppress(Refused, TimeoutError):
            caller.call(operation, arguments, 5.0)  # type: ignore[arg-type]


_OF_AGENT = main.Agent()._operations
_OF_WORKER = worker.OPERATIONS


def _requests(data: bytes, directory: Path) -> None:
    """What the agent and a worker are asked: a request, or the refusal to be sent."""
    for line in data.split(b"\n")[:200]:
        for operations in (_OF_AGENT, _OF_WORKER):
            asked = read_asked(line, operations)
            if isinstance(asked, Refusal) and not asked.error.message:
                raise Broken("a refusal without a reason")


# -- ssh ---------------------------------------------------------------------------------------------------------------


def _resolved(known_hosts: Path) -> Resolved:
    return Resolved(
        "h", "host.example", 2222, "u", (), True, None, (known_hosts,), (), None, None, 5.0, 5.0, (), (known_hosts,)
    )


_KEY = paramiko.Ed25519Key(data=b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(range(32)))


def _known_hosts(data: bytes, directory: Path) -> None:
    path = directory / "known_hosts"
    path.write_bytes(data)
    known = KnownHosts(_resolved(path))
    known.types()
    if not data.startswith(b"SSHKRL"):  # OpenSSH's own ssh-keygen reads those
        known.check(_KEY)


def _ssh_config(data: bytes, directory: Path) -> None:
    """A configuration as it is listed, and what ``ssh -G`` says of one. Include is left out: it reads other files."""
    path = directory / "config"
    path.write_bytes(data.replace(b"nclude", b"xclude"))
    ssh_aliases(path)
    parse_resolved("h", data.decode("utf-8", "replace"))


_FILES = (ConfigError, FormatError)
_PROFILES = (FormatError,)
TARGETS = {
    target.name: target
    for target in (
        Target(
            "collapsed",
            _profile,
            _PROFILES,
            ("tests/flame/cases/async-*/input*", "tests/flame/cases/py-spy-raw*/input*", "tests/flame/cases/utf-16/i*"),
            (b";", b" 1\n", b"[1] ", b"_[k]", b"_[j]", b" 1e3", b" 0.5"),
        ),
        Target(
            "perf",
            _profile,
            _PROFILES,
            ("tests/flame/cases/perf-*/input*",),
            (b"cycles:", b"\t", b"[unknown]", b" ([kernel.kallsyms])", b"ffffffff", b"+0x10", b"java 1/2 [000] 1.0: "),
        ),
        Target(
            "pprof", _profile, _PROFILES, ("tests/flame/cases/go-pprof/input",), (b"\x80" * 12, b"\xff" * 9 + b"\1")
        ),
        Target(
            "speedscope",
            _profile,
            _PROFILES,
            ("tests/flame/cases/py-spy-speedscope/input",),
            (b'"profiles"', b'"shared"', b'"frames"', b'"evented"', b'"sampled"', b'"weights"'),
        ),
        Target("jfr", _profile, _PROFILES, (), (b"FLR\0", b"\x80" * 9, b"\xff" * 9), quick=5),
        Target(
            "compressed",
            _profile,
            _PROFILES,
            ("tests/flame/cases/compression/input*", "tests/flame/cases/foreign/input*"),
            (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0"),
            quick=15,
        ),
        Target("capture", _capture, (FormatError, StoreError), ("flamegraphs/reference-*/capture.json",), quick=15),
        Target(
            "csv",
            _csv,
            _FILES,
            ("tests/trials/cases/*/*.csv",),
            (b",", b";", b"in_pps", b"out_pps", b"host", b"cpu_cores", b"1.234,5", b"1 000", b"50%"),
        ),
        Target("inventory", _inventory, (ConfigError,), ()),
        Target(
            "listing",
            _listing,
            (ConfigError,),
            ("tests/inventory/cases/*/*.json",),
            (
                b'"ansible_host"',
                b'"-oProxyCommand=x"',
                b'"a\\n\\u001b[31m"',
                b'"$(id)"',
                b"null",
                b'{"value": ',
                b'"_meta"',
                b"[[[",
                b'"currentAction": "NONE"',
            ),
        ),
        Target("experiment", _experiment, (ConfigError,), ("experiments/*.toml",)),
        Target("run", _run, (JvbtuneError,), ()),
        Target(
            "http",
            _http,
            (),
            (),
            (b"HTTP/1.1 200 OK\r\n\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"ffffffff\r\n"),
        ),
        Target(
            "hocon",
            _hocon,
            (),
            (
                "tests/bridge/cases/*/*.conf",
                "tests/bridge/cases/*/*.properties",
            ),
            (
                b"include ",
                b'include file("jvb.conf")',
                b"${a}",
                b"${?a}",
                b'"""',
                b"ice4j.harvest.udp.",
                b" += ",
                b"{ ",
            ),
        ),
        Target("hsperf", _hsperf, (ValueError,), ("tests/agent/recorded/hsperfdata-*/hsperfdata",)),
        Target("agent", _agent, (JvbtuneError,), (), quick=30),
        Target("worker", _worker, (ProtocolError, Gone), ()),
        Target("requests", _requests, (), ()),
        Target(
            "known-hosts",
            _known_hosts,
            (HostKeyError,),
            (),
            (b"|1|", b"@revoked ", b"@cert-authority ", b"*", b"!", b"[host.example]:2222 ", b"ssh-ed25519 "),
        ),
        Target("ssh-config", _ssh_config, (HostError, JvbtuneError), (), (b"Host ", b"proxyjump ", b"port ", b'"')),
    )
}
