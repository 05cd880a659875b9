"""Work without a host, for what the controller and its processes promise."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from jvbtune.errors import HostError
from jvbtune.fleet.nursery import Message, Tell
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.interrupts import held, pause
from jvbtune.inventory import HostEntry, bridge_arguments
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.samples import Sample


@dataclass(frozen=True)
class Ends:
    """With a word, an error, a crash, or by being killed."""

    how: str

    def __call__(self, tell: Tell) -> Message:
        tell("phase", phase=self.how)
        if self.how == "error":
            raise HostError("the link is cut", hint="Mend it.")
        if self.how == "crash":
            raise ZeroDivisionError("seven")
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"exit_code": 5 if self.how == "no recommendation" else 0, "reason": "fine"}


@dataclass(frozen=True)
class PutsBack:
    """Works until it is interrupted, tells of it every second, and puts its host back: a file of the directory says
    how far it is."""

    directory: Path
    name: str
    seconds: float = 60.0
    back_seconds: float = 0.3

    def __call__(self, tell: Tell) -> Message:
        (self.directory / f"{self.name}.at-work").write_text(str(os.getpid()))
        tell("phase", phase="at work")
        end = time.monotonic() + self.seconds
        try:
            while (left := end - time.monotonic()) > 0:
                pause(min(1.0, left))
                tell("phase", phase="at work")
        finally:
            with held():
                time.sleep(self.back_seconds)
                (self.directory / f"{self.name}.back").write_text("")
        return {}


@dataclass(frozen=True)
class Streams:
    """A host's samples until the file ``stop`` is there; how many they were, and whether one in between is missing."""

    entry: HostEntry
    stop: Path
    after_seconds: float = 0.0

    def __call__(self, tell: Tell) -> Message:
        time.sleep(self.after_seconds)
        with connect(self.entry) as host, AgentClient(host) as agent:
            agent.call(protocol.SAMPLE_START, protocol.StartSampling(bridge_arguments(self.entry), 1.0))
            tell("phase", phase="streaming")
            while not self.stop.exists():
                pause(1.0)
            events = [agent.events.get_nowait() for _ in range(agent.events.qsize())]
        numbers = [event.seq for event in events if isinstance(event, Sample)]
        whole = bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        return {"data": {"samples": len(numbers), "whole": whole}}
