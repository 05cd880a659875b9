"""The agent's loop: one JSON object a line, requests in, answers and events out.

    {"id": 1, "op": "clock", "args": {}}                       request
    {"id": 1, "ok": true, "result": {...}}                     answer
    {"id": 1, "ok": false, "error": {"kind", "message", "hint"}}
    {"event": "sample", "data": {...}}                         event: has no id

Long operations run in threads of their own, so that the heartbeat, the clock and the samples go on; answers may come
out of order. When the input ends, or on SIGTERM, SIGHUP or SIGINT, the shutdown hooks run (tuning puts the host back)
and the agent exits. A controller that stops reading loses samples, never answers.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import Any, Callable

from jvbtune.agent import VERSION
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.procfs import boot_id

#: Each offers ``OPERATIONS``; may offer ``hello(agent) -> dict`` (put into the answer of ``hello``).
MODULES = ("bridge", "capture", "provenance", "sampler", "tuning")
#: These answer at once and in order; all others get a thread.
QUICK = {"clock", "hello", "tuning.renew", "tuning.status"}
MAX_QUEUED_EVENTS = 4096

Operation = Callable[["Agent", dict[str, Any]], Any]


class Agent:
    """The running agent, as operations see it."""

    def __init__(self, read_fd: int = 0, write_fd: int = 1) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._answers: queue.Queue[bytes | None] = queue.Queue()
        self._queued_events = 0
        self._dropped_events = 0
        self._lock = threading.Lock()
        self._operations: dict[str, Operation] = {"hello": hello, "clock": clock}
        self.modules = [importlib.import_module("jvbtune.agent." + name) for name in MODULES]
        for module in self.modules:
            self._operations.update(module.OPERATIONS)
        self.shutdown_hooks: list[Callable[[], None]] = []
        self.state: dict[str, Any] = {}  #: what modules keep between operations, under their own names
        self.stopping = threading.Event()

    # -- what operations use ------------------------------------------------------------------------------------

    def emit(self, event: str, data: Any) -> None:
        """Send an event. Dropped, and counted, where the controller does not keep up."""
        with self._lock:
            if self._queued_events >= MAX_QUEUED_EVENTS:
                self._dropped_events += 1
                return
            self._queued_events += 1
        self._put({"event": event, "data": data}, event=True)

    def log(self, message: str) -> None:
        self.emit("log", {"message": message, "unix": time.time()})

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
        for again in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(again, signal.SIG_IGN)  # the hooks must not be cut short by a second one
        raise SystemExit(128 + number)

    def _read(self) -> None:
        pending = b""
        while True:
            data = os.read(self._read_fd, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                if line.strip():
                    self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            request = json.loads(line)
            number, op, arguments = request["id"], request["op"], request.get("args") or {}
        except (ValueError, KeyError, TypeError):
            self.log(f"not a request: {line[:200]!r}")
            return
        operation = self._operations.get(op)
        if operation is None:
            self._answer(number, error={"kind": "usage", "message": f"unknown operation {op!r}", "hint": None})
        elif op in QUICK:
            self._perform(number, operation, arguments)
        else:
            threading.Thread(target=self._perform, args=(number, operation, arguments), name=op, daemon=True).start()

    def _perform(self, number: Any, operation: Operation, arguments: dict[str, Any]) -> None:
        try:
            result = operation(self, arguments)
        except AgentFault as fault:
            self._answer(number, error=fault.to_json())
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            trace = traceback.format_exc(limit=-6)
            self._answer(number, error={"kind": "host", "message": text, "hint": None, "trace": trace})
        else:
            self._answer(number, result=result)

    def _answer(self, number: Any, result: Any = None, error: dict[str, Any] | None = None) -> None:
        answer: dict[str, Any] = {"id": number, "ok": error is None}
        if error is None:
            answer["result"] = result
        else:
            answer["error"] = error
        self._put(answer)

    def _put(self, message: dict[str, Any], event: bool = False) -> None:
        line = json.dumps(message, default=str, separators=(",", ":")).encode() + b"\n"
        self._answers.put(b"e" + line if event else b"a" + line)

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
        self.stopping.set()
        for hook in reversed(self.shutdown_hooks):
            try:
                hook()
            except Exception:
                sys.stderr.write(traceback.format_exc())


def hello(agent: Agent, arguments: dict[str, Any]) -> dict[str, Any]:
    """Who and where the agent is, and what the host lacks."""
    answer: dict[str, Any] = {
        "protocol": VERSION,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "uid": os.getuid(),
        "pid": os.getpid(),
        "boot_id": boot_id(),
        "hostname": os.uname().nodename,
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "lacks": [],
    }
    for module in agent.modules:
        more = getattr(module, "hello", None)
        if more is not None:
            found = more(agent)
            answer["lacks"] += found.pop("lacks", [])
            answer.update(found)
    return answer


def clock(agent: Agent, arguments: dict[str, Any]) -> dict[str, float]:
    return {"unix": time.time(), "mono": time.monotonic()}


def main() -> int:
    """``agent.pyz``: the agent itself; with ``guard …`` or ``inside …``: ``guard.py``, ``capture_inside.py``."""
    if len(sys.argv) > 1 and sys.argv[1] == "guard":
        from jvbtune.agent.guard import main as guard_main

        return guard_main(sys.argv[2:])
    if len(sys.argv) > 1 and sys.argv[1] == "inside":
        from jvbtune.agent.capture_inside import main as inside_main

        return inside_main(sys.argv[2:])
    return Agent().run()
