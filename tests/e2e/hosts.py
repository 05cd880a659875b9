"""Sweeps against a booted host: by the command line, and by a controller of its own that waits to be disturbed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jvbtune.bridge.client import BridgeClient
from jvbtune.hosts import connect
from jvbtune.inventory import HostEntry, load_inventory
from jvbtune.lab.hosts import SystemdLab
from jvbtune.load import IntendedLoad, Mix, open_generator
from jvbtune.load.colibri import Conference, LocalTransport, Sources

#: A setting that no bridge notices, so that nothing has to be restarted for it.
NAME, VALUE = "net.core.netdev_budget", "301"
#: Both steps with a restart, and as little load as the experiment file allows.
EXPERIMENT = """
name = "short"
blocks = 1
seed = 7
[load]
packet_rates_pps = [3000, 9000]
[load.mix]
participants = 10
senders = 6
[durations]
warm_up_seconds = 0
settle_seconds = 0.5
trial_seconds = 2
extend_seconds = 0
[[settings]]
name = "{name}"
values = [{value}]
"""
CONTROLLER = f"""
import sys, time
from pathlib import Path
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import load_inventory
from jvbtune.settings.tuning import Tuning
from jvbtune.inventory import bridge_arguments
entry = load_inventory(Path(sys.argv[1])).host(sys.argv[2])
with connect(entry) as host, AgentClient(host) as agent:
    with Tuning(agent, owner="test", run_id="disturbed", lease_seconds=float(sys.argv[3]),
                bridge=bridge_arguments(entry), settings=["{NAME}"]) as tuning:
        tuning.apply({{"{NAME}": {VALUE}}}, restart=False)
        print(agent.capabilities.pid, tuning.begun.guard_pid, tuning.begun.timer, flush=True)
        time.sleep(120)
"""


def jvbtune(*arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "jvbtune", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)


def jvbtune_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has everything loaded."""
    from jvbtune.cli import _run

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = _run(list(arguments))
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def ssh(lab: SystemdLab, command: str, user: str = "root") -> str:
    """What a command prints on the host."""
    name = lab.name if user == "root" else f"{lab.name}-ops"
    argv = ["ssh", "-F", str(lab.ssh_config), name, command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout.strip()


def entry_of(lab: SystemdLab, user: str = "root", **bridge: Any) -> HostEntry:
    """The host's entry, with keys of its bridge replaced."""
    entry = load_inventory(lab.inventory).host(lab.name if user == "root" else f"{lab.name}-ops")
    return replace(entry, bridge=replace(entry.bridge, **bridge))


def draining(lab: SystemdLab) -> bool:
    entry = lab.entry()
    with connect(entry) as host:
        return BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port).draining()


def remains(lab: SystemdLab) -> list[str]:
    """What of a lab that was taken down is still on this machine."""
    spaces = [Path("/run/netns", name) for name in lab.network.namespaces()]
    links = [Path("/sys/class/net", name) for name in lab.network.links]
    paths = [lab.directory, lab.machine.control_group, *spaces, *links]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [str(path) for path in paths if path.exists()] + [line for line in mounts if str(lab.directory) in line]


@contextmanager
def loaded(lab: SystemdLab, seconds: float) -> Iterator[None]:
    """Some load on the bridge, as a live one has it; it ends with the block."""
    entry = lab.entry()
    with connect(entry) as host, open_generator(entry, host) as generator, ThreadPoolExecutor(1) as pool:
        offering = pool.submit(generator.offer, IntendedLoad(3, Mix(participants=4, senders=2)), seconds)
        yield
        offering.result()


def value_of(name: str) -> str:
    return " ".join(Path("/proc/sys", *name.split(".")).read_text().split())


def left_behind(lab: SystemdLab) -> list[str]:
    """What a sweep has left on the host: its journal, files of /run, units, mounts, or a failed unit."""
    text = ssh(
        lab,
        "ls -d /run/jvbtune /run/jvbtune-[0-9]* 2>/dev/null; systemctl list-units --all --plain --no-legend 'jvbtune*';"
        "systemctl --failed --plain --no-legend; grep -o '[^ ]*/overlay-[^ ]*[.]conf' /proc/self/mountinfo",
    )
    found = [line for line in text.splitlines() if line.strip()]
    return found + ([str(lab.journal)] if lab.journal.exists() else [])


@dataclass
class Disturbed:
    """A sweep in the middle of a step; pids are the host's own."""

    lab: SystemdLab
    process: subprocess.Popen[str]
    agent: int
    guard: int
    timer: bool
    baseline: str

    def kill_on_host(self, *own_pids: int) -> None:
        """SIGKILL processes of the host, all before any of them could answer for another."""
        machine = self.lab.machine
        outer = {machine.own_pid(pid): pid for pid in machine.processes()}
        for own in own_pids:
            os.kill(outer[own], signal.SIGSTOP)
        for own in own_pids:
            os.kill(outer[own], signal.SIGKILL)

    def put_back_seconds(self, at_most: float) -> float:
        """How long it takes until the host is put back, journal and all."""
        begun = time.monotonic()
        while self.lab.journal.exists() or value_of(NAME) != self.baseline:
            waited = time.monotonic() - begun
            assert waited < at_most, f"after {waited:.0f} s: {value_of(NAME)}, journal {self.lab.journal.exists()}"
            time.sleep(0.05)
        return time.monotonic() - begun


@contextmanager
def disturbed(lab: SystemdLab, user: str, lease_seconds: float) -> Iterator[Disturbed]:
    """A controller that has begun, applied a value and waits."""
    baseline = value_of(NAME)
    host = lab.name if user == "root" else f"{lab.name}-ops"
    argv = [sys.executable, "-c", CONTROLLER, str(lab.inventory), host, str(lease_seconds)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline().split()
        assert len(said) == 3, process.communicate(timeout=20)[1]
        assert value_of(NAME) == VALUE
        assert lab.journal.exists()
        yield Disturbed(lab, process, int(said[0]), int(said[1]), said[2] == "True", baseline)
    finally:
        process.kill()
        process.communicate(timeout=20)
        deadline = time.monotonic() + lease_seconds + 15
        while lab.journal.exists() and time.monotonic() < deadline:
            time.sleep(0.1)


def somebody_joins(conference: Conference) -> None:
    """A participant of somebody else's conference, as Jicofo would make it."""
    transport = LocalTransport("abcd", "0123456789abcdef0123456789", "127.0.0.1", 9, ":".join(["AB"] * 32))
    conference.add("0badcafe", transport, Sources())
