"""The start-up script, run by a shell against directories and a bridge of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import hocon
import pytest

from jvbtune.agent.layout import BEGIN_MARK, END_MARK
from jvbtune.export import export
from jvbtune.result import RunResult
from tests.apply.results import buffer_of, simulated, with_result
from tests.export.stub_bridge import StubBridge, serving

BUFFER_BYTES = 1 << 20
BLOCK = f'{BEGIN_MARK}\ninclude "jvbtune.conf"\n{END_MARK}\n'
#: What the script calls, as far as it would touch this machine. Each call is a line of the log.
STUBS = {
    "sysctl": 'case "$*" in "-n net.ipv4.udp_mem") echo "$UDP_MEM" ;; -n*) echo "$RMEM_MAX" ;; '
    '*) echo "sysctl $*" >>"$LOG" ;; esac',
    "systemctl": 'if [ "$1" != is-active ]; then echo "systemctl $*" >>"$LOG"; fi',
    "chown": 'echo "chown $1" >>"$LOG"; exit "${CHOWN_STATUS:-0}"',
    "sleep": 'echo "sleep $1" >>"$LOG"',
}

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return with_result(simulated(tmp_path_factory.mktemp("runs")), buffer_of(BUFFER_BYTES))


@dataclass
class Host:
    """A host's files, its bridge, and what was called, in order."""

    directory: Path
    result: RunResult
    bridge: StubBridge
    calls: list[str] = field(default_factory=list)
    pin: bool = False

    @property
    def drop_in(self) -> Path:
        return self.directory / "sysctl.d/60-jvbtune.conf"

    @property
    def jvb_conf(self) -> Path:
        return self.directory / "jvb/jvb.conf"

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        log, script = self.bridge.log, self.directory / "startup.sh"
        text = export(self.result, "startup", pin=self.pin)["jvbtune-startup.sh"]
        script.write_text(text.replace("/etc/sysctl.d", str(self.drop_in.parent)))
        known = {
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            "JVBTUNE_CONF_DIR": str(self.jvb_conf.parent),
            "JVBTUNE_HTTP": self.bridge.address,
            "JVBTUNE_DUE": str(self.directory / "due"),
            "LOG": str(log),
            "RMEM_MAX": "212992",
        }
        done = subprocess.run(
            ["sh", str(script)], capture_output=True, text=True, timeout=60, check=False, env={**known, **environment}
        )
        self.calls = log.read_text().splitlines() if log.exists() else []
        return done

    def temporary(self) -> list[str]:
        return [path.name for path in self.directory.rglob("*.conf.*")]


@pytest.fixture
def host(tmp_path: Path, result: RunResult) -> Iterator[Host]:
    for name in ("bin", "sysctl.d", "jvb"):
        (tmp_path / name).mkdir()
    for name, body in STUBS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "jvb/jvb.conf").write_text("videobridge.a = 1\n")
    with serving(StubBridge(tmp_path / "log")) as bridge:
        yield Host(tmp_path, result, bridge)


def test_a_host_without_sysctl_conf_gets_its_files_once_and_a_restart_of_the_drained_bridge(host: Host) -> None:
    """Nothing is asked of /etc/sysctl.conf: Debian 13 has none."""
    done = host.run()
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in host.drop_in.read_text().splitlines() if not line.startswith("#")]
    assert lines == [f"net.core.rmem_max = {BUFFER_BYTES}"]
    assert host.drop_in.stat().st_mode & 0o777 == 0o644
    stat = host.jvb_conf.stat()
    owner = f"chown {stat.st_uid}:{stat.st_gid}"
    assert host.calls == [
        "chown root:root",
        f"sysctl -q -p {host.drop_in}",
        owner,
        owner,
        "POST /colibri/drain/enable",
        "sleep 6",
        "systemctl restart jitsi-videobridge2",
        "POST /colibri/drain/disable",  # this bridge comes back in the drain mode that it had
    ]
    assert host.jvb_conf.read_text() == "videobridge.a = 1\n" + BLOCK
    host.bridge.log.unlink()
    assert host.run().returncode == 0
    assert host.calls == [f"sysctl -q -p {host.drop_in}"]
    assert host.temporary() == []


def test_a_drained_bridge_stays_drained(host: Host) -> None:
    host.bridge.drain = True
    assert host.run().returncode == 0
    assert [call for call in host.calls if not call.startswith(("chown", "sysctl"))] == [
        "sleep 6",
        "systemctl restart jitsi-videobridge2",
    ]
    assert host.bridge.drain


def test_a_bridge_that_gets_a_conference_is_undrained_and_not_restarted(host: Host) -> None:
    host.bridge.joins_at_drain = True
    done = host.run()
    assert done.returncode == 0
    assert "drain it, then restart it" in done.stderr
    assert not [call for call in host.calls if call.startswith("systemctl")]
    assert not host.bridge.drain

    host.bridge.joins_at_drain, host.bridge.participants = False, 0
    assert (host.run().stderr, host.bridge.drain) == ("", False)
    assert "systemctl restart jitsi-videobridge2" in host.calls, "the files that were written then are not in force yet"
    host.bridge.log.unlink()
    host.run()
    assert not [call for call in host.calls if call.startswith(("systemctl", "POST"))]


def test_a_failure_leaves_no_temporary_file(host: Host) -> None:
    assert host.run(CHOWN_STATUS="1").returncode == 1
    assert not host.drop_in.exists()
    assert host.temporary() == []


def test_a_larger_cap_of_the_host_is_kept(host: Host) -> None:
    assert host.run(RMEM_MAX="33554432").returncode == 0
    assert "\nnet.core.rmem_max = 33554432\n" in host.drop_in.read_text()


def test_no_number_of_udp_mem_is_lowered(host: Host) -> None:
    """The run was measured on a host with less memory."""
    host.result, host.pin = replace(host.result, measured_with={"net.ipv4.udp_mem": "90000 510000 520000"}), True
    assert host.run(UDP_MEM="400000\t500000\t600000").returncode == 0
    lines = [line for line in host.drop_in.read_text().splitlines() if not line.startswith("#")]
    assert lines == [f"net.core.rmem_max = {BUFFER_BYTES}", "net.ipv4.udp_mem = 400000 510000 600000"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("videobridge.a = 1", "videobridge.a = 1\n" + BLOCK),
        ("", BLOCK),
        ("// {\na = [\n  {b = 1}\n]\n", "// {\na = [\n  {b = 1}\n]\n" + BLOCK),
        ("# head\n{\n  a { b = 1 }\n}\n# }\n\n", "# head\n{\n  a { b = 1 }\n" + BLOCK + "}\n# }\n\n"),
        ("\ufeff{\n  a = 1\n}", "\ufeff{\n  a = 1\n" + BLOCK + "}\n"),
    ],
)
def test_the_include_is_at_the_end_inside_the_braces_if_there_are_any(host: Host, text: str, expected: str) -> None:
    host.jvb_conf.write_text(text)
    assert host.run().returncode == 0
    assert host.jvb_conf.read_text() == expected
    hocon.parse(expected.lstrip("\ufeff").replace('include "jvbtune.conf"', "included = 1"))


@pytest.mark.parametrize(
    "text", ["{ a = 1 }\n", "{\n  a = 1 }\n", '{\n  a = """\n  }\n# """ }\n', "{\n  a = 1\n} # end\n"]
)
def test_braces_that_a_shell_cannot_tell_for_sure_are_left_and_the_sysctls_are_set(host: Host, text: str) -> None:
    host.jvb_conf.write_text(text)
    done = host.run()
    assert done.returncode == 0
    assert "is left as it is" in done.stderr
    assert host.jvb_conf.read_text() == text
    assert [path.name for path in host.jvb_conf.parent.iterdir()] == ["jvb.conf"]
    assert f"sysctl -q -p {host.drop_in}" in host.calls


def test_the_file_behind_a_link_is_changed_and_the_link_stays(host: Host) -> None:
    behind = host.directory / "behind.conf"
    host.jvb_conf.rename(behind)
    host.jvb_conf.symlink_to(behind)
    assert host.run().returncode == 0
    assert host.jvb_conf.is_symlink()
    assert behind.read_text().endswith(BLOCK)
