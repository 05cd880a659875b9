"""A host to apply an export to: real files, a tree of sysctls, a bridge that is a process; an agent to be killed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from jvbtune.agent import deploy, generations, rollback, sysctl
from jvbtune.agent.control import Bridge
from jvbtune.agent.deployplan import Places
from jvbtune.protocol import deploy as messages
from jvbtune.protocol import tuning
from jvbtune.protocol.agent import BridgeQuery, OfBridge
from jvbtune.protocol.codec import build
from jvbtune.protocol.messages import Nothing, Operation
from jvbtune.protocol.peers import Caller
from tests.agent.fake_bridge import FakeBridge

A = TypeVar("A")
R = TypeVar("R")

NAME, FOUND, WANTED_VALUE = "net.core.rmem_max", "212992", "425984"
JVB_CONF = 'videobridge {\n  apis.xmpp-client.configs.a.password = "swordfish"\n}\nice4j {}\n'
SETTINGS = """\
# Written by jvbtune.
videobridge.load-management.load-measurements {
  load-measurement = "packet-rate"
  packet-rate {
    load-threshold = 39500
    recovery-threshold = 31600
  }
}
videobridge.load-management.average-participant-stress = 0.00380
"""
KILLED = 137
#: The real agent, but for its places.
AGENT = """
import sys
from jvbtune.agent.deployplan import Places
from jvbtune.agent.main import Agent
agent = Agent()
agent.state["deploy_places"] = Places(*sys.argv[1:4], guarded=False, lease_seconds=float(sys.argv[4]))
sys.exit(agent.run())
"""


class RecordingBridge(FakeBridge):
    """``under``: the configuration and the value that its process was started with."""

    def __init__(self, directory: Path, look: Callable[[], Any]) -> None:
        self._look = look
        super().__init__(directory)

    @property
    def arguments(self) -> dict[str, Any]:
        """A restart command that starts faster than an interpreter."""
        request = (
            r"printf 'POST /test/restart HTTP/1.0\r\nContent-Length: 0\r\n\r\n' >&3; cat <&3 | head -1 | grep -q 200"
        )
        control = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{self.port}; {request}"]
        return {**super().arguments, "control": {"commands": {"restart": control}}}

    def start(self) -> None:
        self.under = self._look()
        self._process = subprocess.Popen(["sleep", "600"], pass_fds=[self._server.fileno()])
        self.pid_file.write_text(str(self._process.pid))


class DeployHost:
    def __init__(self, directory: Path) -> None:
        self.conf = directory / "jitsi" / "jvb.conf"
        self.conf.parent.mkdir()
        self.conf.write_text(JVB_CONF)
        self.conf.chmod(0o640)
        self.value_file = directory / "sys" / NAME.replace(".", "/")
        self.value_file.parent.mkdir(parents=True)
        self.value_file.write_text(FOUND + "\n")
        (directory / "sysctl.d").mkdir()
        self.places = Places(
            str(directory / "sys"),
            str(directory / "sysctl.d/60-jvbtune.conf"),
            str(directory / "state"),
            guarded=False,  # there is no archive; tests call what the guard does
            lease_seconds=3600.0,  # nobody asks the agents of this process by requests that it counts
        )
        self.bridge = RecordingBridge(directory, lambda: (self.conf.read_text(), self.value()))
        self.directory = directory
        self.query = build(BridgeQuery, {**self.bridge.arguments, "config_file": str(self.conf)})
        self.wanted = messages.Wanted(
            "run-1", self.query, f"# why\n{NAME} = {WANTED_VALUE}\n", {NAME: WANTED_VALUE}, SETTINGS, SETTINGS
        )
        self.agent = self.new_agent()

    def new_agent(self) -> Any:
        """The agent of a later command."""
        return SimpleNamespace(
            state={"deploy_places": self.places},
            shutdown_hooks=[],
            asked=0,
            answered=0,
            stopping=threading.Event(),
            hang_up=lambda: None,
        )

    def agent_argv(self, lease_seconds: float = 60.0) -> list[str]:
        """An agent of a process of its own."""
        places = self.places.sysctl_root, self.places.drop_in, self.places.state
        return [sys.executable, "-c", AGENT, *places, str(lease_seconds)]

    def value(self) -> str:
        return self.value_file.read_text().strip()

    def files(self) -> dict[str, tuple[bytes, int]]:
        """Everything of the host that an apply may touch, without jvbtune's own state."""
        found = {}
        for path in sorted([*self.conf.parent.iterdir(), *(self.directory / "sysctl.d").iterdir()]):
            found[path.name] = (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        return found

    def plan(self, wanted: messages.Wanted | None = None) -> messages.Planned:
        return deploy.plan(self.agent, wanted or self.wanted)

    def begin(self, wanted: messages.Wanted | None = None) -> messages.Generation:
        wanted = wanted or self.wanted
        return deploy.begin(self.agent, messages.Begin(wanted, "a test", self.plan(wanted).seen))

    def apply(self, wanted: messages.Wanted | None = None) -> messages.InForce:
        self.begin(wanted)
        found = deploy.write(self.agent, Nothing())
        deploy.release(self.agent, Nothing())
        deploy.confirm(self.agent, Nothing())
        return found

    def rollback(self) -> messages.Restored:
        """By a new command, as after a crash."""
        self.agent = self.new_agent()
        asked = messages.OfRollback(self.query, "a test")
        deploy.prepare_rollback(self.agent, asked)
        return deploy.rollback(self.agent, asked)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class AgentProcess:
    """A real agent and its controller's end. A context manager; its input stays open until it is left."""

    def __init__(self, host: DeployHost, lease_seconds: float) -> None:
        self.host = host
        self.process = subprocess.Popen(
            host.agent_argv(lease_seconds), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._caller = Caller(self._write)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def call(self, operation: Operation[A, R], arguments: A, timeout_seconds: float = 60.0) -> R:
        return self._caller.call(operation, arguments, timeout_seconds)

    def begin(self) -> None:
        """An apply: the bridge is drained."""
        planned = self.call(messages.PLAN, self.host.wanted)
        self.call(messages.BEGIN, messages.Begin(self.host.wanted, "a test", planned.seen))
        assert self.host.bridge.drain

    def is_asked_for(self, seconds: float, every_seconds: float) -> None:
        """Who is on the bridge, as by a controller that waits for calls to end."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.call(tuning.CALLS, OfBridge(self.host.query))
            time.sleep(every_seconds)

    def write_while_unhealthy(self, seconds: float) -> None:
        """The bridge is not healthy for so long after its restart."""

        def recover() -> None:
            self.host.bridge.health = 200

        self.host.bridge.health = 503
        later = threading.Timer(seconds, recover)
        later.start()
        self.call(messages.WRITE, Nothing())
        later.join()

    def _write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._caller.take(line)
        self._caller.end("it ended")

    def last_words(self) -> str:
        """Once it has ended by itself."""
        assert self.process.wait(30) == 0
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def killed_at(number: int, work: Callable[[], Any]) -> bool:
    """Do the work in a process of its own that ends, without any clean-up, at its n-th effect on the host (counting
    the moment before and the moment after each). Whether it was killed, and not done before."""
    pid = os.fork()
    if pid == 0:
        try:
            left = number

            def effect(function: Callable[..., Any]) -> Callable[..., Any]:
                def counted(*arguments: Any, **more: Any) -> Any:
                    nonlocal left
                    if left == 0:
                        os._exit(KILLED)
                    left -= 1
                    result = function(*arguments, **more)
                    if left == 0:
                        os._exit(KILLED)
                    left -= 1
                    return result

                return counted

            os.replace = effect(os.replace)
            os.unlink = effect(os.unlink)
            generations.os.makedirs = effect(os.makedirs)  # type: ignore[attr-defined]
            sysctl.write = effect(sysctl.write)
            rollback.settings.write = sysctl.write  # type: ignore[attr-defined]
            Bridge.restart = effect(Bridge.restart)  # type: ignore[method-assign]
            Bridge.drain = effect(Bridge.drain)  # type: ignore[method-assign]
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, KILLED), f"the process ended with {status}"
    return status == KILLED
