"""What a bridge asks for, by its configuration: the cases, secrets, and what the agent sends of a real process."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvbtune.agent import jvbconfig
from jvbtune.agent.jvbconfig import redacted
from jvbtune.bridge.config import asked_buffer, java_properties
from jvbtune.errors import BridgeError
from jvbtune.protocol.agent import BridgeQuery, ReadConfig
from jvbtune.protocol.agent import Unreadable as UnreadableFile
from tests.bridge.configs import CASES, host_of, load

KEY = "ice4j.harvest.udp.receive-buffer-size"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_buffer_that_a_bridge_asks_for(case: Path) -> None:
    document = load(case)
    found = asked_buffer(host_of(case))
    assert (found.known, found.asked_bytes) == (document["known"], document["asked_bytes"]), found.source
    assert found.source
    assert "hunter2" not in found.source


def test_where_the_figure_is_from_is_said() -> None:
    said = {case.name: asked_buffer(host_of(case)).source for case in CASES}
    assert said["include"].startswith(f"{KEY} in /")
    assert said["default"] == f"{KEY} by JVB's default"
    assert "SO_RCVBUF as a property" in said["legacy-file"]
    assert "not an integer" in said["unit"]
    assert said["broken"].endswith("not HOCON that jvbtune can read")
    assert ":3:" in said["broken"]
    assert "url(…), which only the bridge can read" in said["url"]
    assert "not UTF-8" in said["utf16"]


def test_only_names_that_the_configuration_refers_to_are_asked_for() -> None:
    case = next(case for case in CASES if case.name == "secrets")
    names: list[str] = []
    asked_buffer(host_of(case, names))
    assert not [name for name in names if "PASSWORD" in name]  # the agent has removed the reference with the value


def test_a_host_that_fails_is_no_known_buffer() -> None:
    def ask(files: list[str], names: list[str]) -> dict[str, str]:
        raise BridgeError("no Jitsi Videobridge is running on this host")

    found = asked_buffer(ask)
    assert (found.known, found.source) == (False, "no Jitsi Videobridge is running on this host")


@pytest.mark.parametrize(
    "text",
    [
        'password = "hunter2"',
        "password=hunter2",
        '"PASSWORD" : "hunter2",',
        'jvb.xmpp.password = """hun"ter2"""',
        "password = ${?A}hunter2",
        'org.jitsi.PASSWORD="hunter2\\" more"',
        "shared-secret += hunter2",
        "turn { credential = hunter2 }",
        "api_key = hunter2 # comment",
        "auth-token: hunter2",
    ],
)
def test_secrets_do_not_leave_the_host(text: str) -> None:
    after = redacted(f"a = 1\n{text}\nb = 2\n".encode())
    assert b"hunter2" not in after
    assert after.startswith(b"a = 1\n")
    assert after.endswith(b"b = 2\n")
    assert after.count(b"\n") == 3


def test_what_is_no_secret_stays() -> None:
    text = b'keyframe = 1\nmonkey.business = "x"\nice4j { harvest.udp.receive-buffer-size = 5 }\n'
    assert redacted(text) == text


@pytest.fixture
def process(tmp_path: Path) -> Iterator[int]:
    """A process with a JVM's command line and environment."""
    argv = ["java", "-s", "--", "-Da=1", "-Da=2", "-Dconfig.file=jvb.conf", "-DXMPP_PASSWORD=hunter2", "Main", "-Dno=1"]
    environment = {
        "PATH": os.environ["PATH"],
        "JAVA_TOOL_OPTIONS": "-Da=0 -Dtool='with blank' -Dover=1",
        "_JAVA_OPTIONS": "-Dover=2",
        "BUFFER": "7",
        "JVB_AUTH_PASSWORD": "hunter2",
    }
    (tmp_path / "jvb.conf").write_text('password = "hunter2"\nx = 1\n')
    (tmp_path / "pipe").mkdir()
    with subprocess.Popen(
        argv, executable="/bin/bash", stdin=subprocess.PIPE, env=environment, cwd=tmp_path
    ) as started:
        yield started.pid
        assert started.stdin is not None
        started.stdin.close()


def test_what_the_agent_tells_of_a_process(process: int, tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(str(process))
    names = ["a", "tool", "over", "no", "config.file", "XMPP_PASSWORD", "BUFFER", "JVB_AUTH_PASSWORD"]
    files = [str(tmp_path / "jvb.conf"), str(tmp_path / "none.conf"), str(tmp_path / "pipe"), "relative.conf"]
    query = BridgeQuery(pid_file=str(tmp_path / "pid"))
    found = jvbconfig.read(None, ReadConfig(query, files, names))
    assert found.properties == {
        "a": "2",
        "tool": "with blank",
        "over": "2",
        "config.file": "jvb.conf",
        "XMPP_PASSWORD": "removed",
    }
    assert found.environment == {"BUFFER": "7", "JVB_AUTH_PASSWORD": "removed"}
    assert found.directory == str(tmp_path)
    assert not found.argument_files
    assert "hunter2" not in str(found)
    assert [type(found.files[path]) for path in files] == [str, type(None), UnreadableFile, UnreadableFile]


def test_java_properties() -> None:
    text = "# c\n! c\na=1\nb : 2\nc 3\n  d\\ e = f\\\n    g\nh\nu=\\u0041\\t\\n\nk\\:l==\n"
    assert java_properties(text) == {
        "a": "1",
        "b": "2",
        "c": "3",
        "d e": "fg",
        "h": "",
        "u": "A\t\n",
        "k:l": "=",
    }
