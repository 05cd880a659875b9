"""A generator that is a command: a real one, that makes real load on the lab's bridge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.errors import LoadError
from jvbtune.hosts import connect
from jvbtune.inventory import HostEntry, load_inventory
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator
from jvbtune.load.command import CommandGenerator
from jvbtune.sweep.check import look_at_generator
from tests.load.loadhosts import bridge_is_empty, within

pytestmark = [pytest.mark.lab, pytest.mark.measured]

TOOL = [sys.executable, "-m", "tests.load.command_tool"]
AUDIO = Mix(participants=4, senders=2)


def entry_with(lab: Lab, *command: str) -> HostEntry:
    return replace(lab.entry(), generator=replace(lab.entry().generator, command=command))


def tool(lab: Lab, *faults: str) -> HostEntry:
    return entry_with(lab, *TOOL, lab.network.generator_netns, *faults)


def test_a_command_makes_the_load_and_its_figures_are_the_bridges(lab: Lab) -> None:
    entry = tool(lab)
    with connect(entry) as host, open_generator(entry, host) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        offered = generator.offer(IntendedLoad(8, AUDIO), 3.0, settle_seconds=1.0, edge=client.queue_stats)
        assert isinstance(generator, CommandGenerator)
        assert generator.endpoints == 32
        generator.stop()
        assert generator.endpoints == 0
    assert not offered.generator_limited, offered.generator_limited_because
    assert offered.offered_pps == pytest.approx(offered.intended_pps, rel=0.005)
    assert (offered.loss_ratio, offered.extra["command"]["name"]) == (0.0, "command_tool")
    counts = bridge_counts(*offered.extra["edges"], offered.duration_seconds)
    assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.05)
    assert bridge_is_empty(lab)
    assert not left_of(TOOL[-1])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("refuses", r"the command .*: no browser is left"),
        ("babbles", r"printed a line that is not of the protocol: the line is not JSON.*starting up"),
        ("dies", r"ended with status 1: .*my licence ran out"),
        ("brief", r"what it reports is wrong: seconds is 0.1, and 1 were asked for"),
    ],
)
def test_a_command_that_fails_is_an_error_that_says_how(lab: Lab, fault: str, message: str) -> None:
    entry = tool(lab, fault)
    with connect(entry) as host, open_generator(entry, host) as generator, pytest.raises(LoadError, match=message):
        generator.offer(IntendedLoad(2, AUDIO), 1.0, settle_seconds=0.2)
    assert bridge_is_empty(lab)
    assert not left_of(TOOL[-1])


def test_a_command_that_is_not_there_or_says_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = entry_with(lab, "/nowhere/tool")
    finding = look_at_generator(entry)
    assert (finding.state, finding.text) == ("problem", "there is no command /nowhere/tool")
    with connect(entry) as host, pytest.raises(LoadError, match="cannot be started: No such file"):
        open_generator(entry, host)
    monkeypatch.setattr("jvbtune.load.command.HELLO_SECONDS", 0.5)
    entry = entry_with(lab, "sleep", "60")
    with connect(entry) as host, pytest.raises(LoadError, match=r"hello was not answered within 0\.5 s"):
        open_generator(entry, host)


def test_jvbtune_load_with_a_command(lab: Lab, tmp_path: Path) -> None:
    argv = [*jvbtune_load(lab, tmp_path, tool(lab).generator.command), "--duration", "2", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["offered_pps"] == pytest.approx(3000, rel=0.005)
    assert found["bridge_pps"] == pytest.approx(3000, rel=0.05)


def test_the_command_and_its_children_end_when_jvbtune_is_killed(lab: Lab, tmp_path: Path) -> None:
    """A command that ends neither by itself nor by SIGTERM, and whose child holds nothing of jvbtune's."""
    script = tmp_path / "stubborn.sh"
    script.write_text(
        "trap '' TERM\n(trap '' TERM; exec sleep 12345 </dev/null >/dev/null 2>&1) &\n"
        'read line; echo \'{"id": 1, "result": {"name": "stubborn"}}\'\nwhile :; do sleep 12345; done\n'
    )
    path = with_command(lab, tmp_path, ("sh", str(script)))
    code = (
        "import sys, time; from pathlib import Path; from jvbtune.hosts import connect; "
        "from jvbtune.inventory import load_inventory; from jvbtune.load import open_generator; "
        "entry = load_inventory(Path(sys.argv[1])).host(sys.argv[2]); "
        "generator = open_generator(entry, connect(entry)); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path), lab.name], stdout=subprocess.PIPE) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == b"up\n"
        assert within(5, lambda: len(left_of("12345")) == 2)
        controller.send_signal(signal.SIGKILL)
        time.sleep(1.0)
        assert not left_of("12345")
        assert not left_of(str(script))


def jvbtune_load(lab: Lab, directory: Path, command: tuple[str, ...]) -> list[str]:
    path = with_command(lab, directory, command)
    argv = [sys.executable, "-m", "jvbtune", "load", "--host", lab.name, "--inventory", str(path)]
    return [*argv, "--packet-rate", "3000", "--participants", "5"]


def with_command(lab: Lab, directory: Path, command: tuple[str, ...]) -> Path:
    """The lab's own inventory, whose last table is that of the generator."""
    path = directory / "jvbtune.toml"
    path.write_text(lab.inventory.read_text() + f"command = {json.dumps(list(command))}\n")
    assert load_inventory(path).host(lab.name).generator.command == command
    return path


def left_of(part: str) -> list[int]:
    """Processes with this argument, of this machine."""

    def has(pid: str) -> bool:
        try:
            return part.encode() in Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    return [int(pid) for pid in filter(str.isdigit, os.listdir("/proc")) if has(pid)]
