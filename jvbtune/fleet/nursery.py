"""The processes of a fleet: one for each host, forked from a process that has everything loaded.

A host's work runs in a process of its own: an interrupt, a crash or a lack of memory there costs the other hosts
nothing, and no host waits for another one's samples. The nursery (``main``) loads jvbtune once and forks, so that a
process costs milliseconds, and little memory. It has no threads, which makes the forks safe.

Every process leads a session of its own: Ctrl-C of the terminal reaches the controller only, which passes it on. If the
controller dies, each process reads the end of its socket, and puts its host back as at Ctrl-C.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from jvbtune.errors import HostError, Interrupted, JvbtuneError

#: What work of each kind needs. A module that is not loaded before the fork costs each process its own import.
LOOKING = ("jvbtune.fleet.looking", "jvbtune.hosts.ssh")
MEASURING = (*LOOKING, "jvbtune.fleet.measuring")
APPLYING = (*LOOKING, "jvbtune.fleet.applying")
#: The nursery reports the end of a process a moment after its socket has closed.
STATUS_SECONDS = 2.0
_LENGTH = struct.Struct("!Q")

Message = dict[str, Any]


class Tell(Protocol):
    """Reports an event from a host's process to the controller."""

    def __call__(self, event: str, **data: Any) -> None: ...


#: What a process does; it is pickled. What it returns is part of the last event, ``ended``.
Job = Callable[[Tell], Message]


class Child:
    """A host's process, seen from the controller. Every message of it goes to ``on_message``, the last is ``ended``."""

    def __init__(self, nursery: Nursery, connection: socket.socket, on_message: Callable[[Message], None]) -> None:
        self.pid = 0
        self._nursery, self._connection, self._on_message = nursery, connection, on_message
        threading.Thread(target=self._read, name="fleet-child", daemon=True).start()

    def interrupt(self) -> None:
        """As Ctrl-C: the work ends, and the host is put back."""
        self._send(b"i")

    def leave(self) -> None:
        """As the third Ctrl-C: the process leaves at once, and the agent puts its host back."""
        self._send(b"l")

    def _send(self, command: bytes) -> None:
        with contextlib.suppress(OSError):
            self._connection.sendall(command)

    def _read(self) -> None:
        ended = False
        with (
            self._connection,
            self._connection.makefile("rb") as lines,
            contextlib.suppress(OSError, ValueError),  # half a line of a process that was killed
        ):
            for line in lines:
                message = json.loads(line)
                if message["event"] == "born":
                    self.pid = int(message["pid"])
                    continue
                ended = ended or message["event"] == "ended"
                self._on_message(message)
        if not ended:
            self._on_message(self._nursery.lost(self.pid))


class Nursery:
    """A context manager. Leaving it ends the nursery; processes that still run put their hosts back and end."""

    def __init__(self, modules: Sequence[str] = LOOKING) -> None:
        """``modules``: loaded before the first fork."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by close
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jvbtune.fleet.nursery", str(theirs.fileno()), json.dumps([sys.path, modules])],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a fork wants no other thread
            )
        self._statuses: dict[int, int] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._read_statuses, name="fleet-nursery", daemon=True).start()

    def start(self, job: Job, on_message: Callable[[Message], None]) -> Child:
        """Run a job in a new process. ``on_message`` is called from a thread. Raises HostError without a nursery."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"f"], [theirs.fileno()])
                content = pickle.dumps(job)
                ours.sendall(_LENGTH.pack(len(content)) + content)
            except OSError as error:
                ours.close()
                raise HostError(f"no process can be started for a host: {self._last_words() or error}") from error
        return Child(self, ours, on_message)

    def lost(self, pid: int) -> Message:
        """What the controller reports of a process that ended without a word."""
        with self._changed:
            self._changed.wait_for(lambda: pid in self._statuses, STATUS_SECONDS)
            status = self._statuses.get(pid)
        how = "ended" if status is None or status >= 0 else f"was killed by {signal.Signals(-status).name}"
        return {
            "event": "ended",
            "exit_code": 1,
            "reason": f"jvbtune's process for this host {how}",
            "advice": "The guard on the host puts it back by itself. " + (self._last_words() or ""),
            "lost": True,
        }

    def _last_words(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), 1000, max(0, size - 1000)).decode("utf-8", "replace").strip()

    def _read_statuses(self) -> None:
        with self._control.makefile("rb") as lines, contextlib.suppress(OSError, ValueError):
            for line in lines:
                pid, status = line.split()
                with self._changed:
                    self._statuses[int(pid)] = int(status)
                    self._changed.notify_all()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._control.close()
        self._log.close()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# -- in the nursery, and in its children ----------------------------------------------------------------------------


def main() -> int:
    control = socket.socket(fileno=int(sys.argv[1]))
    sys.path[:], modules = json.loads(sys.argv[2])
    for name in modules:
        importlib.import_module(name)
    gc.freeze()  # the collector of a child must not touch, and so copy, what was loaded here
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    while True:
        ready = select.select([control.fileno(), reading], [], [])[0]
        if reading in ready:
            os.read(reading, 4096)
            _report_ends(control)
        if control.fileno() not in ready:
            continue
        data, handed, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return 0
        if os.fork() == 0:
            status = 1
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for descriptor in (control.detach(), reading, writing):
                    os.close(descriptor)
                os.setsid()
                status = _live(socket.socket(fileno=handed[0]))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(handed[0])


def _report_ends(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        with contextlib.suppress(OSError):
            control.sendall(f"{pid} {os.waitstatus_to_exitcode(status)}\n".encode())


def _live(connection: socket.socket) -> int:
    """A child's whole life: its job, and the words about it."""
    lock = threading.Lock()

    def tell(event: str, **data: Any) -> None:
        line = json.dumps({"event": event, **data}, default=str).encode() + b"\n"
        with lock, contextlib.suppress(OSError):  # a controller that is gone hears nothing any more
            connection.sendall(line)

    tell("born", pid=os.getpid())
    size = _LENGTH.unpack(_exactly(connection, _LENGTH.size))[0]
    job: Job = pickle.loads(_exactly(connection, size))
    threading.Thread(target=_obey, args=(connection,), name="controller", daemon=True).start()
    ended = perform(job, tell)
    tell("ended", **ended)
    return 0


def perform(job: Job, tell: Tell) -> Message:
    """Do a job; how it ended. Nothing is raised: whatever went wrong is in the answer."""
    from jvbtune.interrupts import handled

    try:
        with handled(lambda text: tell("said", text=text)):
            return {"exit_code": 0, "reason": "", "advice": None, **job(tell)}
    except Interrupted as error:
        return {"exit_code": error.exit_code, "reason": error.message, "advice": error.hint}
    except KeyboardInterrupt:
        return {"exit_code": Interrupted.exit_code, "reason": "interrupted", "advice": None}
    except JvbtuneError as error:
        return {"exit_code": error.exit_code, "reason": error.message, "advice": error.hint}
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        traceback.print_exc()
        reason = f"an error in jvbtune itself at {place}: {type(error).__name__}: {error}"
        return {"exit_code": 1, "reason": reason, "advice": "Please report it, with the output of --json-lines."}


def _obey(connection: socket.socket) -> None:
    """The controller's commands. Its end is an interrupt as well: the host must not stay as it is."""
    while True:
        try:
            command = connection.recv(1)
        except OSError:
            command = b""
        if command == b"l":
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(os.getpid(), number)
            continue
        os.kill(os.getpid(), signal.SIGINT)
        if not command:
            return


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        data = connection.recv(min(1 << 16, size - len(content)))
        if not data:
            raise EOFError("the controller ended before it said what to do")
        content += data
    return bytes(content)


if __name__ == "__main__":
    sys.exit(main())
