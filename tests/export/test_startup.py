"""The start-up script, run by a shell against directories and a bridge of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hocon
import pytest

from jvbtune.agent.layout import BEGIN_MARK, END_MARK
from jvbtune.export import export
from jvbtune.result import RunResult
from tests.apply.results import buffer_of, simulated, with_result

BUFFER_BYTES = 1 << 20
BLOCK = f'{BEGIN_MARK}\ninclude "jvbtune.conf"\n{END_MARK}\n'
#: What the script calls, as far as it would touch this machine. Each call is a line of the log.
STUBS = {
    "sysctl": 'if [ "$1" = -n ]; then echo "$RMEM_MAX"; else echo "sysctl $*" >>"$LOG"; fi',
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
    drain: bool = False
    participants: int = 0
    joins_at_drain: bool = False  #: a conference begins in the moment before the drain
    calls: list[str] = field(default_factory=list)

    @property
    def drop_in(self) -> Path:
        return self.directory / "sysctl.d/60-jvbtune.conf"

    @property
    def jvb_conf(self) -> Path:
        return self.directory / "jvb/jvb.conf"

    def run(self, http: str, **environment: str) -> subprocess.CompletedProcess[str]:
        log, script = self.directory / "log", self.directory / "startup.sh"
        text = export(self.result, "startup")["jvbtune-startup.sh"]
        script.write_text(text.replace("/etc/sysctl.d", str(self.drop_in.parent)))
        known = {
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            "JVBTUNE_CONF_DIR": str(self.jvb_conf.parent),
            "JVBTUNE_HTTP": http,
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
def host(tmp_path: Path, result: RunResult) -> Host:
    for name in ("bin", "sysctl.d", "jvb"):
        (tmp_path / name).mkdir()
    for name, body in STUBS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    host = Host(tmp_path, result)
    host.jvb_conf.write_text("videobridge.a = 1\n")
    return host


@pytest.fixture
def http(host: Host) -> Iterator[str]:
    """Its bridge. What it is asked to do is in the log, too."""

    class Bridge(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            count = host.participants
            stats = {"participants": count, "conferences": int(count > 0), "drain": host.drain}
            self._answer({"drain": host.drain} if self.path == "/colibri/drain" else stats)

        def do_POST(self) -> None:
            with (host.directory / "log").open("a") as log:
                log.write(f"POST {self.path}\n")
            host.drain = self.path == "/colibri/drain/enable"
            host.participants += host.drain and host.joins_at_drain
            self._answer({})

        def _answer(self, answer: dict[str, object]) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer, separators=(",", ":")).encode())

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bridge)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_host_without_sysctl_conf_gets_its_files_once_and_a_restart_of_the_drained_bridge(
    host: Host, http: str
) -> None:
    """Nothing is asked of /etc/sysctl.conf: Debian 13 has none."""
    done = host.run(http)
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
    (host.directory / "log").unlink()
    assert host.run(http).returncode == 0
    assert host.calls == [f"sysctl -q -p {host.drop_in}"]
    assert host.temporary() == []


def test_a_drained_bridge_stays_drained(host: Host, http: str) -> None:
    host.drain = True
    assert host.run(http).returncode == 0
    assert [call for call in host.calls if not call.startswith(("chown", "sysctl"))] == [
        "sleep 6",
        "systemctl restart jitsi-videobridge2",
    ]
    assert host.drain


def test_a_bridge_that_gets_a_conference_is_undrained_and_not_restarted(host: Host, http: str) -> None:
    host.joins_at_drain = True
    done = host.run(http)
    assert done.returncode == 0
    assert "drain it, then restart it" in done.stderr
    assert not [call for call in host.calls if call.startswith("systemctl")]
    assert not host.drain


def test_a_failure_leaves_no_temporary_file(host: Host, http: str) -> None:
    assert host.run(http, CHOWN_STATUS="1").returncode == 1
    assert not host.drop_in.exists()
    assert host.temporary() == []


def test_a_larger_cap_of_the_host_is_kept(host: Host, http: str) -> None:
    assert host.run(http, RMEM_MAX="33554432").returncode == 0
    assert "\nnet.core.rmem_max = 33554432\n" in host.drop_in.read_text()


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
def test_the_include_is_at_the_end_inside_the_braces_if_there_are_any(
    host: Host, http: str, text: str, expected: str
) -> None:
    host.jvb_conf.write_text(text)
    assert host.run(http).returncode == 0
    assert host.jvb_conf.read_text() == expected
    hocon.parse(expected.lstrip("\ufeff").replace('include "jvbtune.conf"', "included = 1"))


@pytest.mark.parametrize(
    "text", ["{ a = 1 }\n", "{\n  a = 1 }\n", '{\n  a = """\n  }\n# """ }\n', "{\n  a = 1\n} # end\n"]
)
def test_braces_that_a_shell_cannot_tell_for_sure_are_left_and_the_sysctls_are_set(
    host: Host, http: str, text: str
) -> None:
    host.jvb_conf.write_text(text)
    done = host.run(http)
    assert done.returncode == 0
    assert "is left as it is" in done.stderr
    assert host.jvb_conf.read_text() == text
    assert [path.name for path in host.jvb_conf.parent.iterdir()] == ["jvb.conf"]
    assert f"sysctl -q -p {host.drop_in}" in host.calls


def test_the_file_behind_a_link_is_changed_and_the_link_stays(host: Host, http: str) -> None:
    behind = host.directory / "behind.conf"
    host.jvb_conf.rename(behind)
    host.jvb_conf.symlink_to(behind)
    assert host.run(http).returncode == 0
    assert host.jvb_conf.is_symlink()
    assert behind.read_text().endswith(BLOCK)
