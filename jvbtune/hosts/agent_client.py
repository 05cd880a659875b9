"""The controller's end of the agent: sends the archive once, starts it in the ssh channel, speaks its lines."""

from __future__ import annotations

import itertools
import json
import queue
import shlex
import threading
import time
from types import TracebackType
from typing import Any

from jvbtune.errors import AgentError, BridgeBusyError, BridgeError, CaptureError, HostError, JvbtuneError, TuningError
from jvbtune.hosts.archive import agent_archive
from jvbtune.hosts.base import Host, Stream

#: Error kinds of the agent -> what they are here.
KINDS: dict[str, type[JvbtuneError]] = {
    "bridge": BridgeError,
    "busy": BridgeBusyError,
    "tuning": TuningError,
    "capture": CaptureError,
    "host": AgentError,
    "usage": AgentError,
}
CLOCK_EXCHANGES = 8
HELLO_TIMEOUT_SECONDS = 30.0
#: More than the agent keeps for a controller that does not read; the oldest samples go first.
MAX_EVENTS = 100_000

#: Puts standard input at $1 under the name $2, whole or not at all, unless it is there with that hash already; clears
#: archives of other versions that are older than a week. sh, because nothing of jvbtune is on the host yet.
_INSTALL = """
set -eu
mkdir -p -m 0755 "$1"
target="$1/$2"
if [ -f "$target" ] && [ "$(sha256sum "$target" | cut -d' ' -f1)" = "$3" ]; then cat >/dev/null; exit 0; fi
temporary="$1/.$2.$$"
trap 'rm -f "$temporary"' EXIT
cat >"$temporary"
[ "$(sha256sum "$temporary" | cut -d' ' -f1)" = "$3" ]
mv -f "$temporary" "$target"
find "$1" -maxdepth 1 -name 'agent-*.pyz' ! -name "$2" -mtime +7 -exec rm -f {} +
"""


class AgentClient:
    """A running agent. Thread-safe; a context manager. Closing it ends the agent, which puts the host back first."""

    def __init__(self, host: Host, *, sudo: bool = True) -> None:
        self.host = host
        self.events: queue.Queue[dict[str, Any]] = queue.Queue(MAX_EVENTS)
        self.dropped_events = 0
        self.clock_offset_seconds = 0.0  #: host clock - controller clock
        self.clock_uncertainty_seconds = float("inf")
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.Queue[dict[str, Any] | None]] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._gone: str | None = None
        path = _install(host, sudo=sudo)
        self._stream: Stream = host.stream(["python3", "-I", "-B", path], sudo=sudo)
        self._reader = threading.Thread(target=self._read, name=f"agent-{host.name}", daemon=True)
        self._reader.start()
        try:
            self.capabilities: dict[str, Any] = self.call("hello", timeout_seconds=HELLO_TIMEOUT_SECONDS)
            self.measure_clock()
        except BaseException:
            self.close()
            raise

    def call(self, op: str, timeout_seconds: float = 30.0, **args: Any) -> dict[str, Any]:
        """Ask for one operation. Raises the error that its kind stands for, AgentError where the agent is gone."""
        number = next(self._numbers)
        answers: queue.Queue[dict[str, Any] | None] = queue.Queue(1)
        with self._lock:
            if self._gone is not None:
                raise AgentError(self._gone)
            self._waiting[number] = answers
        try:
            self._stream.write(json.dumps({"id": number, "op": op, "args": args}).encode() + b"\n")
            answer = answers.get(timeout=timeout_seconds)
        except queue.Empty:
            raise AgentError(f"{self.host.name}: the agent did not answer {op} within {timeout_seconds:g} s") from None
        except HostError as error:
            raise AgentError(self._why_gone()) from error
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if answer is None:
            raise AgentError(self._why_gone())
        if not answer.get("ok"):
            self._raise(op, answer.get("error") or {})
        result = answer.get("result")
        return result if isinstance(result, dict) else {"value": result}

    def _raise(self, op: str, error: dict[str, Any]) -> None:
        kind = KINDS.get(str(error.get("kind")), AgentError)
        hint = error.get("hint") or (f"On the host: {error['trace']}" if error.get("trace") else None)
        raise kind(f"{self.host.name}: {error.get('message', op + ' failed')}", hint=hint)

    def measure_clock(self) -> None:
        """Estimate the offset of the host's clock: of several exchanges the one with the least delay (RFC 5905, 8)."""
        best = float("inf")
        for _ in range(CLOCK_EXCHANGES):
            sent, started = time.time(), time.monotonic()
            answer = self.call("clock", timeout_seconds=10)
            delay = time.monotonic() - started
            if delay < best:
                best = delay
                self.clock_offset_seconds = float(answer["unix"]) - (sent + delay / 2)
                self.clock_uncertainty_seconds = delay / 2

    def _read(self) -> None:
        while True:
            try:
                line = self._stream.read_line()
            except (HostError, OSError):
                line = None
            if line is None:
                break
            try:
                message = json.loads(line)
            except ValueError:
                continue  # a line that the login prints, not the agent's
            if "id" in message:
                with self._lock:
                    waiting = self._waiting.get(message["id"])
                if waiting is not None:
                    waiting.put(message)
            elif "event" in message:
                self._keep(message)
        with self._lock:
            self._gone = self._gone or self._why_gone()
            waiting_for = list(self._waiting.values())
        for answers in waiting_for:
            answers.put(None)

    def _keep(self, event: dict[str, Any]) -> None:
        while True:
            try:
                self.events.put_nowait(event)
                return
            except queue.Full:
                try:
                    self.events.get_nowait()
                    self.dropped_events += 1
                except queue.Empty:
                    continue

    def _why_gone(self) -> str:
        said = self._stream.stderr_tail().decode("utf-8", "replace").strip()
        text = f"{self.host.name}: the agent ended" + ("" if self._closing else " unexpectedly")
        if "python3" in said and "not found" in said:
            return f"{self.host.name}: python3 (3.9 or newer) is not installed on the host"
        return text + (f": {said[-1500:]}" if said else "")

    @property
    def alive(self) -> bool:
        with self._lock:
            return self._gone is None

    def close(self) -> None:
        """End the agent by the end of its input, and wait until it has put the host back."""
        self._closing = True
        self._stream.close_stdin()
        self._reader.join(60)
        self._stream.close()
        self._reader.join(10)

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _install(host: Host, *, sudo: bool) -> str:
    """Send the archive where it is not there yet; its path on the host."""
    archive = agent_archive()
    directories = ["/var/cache/jvbtune"] if sudo else []
    home = host.run(["sh", "-c", 'printf %s "${XDG_CACHE_HOME:-$HOME/.cache}/jvbtune"']).stdout.decode()
    failures = []
    for directory in [*directories, home]:
        asked = host.run(["sh", "-c", f"[ -f {shlex.quote(f'{directory}/{archive.name}')} ]"])
        content = b"" if asked.status == 0 else archive.content
        for attempt in (content, archive.content):
            done = host.run(
                ["sh", "-c", _INSTALL, "sh", directory, archive.name, archive.sha256],
                stdin=attempt,
                timeout_seconds=60,
                sudo=sudo and directory != home,
            )
            if done.status == 0:
                return f"{directory}/{archive.name}"
        failures.append(f"{directory}: {done.stderr.decode('utf-8', 'replace').strip() or f'status {done.status}'}")
    raise AgentError(f"{host.name}: the agent cannot be put on the host", hint="\n".join(failures))
