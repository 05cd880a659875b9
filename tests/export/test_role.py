"""The exported role, run by ansible-playbook against directories, values and a bridge of the test's own.

``tests/e2e/test_playbooks.py`` runs it against a real host.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jvbtune.agent.layout import BEGIN_MARK, END_MARK
from jvbtune.export import export, write_files
from jvbtune.result import RunResult
from tests.apply.results import buffer_of, simulated, with_result
from tests.export.stub_bridge import StubBridge, serving

pytestmark = [pytest.mark.root, pytest.mark.slow]

BUFFER_BYTES = 1 << 20
RMEM_MAX, BUDGET, UDP_MEM = "net.core.rmem_max", "net.core.netdev_budget", "net.ipv4.udp_mem"
#: What the host has, what is exported, and the larger number of each.
UDP_MEM_FOUND, UDP_MEM_EXPORTED, UDP_MEM_SET = "400000 500000 600000", "90000 510000 520000", "400000 510000 600000"
BLOCK = f'{BEGIN_MARK}\ninclude "jvbtune.conf"\n{END_MARK}\n'
#: Of a file instead of the kernel.
SYSCTL = """\
#!/usr/bin/env python3
import json, pathlib, re, sys
store = pathlib.Path(__file__).with_name("values.json")
values, (option, what) = json.loads(store.read_text()), sys.argv[1:]
if option == "-n":
    print(values[what])
else:
    text = pathlib.Path(what).read_text() if option == "-p" else what
    values.update(re.findall(r"(?m)^(net[.a-z0-9_]+) ?= ?(.*)$", text))
    store.write_text(json.dumps(values))
"""
#: Of a file instead of systemd; a restart is a line of the bridge's log.
SYSTEMCTL = """\
#!/bin/sh
cd "$(dirname "$0")" || exit
case $1 in
    is-active) cat unit ;;
    restart) echo "systemctl $*" >>../log && echo active >unit ;;
esac
"""
RESTART = r"ansible.builtin.command:\n\1argv: [systemctl, restart, \2]"
HOSTILE = "2.1 {{ lookup('pipe', 'id') }} {% raw %} # "


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    found = with_result(simulated(tmp_path_factory.mktemp("runs")), buffer_of(BUFFER_BYTES))
    hostile = replace(found.provenance, kernel=HOSTILE)
    return replace(found, provenance=hostile, measured_with={BUDGET: 301, UDP_MEM: UDP_MEM_EXPORTED})


@dataclass
class Host:
    """A host in a directory."""

    directory: Path
    bridge: StubBridge

    @property
    def jvb_conf(self) -> Path:
        return self.directory / "jvb/jvb.conf"

    @property
    def included(self) -> Path:
        return self.directory / "jvb/jvbtune.conf"

    @property
    def drop_in(self) -> Path:
        return self.directory / "sysctl.d/60-jvbtune.conf"

    @property
    def values(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.directory / "bin/values.json").read_text())
        return found

    def set(self, **values: str) -> None:
        names = {"rmem_max": RMEM_MAX, "budget": BUDGET}
        changed = {**self.values, **{names[name]: value for name, value in values.items()}}
        (self.directory / "bin/values.json").write_text(json.dumps(changed))

    def state(self) -> dict[str, object]:
        """Everything that an apply may change."""
        files = [path for part in ("jvb", "sysctl.d") for path in sorted((self.directory / part).iterdir())]
        return {str(path): (path.read_bytes(), path.stat().st_mode) for path in files} | {"values": self.values}

    def play(self, tasks_from: str = "main", *more: str) -> subprocess.CompletedProcess[str]:
        play = self.directory / "play.yml"
        play.write_text(
            "- {hosts: all, gather_facts: false, tasks: [{ansible.builtin.include_role: "
            f"{{name: '{self.directory}/out/roles/jvbtune', tasks_from: {tasks_from}}}}}]}}\n"
        )
        argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", str(play)]
        variables = {
            "jvbtune_conf_dir": str(self.jvb_conf.parent),
            "jvbtune_http": self.bridge.address,
            "jvbtune_kept": str(self.directory / "kept"),
            "jvbtune_journal": str(self.directory / "journal.json"),
            "jvbtune_average_participant_stress": None,
            "ansible_python_interpreter": sys.executable,
        }
        environment = {
            **os.environ,
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.directory / "tmp"),
        }
        argv += ["-e", json.dumps(variables), *more]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environment)


@pytest.fixture
def host(tmp_path: Path, result: RunResult) -> Iterator[Host]:
    for name in ("bin", "jvb", "sysctl.d"):
        (tmp_path / name).mkdir()
    for name, text in (("sysctl", SYSCTL), ("systemctl", SYSTEMCTL)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "bin/unit").write_text("active\n")
    (tmp_path / "bin/values.json").write_text(json.dumps({RMEM_MAX: "212992", BUDGET: "300", UDP_MEM: UDP_MEM_FOUND}))
    files = export(result, "ansible", pin=True)
    for path, text in files.items():
        text = text.replace("/etc/sysctl.d", str(tmp_path / "sysctl.d")).replace("seconds: 6", "seconds: 0")
        text = re.sub(r"ansible.builtin.systemd_service:\n( +)name: (.*)\n +state: restarted", RESTART, text)
        files[path] = text
    write_files(files, tmp_path / "out")
    with serving(StubBridge(tmp_path / "log")) as bridge:
        host = Host(tmp_path, bridge)
        host.jvb_conf.write_text("videobridge.a = 1")
        host.jvb_conf.chmod(0o640)
        yield host


def _changed(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.findall(r"changed=(\d+)", done.stdout)[-1])


def test_a_failed_second_apply_leaves_the_first_in_force_and_a_rollback_takes_both_back(host: Host) -> None:
    """A file of this name that was there before, from an export that was installed by hand, comes back too."""
    host.included.write_text("# by hand\n")
    before = host.state()
    assert _changed(host.play()) > 0
    assert host.jvb_conf.read_text() == "videobridge.a = 1\n" + BLOCK
    assert host.values == {RMEM_MAX: str(BUFFER_BYTES), BUDGET: "301", UDP_MEM: UDP_MEM_SET}
    assert f"\n{UDP_MEM} = {UDP_MEM_SET}\n" in host.drop_in.read_text()
    assert HOSTILE.strip() in host.drop_in.read_text()
    first = host.state()

    wanted = {RMEM_MAX: str(BUFFER_BYTES << 1), UDP_MEM: UDP_MEM_EXPORTED, "net.core.no_such": "1"}
    second = {"jvbtune_sysctls": wanted}
    (host.directory / "bin/values.json").write_text(json.dumps({**host.values, "net.core.no_such": "2"}))
    host.bridge.log.write_text("")
    done = host.play("main", "-e", json.dumps(second))
    assert done.returncode != 0
    # From before the write until the host is put back nobody can come: the one undrain is the last act.
    assert host.bridge.log.read_text().split()[-1] == "/colibri/drain/disable"
    assert host.bridge.log.read_text().count("disable") == 1
    assert {**host.state(), "values": 0} == {**first, "values": 0}
    assert host.values == {RMEM_MAX: str(BUFFER_BYTES), BUDGET: "301", UDP_MEM: UDP_MEM_SET, "net.core.no_such": "2"}
    assert "The host is as it was before this apply" in done.stdout
    assert not host.bridge.drain
    assert sorted(path.name for path in (host.directory / "kept").iterdir() if path.is_dir()) == []

    assert _changed(host.play("rollback")) > 0
    assert {**host.state(), "values": 0} == {**before, "values": 0}
    assert host.values == {RMEM_MAX: "212992", BUDGET: "300", UDP_MEM: UDP_MEM_FOUND, "net.core.no_such": "2"}
    assert not (host.directory / "kept").exists()


def test_what_somebody_changed_after_the_apply_is_kept_and_reported(host: Host) -> None:
    assert _changed(host.play()) > 0
    with host.jvb_conf.open("a") as file:
        file.write("videobridge.b = 2\n")
    with host.drop_in.open("a") as file:
        file.write("# mine\n")
    host.set(rmem_max="4194304")
    done = host.play("rollback")
    assert done.returncode == 0, done.stdout
    assert host.jvb_conf.read_text() == "videobridge.a = 1\nvideobridge.b = 2\n"
    assert host.drop_in.read_text().endswith("# mine\n")
    assert not host.included.exists()
    assert host.values == {RMEM_MAX: "4194304", BUDGET: "300", UDP_MEM: UDP_MEM_FOUND}
    for told in (
        f"{host.jvb_conf} was edited after the apply: the edit is kept",
        f"{host.drop_in} was edited after the apply, so it is left as it is",
        f"{RMEM_MAX} is 4194304: somebody else changed it",
    ):
        assert told in done.stdout
    assert f"{host.included} was" not in done.stdout
    assert BUDGET + " is" not in done.stdout


def test_the_drain_of_a_run_that_was_cut_off_is_undone_by_the_next(host: Host) -> None:
    """It is ours, and all files may be in force without a restart: the next run does everything again."""
    note = host.directory / "kept-drained"
    assert _changed(host.play()) > 0
    assert not note.exists()
    for tasks in ("main", "rollback"):
        note.write_text("disable")
        host.bridge.drain = True
        assert _changed(host.play(tasks)) > 0
        assert (host.bridge.drain, note.exists()) == (False, False)


def test_a_failed_apply_cuts_no_call_that_came_meanwhile(host: Host) -> None:
    host.bridge.joins_after_restart = True
    done = host.play("main", "-e", '{"jvbtune_average_participant_stress": 0.5, "jvbtune_drain_timeout_seconds": 5}')
    assert done.returncode != 0
    assert "The apply is not verified and stays as it is" in done.stdout
    assert host.included.exists(), "a restart with the old files would have cut the call"
    assert not host.bridge.drain


def test_a_bridge_that_does_not_answer_after_the_restart_but_may_run_is_left(host: Host) -> None:
    """Somebody moved its HTTP in jvb.conf since it started: it takes conferences, which nobody can see."""
    host.bridge.silent_after = 1
    done = host.play("main", "-e", '{"jvbtune_healthy_timeout_seconds": 2}')
    assert done.returncode != 0
    told = " ".join(done.stdout.split())
    assert "jitsi-videobridge2 is active, so calls may be on it. The apply is not verified and stays as it is" in told
    assert host.included.exists()
    assert host.bridge.log.read_text().count("systemctl restart") == 1


def test_a_bridge_that_is_down_is_rolled_back(host: Host) -> None:
    before = host.state()
    assert _changed(host.play()) > 0
    host.bridge.silent_after = 1
    (host.directory / "bin/unit").write_text("failed\n")
    assert _changed(host.play("rollback")) > 0
    assert host.state() == before
    assert not host.bridge.drain, "it starts undrained"
    assert [path.name for path in host.directory.glob("kept*")] == []


def test_a_host_that_a_sweep_has_taken_is_refused(host: Host) -> None:
    """Its values are not those from before the apply."""
    (host.directory / "journal.json").write_text("{}")
    before = host.state()
    for tasks in ("main", "rollback"):
        done = host.play(tasks)
        assert done.returncode != 0
        assert "run jvbtune revert --host HOST first" in " ".join(done.stdout.split())
    assert host.state() == before
    assert not host.bridge.log.exists()


def test_a_linked_jvb_conf_gives_its_own_mode_and_not_the_links(host: Host) -> None:
    behind = host.directory / "behind.conf"
    host.jvb_conf.rename(behind)
    host.jvb_conf.symlink_to(behind)
    assert _changed(host.play()) > 0
    assert host.included.stat().st_mode & 0o777 == 0o640
    assert host.jvb_conf.is_symlink()


@pytest.mark.parametrize(("unit", "name"), [("jitsi-videobridge2", "ansible"), ("jvb-b", "ansible-jvb-b")])
def test_each_bridge_of_a_machine_has_its_own_way_back(host: Host, unit: str, name: str) -> None:
    """The Debian package's unit has the directory that earlier versions used."""
    argv = [str(Path(sys.executable).with_name("ansible")), "localhost", "-i", "localhost,", "-m", "debug"]
    defaults = f"@{host.directory}/out/roles/jvbtune/defaults/main.yml"
    argv += ["-a", "var=jvbtune_kept", "-e", defaults, "-e", f"jvbtune_unit={unit}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert f'"/var/lib/jvbtune/{name}"' in done.stdout


def test_a_larger_cap_and_a_drain_are_kept_and_the_include_is_inside_the_braces(host: Host) -> None:
    host.bridge.drain = True
    host.jvb_conf.write_text("{\n  a { b = 1 }\n}\n# }\n")
    host.set(rmem_max="33554432")
    assert _changed(host.play()) > 0
    assert host.values[RMEM_MAX] == "33554432"
    assert f"\n{RMEM_MAX} = 33554432\n" in host.drop_in.read_text()
    assert host.jvb_conf.read_text() == "{\n  a { b = 1 }\n" + BLOCK + "}\n# }\n"
    assert host.bridge.drain, "it was drained by somebody else"
    assert _changed(host.play("verify")) == 0


def test_a_jvb_conf_to_which_nothing_can_be_added_is_left(host: Host) -> None:
    host.jvb_conf.write_text("{ a = 1 }\n")
    before = host.state()
    done = host.play()
    assert done.returncode != 0
    assert "is not on a line of its own" in done.stdout
    assert host.state() == before
