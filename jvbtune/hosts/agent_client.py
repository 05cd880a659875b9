"""The controller's end of the agent: sends the archive once, starts it in the ssh channel, speaks its lines."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from jvbtune.errors import AgentError, BridgeBusyError, BridgeError, CaptureError, HostError, JvbtuneError, TuningError
from jvbtune.hosts.archive import FROM_MEMORY, TOO_OLD, agent_archive
from jvbtune.hosts.base import Host, Stream
from jvbtune.hosts.lines import after_mark
from jvbtune.hosts.sudo import sudo_refusal
from jvbtune.interrupts import hang_up_on_leaving, take
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.codec import ProtocolError, shown
from jvbtune.protocol.messages import Fault, Kind, Nothing, Operation, Refused
from jvbtune.protocol.peers import Caller, Gone

A = TypeVar("A")
R = TypeVar("R")

#: Error kinds of the agent -> what they are here.
KINDS: dict[Kind, type[JvbtuneError]] = {
    "bridge": BridgeError,
    "busy": BridgeBusyError,
    "tuning": TuningError,
    "capture": CaptureError,
    "queue": AgentError,
    "load": AgentError,
    "host": AgentError,
    "usage": AgentError,
}
CLOCK_EXCHANGES = 8
#: A stream that was closed ends its reader.
GIVE_UP_SECONDS = 5.0
HELLO_TIMEOUT_SECONDS = 30.0
#: More than the agent keeps for a controller that does not read; the oldest samples go first.
MAX_EVENTS = 100_000
#: What a login may print before the agent speaks (a banner, a shell's profile).
MAX_BANNER_LINES = 200
#: What an agent that ended wrote last arrives a moment after its end.
LAST_WORDS_SECONDS = 2.0

#: Where an archive is put that is to be run as root: nobody else can write there. The second: for a read-only root.
ROOT_DIRECTORIES = ("/var/cache/jvbtune", "/run/jvbtune-cache")
#: Before an answer, because a login may print a greeting on standard output.
_MARK = "jvbtune-answer:"

#: Whether the archive $1/$2 with the hash $3 is there, in a directory of user $4, and nobody else can write to either.
_IS_THERE = """
mine() { [ -n "$(find "$1" -prune -type "$2" -user "$3" ! -perm -020 ! -perm -002 2>/dev/null)" ]; }
is_there() { mine "$1" d "$4" && mine "$1/$2" f "$4" && [ "$(sha256sum "$1/$2" | cut -d' ' -f1)" = "$3" ]; }
"""
#: Puts standard input at $1 under the name $2, whole or not at all; clears archives of other versions that are older
#: than a week, but for those that a right of sudo names (``hosts.prepare``): a login that may run nothing else would
#: have nothing left. sh, because nothing of jvbtune is on the host yet.
_INSTALL = (
    _IS_THERE
    + """
set -eu
umask 022
mkdir -p "$1"
if ! mine "$1" d "$(id -u)"; then echo "somebody else than $(id -un) can write to it" >&2; exit 4; fi
temporary="$1/.$2.$$"
trap 'rm -f "$temporary"' EXIT
cat >"$temporary"
[ "$(sha256sum "$temporary" | cut -d' ' -f1)" = "$3" ]
mv -f "$temporary" "$1/$2"
find "$1" -maxdepth 1 -name 'agent-*.pyz' ! -name "$2" -mtime +7 | while IFS= read -r old; do
  grep -qsF -e "${old##*/}" /etc/sudoers /etc/sudoers.d/* || rm -f "$old"
done
"""
)


class AgentClient:
    """A running agent. Thread-safe; a context manager. Closing it ends the agent, which puts the host back first.

    ``install``: put the agent's archive on the host, for the next time. Without it the archive is used if it is there,
    else it runs from memory, and nothing is written on the host; such an agent cannot start a guard.
    """

    def __init__(self, host: Host, *, sudo: bool = True, install: bool = True) -> None:
        self.host = host
        self.events: queue.Queue[Any] = queue.Queue(MAX_EVENTS)  #: of the types of ``protocol.EVENTS``
        #: Called once, from the reading thread, when the host says that the work must end, or the agent is gone.
        self.on_alarm: Callable[[str], None] | None = None
        self.clock_offset_seconds = 0.0  #: host clock - controller clock
        self.clock_uncertainty_seconds = float("inf")
        self._closing = self._greeted = False
        path = _install(host, sudo=sudo) if install else _installed(host, sudo=sudo)
        self._stream: Stream = host.stream(agent_argv(path) if path else _memory_argv(), sudo=sudo)
        if path is None:
            with contextlib.suppress(HostError):  # why it is gone, the first call says
                self._stream.write(agent_archive().content)
        self._caller = Caller(self._stream.write, events=protocol.EVENTS, on_event=self._keep, receive=take)
        self._reader = threading.Thread(target=self._read, name=f"agent-{host.name}", daemon=True)
        self._reader.start()
        hang_up_on_leaving(self)
        try:
            self.capabilities = self.call(protocol.HELLO, Nothing(), timeout_seconds=HELLO_TIMEOUT_SECONDS)
            self._greeted = True
            self.measure_clock()
        except BaseException as error:
            self.close()
            if isinstance(error, AgentError) and sudo:
                user = str(getattr(host, "user", "the login"))
                raise sudo_refusal(self._stream.stderr_tail(), host.name, user) or error from None
            raise

    def call(self, operation: Operation[A, R], arguments: A, timeout_seconds: float = 30.0) -> R:
        """Ask for one operation. Raises the error that its fault stands for, AgentError where the agent is gone."""
        try:
            return self._caller.call(operation, arguments, timeout_seconds)
        except Refused as refused:
            raise self._error(refused.fault) from None
        except TimeoutError as error:
            raise AgentError(f"{self.host.name}: the agent: {error}") from None
        except ProtocolError as error:
            raise AgentError(f"{self.host.name}: the agent's answer is not of the protocol: {error}") from error
        except Gone as error:
            raise AgentError(str(error), hint=self._what_now()) from None
        except HostError as error:
            raise AgentError(self._why_gone(), hint=self._what_now()) from error

    def _what_now(self) -> str | None:
        """An agent that never worked has changed nothing."""
        if not self._greeted:
            return None
        return (
            "What a sweep had changed on the host is put back now by its guard, and an apply is ended by its own. To "
            f"see what is left: jvbtune revert --host {self.host.name} --check"
        )

    def _error(self, fault: Fault) -> JvbtuneError:
        hint = fault.hint or (f"On the host: {fault.trace}" if fault.trace else None)
        if hint is not None:  # the host does not know its name in the inventory
            hint = hint.replace("--host HOST", f"--host {self.host.name}")
        return KINDS[fault.kind](f"{self.host.name}: {fault.message}", hint=hint)

    def measure_clock(self) -> None:
        """Estimate the offset of the host's clock: of several exchanges the one with the least delay (RFC 5905, 8)."""
        best = float("inf")
        for _ in range(CLOCK_EXCHANGES):
            sent, started = time.time(), time.monotonic()
            answer = self.call(protocol.CLOCK, Nothing())
            delay = time.monotonic() - started
            if delay < best:
                best = delay
                self.clock_offset_seconds = answer.unix - (sent + delay / 2)
                self.clock_uncertainty_seconds = delay / 2

    def _read(self) -> None:
        why, spoken, banner = "", False, 0
        while True:
            try:
                line = self._stream.read_line()
            except (HostError, OSError):
                break
            except ProtocolError as error:
                why = f"{self.host.name}: what came is not of the agent's protocol: {error}"
                break
            if line is None:
                break
            if not spoken and not line.lstrip().startswith(b'{"') and banner < MAX_BANNER_LINES:
                banner += 1  # printed by the login
                continue
            spoken = True
            try:
                self._caller.take(line)
            except ProtocolError as error:
                why = f"{self.host.name}: the agent sent a line that is not of the protocol: {error}; {shown(line)}"
                break
        self._caller.end(why or self._why_gone())
        if not self._closing:
            self._alarm(self._caller.gone or "")

    def _alarm(self, why: str) -> None:
        tell, self.on_alarm = self.on_alarm, None
        if tell is not None:
            tell(why)

    def _keep(self, event: Any) -> None:
        if isinstance(event, protocol.Alarm):
            self._alarm(f"{self.host.name}: {event.message}")
            return
        while True:
            try:
                self.events.put_nowait(event)
                return
            except queue.Full:
                try:
                    self.events.get_nowait()
                except queue.Empty:
                    continue

    def _why_gone(self) -> str:
        with contextlib.suppress(TimeoutError, HostError):
            self._stream.wait(LAST_WORDS_SECONDS)
        said = self._stream.stderr_tail().decode("utf-8", "replace").strip()
        text = f"{self.host.name}: the agent ended" + ("" if self._closing else " unexpectedly")
        if TOO_OLD in said:
            return f"{self.host.name}: {said.splitlines()[-1]}"
        if "python3" in said and "not found" in said:
            return f"{self.host.name}: python3 (3.9 or newer) is not installed on the host"
        return text + (f": {said[-1500:]}" if said else "")

    @property
    def alive(self) -> bool:
        return self._caller.gone is None

    def give_up(self) -> None:
        """The agent does not answer: wait for nothing any more. Calls fail from here on."""
        self._closing = True
        self._stream.close()
        self._reader.join(GIVE_UP_SECONDS)

    def hang_up(self) -> None:
        """Close the agent's input, and do not wait: it puts the host back by itself."""
        self._stream.close_stdin()

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


def agent_argv(path: str) -> list[str]:
    """How the archive is started. -I, -B: nothing of the environment or the directory is imported or left."""
    return ["python3", "-I", "-B", path]


def _memory_argv() -> list[str]:
    """How an agent is started whose archive is then written to its standard input."""
    return ["python3", "-I", "-B", "-c", FROM_MEMORY, str(len(agent_archive().content))]


def _directories(host: Host, *, sudo: bool) -> tuple[str, ...]:
    return ROOT_DIRECTORIES if sudo else (_own_cache(host),)


def _is_there(host: Host, directory: str, *, sudo: bool) -> bool:
    """Looked for without sudo: if an administrator put it there (``hosts.prepare``), the login needs no right but to
    start it."""
    archive, owner = agent_archive(), "0" if sudo else "$(id -u)"
    script = f'{_IS_THERE}\nis_there "$1" "$2" "$3" "{owner}"'
    return host.run(["sh", "-c", script, "sh", directory, archive.name, archive.sha256]).status == 0


def _installed(host: Host, *, sudo: bool) -> str | None:
    """The archive's path on the host, if it is there."""
    for directory in _directories(host, sudo=sudo):
        if _is_there(host, directory, sudo=sudo):
            return f"{directory}/{agent_archive().name}"
    return None


def _install(host: Host, *, sudo: bool) -> str:
    """Send the archive if it is not there yet; its path on the host."""
    archive = agent_archive()
    failures = []
    for directory in _directories(host, sudo=sudo):
        if _is_there(host, directory, sudo=sudo):
            return f"{directory}/{archive.name}"
        arguments = [directory, archive.name, archive.sha256]
        done = host.run(["sh", "-c", _INSTALL, "sh", *arguments], stdin=archive.content, timeout_seconds=60, sudo=sudo)
        if done.status == 0:
            return f"{directory}/{archive.name}"
        failures.append(f"{directory}: {done.stderr.decode('utf-8', 'replace').strip() or f'status {done.status}'}")
    raise AgentError(f"{host.name}: the agent cannot be put on the host", hint="\n".join(failures))


def _own_cache(host: Host) -> str:
    """The login's cache directory, for an agent that is not root. Raises AgentError."""
    asked = host.run(["sh", "-c", f'printf "\\n{_MARK}%s\\n" "${{XDG_CACHE_HOME:-$HOME/.cache}}/jvbtune"'])
    found = after_mark(asked.stdout, _MARK)
    if not found.startswith("/"):
        raise AgentError(f"{host.name}: the login has no home directory for the agent", hint="Set HOME on the host.")
    return found
