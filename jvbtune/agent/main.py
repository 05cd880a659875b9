"""The agent's loop: the lines of ``jvbtune.protocol``, requests in, answers and events out.

Long operations run in threads of their own, so that the heartbeat, the clock and the samples go on; answers may come
out of order. When the input ends, or on SIGTERM, SIGHUP or SIGINT, the shutdown hooks run (tuning puts the host back)
and the agent exits. A controller that stops reading loses samples, never answers.
"""

from __future__ import annotations

import importlib
import os
import queue
import select
import signal
import sys
import threading
import time
import traceback
from typing import Any, Callable

from jvbtune.agent import VERSION
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.procfs import boot_id
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.codec import ProtocolError, Splitter, encode
from jvbtune.protocol.messages import Event, Fault, Nothing, Refusal, refusal, reply
from jvbtune.protocol.peers import Asked, Served, read_asked, table

#: Each offers ``OPERATIONS``; may offer ``hello(agent) -> dict`` (further fields of the answer to ``hello``).
MODULES = ("bridge", "capture.service", "check", "deploy", "jvbconfig", "provenance", "queuewatch", "sampler", "tuning")
#: These answer at once and in order; all others get a thread.
QUICK = {"clock", "hello", "tuning.renew", "tuning.status"}
MAX_QUEUED_EVENTS = 4096


class Agent:
    """The running agent, as operations see it."""

    def __init__(self, read_fd: int = 0, write_fd: int = 1) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._answers: queue.Queue[bytes | None] = queue.Queue()
        self._queued_events = 0
        self._lock = threading.Lock()
        self._operations = table(OPERATIONS)
        self.modules = [importlib.import_module("jvbtune.agent." + name) for name in MODULES]
        for module in self.modules:
            self._operations.update(table(module.OPERATIONS))
        self.shutdown_hooks: list[Callable[[], None]] = []
        self.state: dict[str, Any] = {}  #: what modules keep between operations, under their own names
        self.stopping = threading.Event()
        self.asked = self.answered = 0  #: requests so far: how an operation learns that the controller is silent
        self._wake: int | None = None

    # -- what operations use ------------------------------------------------------------------------------------

    def emit(self, data: Any) -> None:
        """Send an event: one of ``protocol.EVENTS``. Dropped if the controller does not keep up."""
        line = encode(Event(protocol.NAMES[type(data)], data))
        with self._lock:
            if self._queued_events >= MAX_QUEUED_EVENTS:
                return
            self._queued_events += 1
        self._answers.put(b"e" + line)

    def log(self, message: str) -> None:
        self.emit(protocol.Log(message, time.time()))

    def hang_up(self) -> None:
        """End as at the end of the input."""
        if self._wake is not None:
            os.write(self._wake, b"\0")

    # -- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        writer = threading.Thread(target=self._write, name="writer", daemon=True)
        writer.start()
        try:
            self._read()
        except SystemExit:
            pass
        finally:
            self._shut_down()
            self._answers.put(None)
            writer.join(5)
        return 0

    def _on_signal(self, number: int, frame: Any) -> None:
        _ignore_signals()  # the hooks must not be cut short by a second one
        raise SystemExit(128 + number)

    def _read(self) -> None:
        splitter = Splitter()
        woken, self._wake = os.pipe()
        while True:
            if woken in select.select([self._read_fd, woken], [], [])[0]:
                return
            data = os.read(self._read_fd, 65536)
            if not data:
                return
            try:
                lines = splitter.feed(data)
            except ProtocolError as error:
                self._answer(refusal(None, Fault("usage", str(error))))
                return
            for line in lines:
                if line.strip():
                    self._take(line)

    def _take(self, line: bytes) -> None:
        asked = read_asked(line, self._operations)
        if isinstance(asked, Refusal):
            self._answer(encode(asked))
            return
        self.asked += 1
        if asked.served.operation.name in QUICK:
            self._perform(asked)
        else:
            name = asked.served.operation.name
            threading.Thread(target=self._perform, args=(asked,), name=name, daemon=True).start()

    def _perform(self, asked: Asked) -> None:
        try:
            line = reply(asked.id, asked.served.perform(self, asked.arguments))
        except AgentFault as fault:
            line = refusal(asked.id, fault.fault())
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            line = refusal(asked.id, Fault("host", f"{where}{error.strerror or error}"))
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            line = refusal(asked.id, Fault("host", text, trace=traceback.format_exc(limit=-6)))
        self._answer(line)
        with self._lock:
            self.answered += 1

    def _answer(self, line: bytes) -> None:
        self._answers.put(b"a" + line)

    def _write(self) -> None:
        while True:
            message = self._answers.get()
            if message is None:
                return
            if message[:1] == b"e":
                with self._lock:
                    self._queued_events -= 1
            view = memoryview(message)[1:]
            try:
                while view:
                    view = view[os.write(self._write_fd, view) :]
            except OSError:
                return  # the controller is gone; the end of the input says the same

    def _shut_down(self) -> None:
        _ignore_signals()
        self.stopping.set()
        for hook in reversed(self.shutdown_hooks):
            try:
                hook()
            except Exception:
                sys.stderr.write(traceback.format_exc())


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def hello(agent: Agent, arguments: Nothing) -> protocol.Hello:
    """Who and where the agent is, and what the modules add."""
    more: dict[str, Any] = {}
    for module in agent.modules:
        if hasattr(module, "hello"):
            more.update(module.hello(agent))
    return protocol.Hello(
        protocol=VERSION,
        python=".".join(str(part) for part in sys.version_info[:3]),
        uid=os.getuid(),
        pid=os.getpid(),
        boot_id=boot_id(),
        hostname=os.uname().nodename,
        kernel=os.uname().release,
        machine=os.uname().machine,
        **more,
    )


def clock(agent: Agent, arguments: Nothing) -> protocol.Clock:
    return protocol.Clock(time.time(), time.monotonic())


OPERATIONS = (Served(protocol.HELLO, hello), Served(protocol.CLOCK, clock))


def main() -> int:
    """``agent.pyz``: the agent itself; with ``guard …`` or ``inside …``: ``guard.py``, ``capture/inside.py``.

    Whatever these make is root's alone; what the JVM's user is to read has its mode set where it is made.
    """
    os.umask(0o077)
    if len(sys.argv) > 1 and sys.argv[1] == "guard":
        from jvbtune.agent.guard import main as guard_main

        return guard_main(sys.argv[2:])
    if len(sys.argv) > 1 and sys.argv[1] == "deployguard":
        from jvbtune.agent.deployguard import main as deployguard_main

        return deployguard_main(sys.argv[2:])
    if len(sys.argv) > 1 and sys.argv[1] == "inside":
        from jvbtune.agent.capture.inside import main as inside_main

        return inside_main(sys.argv[2:])
    agent = Agent()
    agent._answer(b"\n")  # ends what the login printed, if that has no end of line
    return agent.run()
