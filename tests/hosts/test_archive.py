"""What is sent to a host is whole: the agent starts from it, with nothing else of jvbtune on the path."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jvbtune.errors import AgentError, JvbtuneError
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.archive import agent_archive
from jvbtune.hosts.local import LocalHost, LocalStream
from jvbtune.inventory import GeneratorEntry
from jvbtune.load.remote import RemoteWorker
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.messages import Nothing, Operation


def test_all_that_it_imports_of_jvbtune_is_in_it() -> None:
    with zipfile.ZipFile(io.BytesIO(agent_archive().content)) as archive:
        names = set(archive.namelist())
        sources = {name: archive.read(name).decode() for name in names if name.endswith(".py")}
    assert "jvbtune/protocol/codec.py" in names
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source, feature_version=(3, 9))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            for module in modules:
                top = module.split(".")[0]
                assert top == "jvbtune" or top in sys.stdlib_module_names, f"{name} imports {module}"
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jvbtune"):
                path = str(node.module).replace(".", "/")
                assert f"{path}.py" in names or f"{path}/__init__.py" in names, f"{name} imports {node.module}"


@pytest.fixture
def running(tmp_path: Path) -> subprocess.Popen[bytes]:
    path = tmp_path / "agent.pyz"
    path.write_bytes(agent_archive().content)
    return subprocess.Popen(
        [sys.executable, "-I", "-B", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_it_refuses_what_is_no_request_and_goes_on(running: subprocess.Popen[bytes]) -> None:
    lines = [
        b"7",
        b'{"id": 1, "op": "clock"}',
        b'{"id": 2, "op": "queue.start", "args": {"bridge": {"media_prot": 1}, "seconds": 1}}',
        b'{"id": 3, "op": "clock", "args": {}}',
    ]
    out, error = running.communicate(b"\n".join(lines) + b"\n", timeout=30)
    answers = [json.loads(line) for line in out.splitlines() if line]
    said = {answer["id"]: answer["error"]["message"] for answer in answers if "error" in answer}
    assert said == {
        None: "an object is expected, not 7: '7'",
        1: "args: is missing",
        2: "queue.start.bridge.media_prot: is no field that is known",
    }
    assert [answer["id"] for answer in answers if "result" in answer] == [3]
    assert (error, running.returncode) == (b"", 0)


class Lying(LocalHost):
    """A host whose agent is a script."""

    def __init__(self, script: str) -> None:
        super().__init__("liar")
        self.script = script

    def stream(self, argv: object, *, sudo: bool = False) -> LocalStream:
        return LocalStream(self.name, ("sh", "-c", self.script))


NAMES = ("boot_id", "hostname", "kernel", "machine", "python")
HELLO = json.dumps({"id": 1, "result": {"protocol": 1, "uid": 0, "pid": 1, **dict.fromkeys(NAMES, "")}})
SAID = f"read x; echo '{HELLO}'; echo"
WAITS = "cat >/dev/null"  #: for the end of its input: a time of its own would race with the client's
SAMPLE = '{"event": "sample", "data": {"t_unix": "now"}}'


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"echo 7; {WAITS}", "did not answer|was not answered"),
        (f"""read x; echo '{{"id": 1, "result": {{"pid": 4}}}}'; {WAITS}""", r"hello result\.protocol: is missing"),
        (f"{SAID} 7; {WAITS}", "an object is expected, not 7"),
        (f"{SAID} '[[['; {WAITS}", r"the line is not JSON: '\[\[\['"),
        (
            f"""{SAID} '{{"event": "sample", "data": {{"t_unix": "now"}}}}'; cat >/dev/null""",
            r"sample\.t_mono: is missing",
        ),
        ("echo oops >&2; exit 1", "the agent ended unexpectedly: oops"),
    ],
)
def test_an_agent_that_breaks_the_protocol_is_an_error_that_says_how(
    script: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jvbtune.hosts.agent_client.HELLO_TIMEOUT_SECONDS", 1.0)
    with pytest.raises(AgentError, match=said):
        AgentClient(Lying(script))


class Chatty(LocalHost):
    """A host whose login prints something first."""

    def __init__(self, greeting: str) -> None:
        super().__init__()
        self.greeting = greeting

    def stream(self, argv: object, *, sudo: bool = False) -> LocalStream:
        return LocalStream(self.name, ("sh", "-c", f'{self.greeting}; exec "$@"', "sh", *argv))  # type: ignore[misc]


GREETINGS = ["echo Welcome; echo; echo 7", "printf 'Welcome '", "printf '\\033]0;a title\\007'"]


@pytest.mark.parametrize("greeting", GREETINGS)
def test_what_a_login_prints_before_the_agent_speaks_is_passed_over(
    greeting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jvbtune.hosts.agent_client.HELLO_TIMEOUT_SECONDS", 10.0)
    with Chatty(greeting) as host, AgentClient(host) as agent:
        assert agent.call(protocol.CLOCK, Nothing()).unix > 0
        with pytest.raises(AgentError, match=r"'no\.such' is no operation that is known"):
            agent.call(Operation("no.such", Nothing, Nothing), Nothing())


@pytest.mark.parametrize("greeting", GREETINGS)
def test_what_a_login_prints_before_the_worker_speaks_is_passed_over(greeting: str) -> None:
    lost: list[JvbtuneError] = []
    with Chatty(greeting) as host:
        worker = RemoteWorker(host, GeneratorEntry(), sys.executable, ("127.0.0.1", 9), 10, 30, lost.append)
        try:
            assert worker.clock.uncertainty < 10
        finally:
            worker.close()
    assert lost == []
