"""The command's own mistakes: each is refused before a host is touched."""

from __future__ import annotations

import contextlib
import http.server
import io
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from jvbtune.cli import _run
from jvbtune.cli.observe import _target
from jvbtune.errors import ConfigError
from jvbtune.observe.influxdb import InfluxWriter, Target
from tests.observe.samples import ROW

NONE = dict.fromkeys(
    (
        "influxdb", "influxdb_database", "influxdb_user", "influxdb_password_file", "influxdb_bucket", "influxdb_org",
        "influxdb_token_file", "influxdb_ca",
    )
)  # fmt: skip


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "jvbtune.toml"
    path.write_text('[hosts.jvb-1]\nssh = "jvb-1"\n[hosts.jvb-2]\nssh = "jvb-2"\n')
    return path


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "Name the hosts"),
        (("--host", "jvb-1", "--capacity", "jvb-2=5000"), "jvb-2 is not among the hosts"),
        (("--host", "jvb-1", "--capacity", "5000"), "not HOST=PPS"),
        (("--host", "jvb-1", "--capacity", "jvb-1=many"), "many"),
        (("--host", "jvb-1", "--influxdb-bucket", "b"), "--influxdb-bucket needs --influxdb URL"),
        (("--host", "jvb-1", "--influxdb", "https://h"), "--influxdb-database"),
        (("--host", "jvb-1", "--influxdb", "https://h", "--influxdb-database", "d", "--measurement", " "), "empty"),
        (("--host", "jvb-1", "--prometheus", "9794"), "not an address and a port"),
        (("--host", "jvb-1", "--every-seconds", "0.1"), "every-seconds"),
    ],
)
def test_mistakes_are_refused(inventory: Path, options: tuple[str, ...], why: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = _run(["observe", *options, "--inventory", str(inventory)])
    assert status == 2
    assert why in err.getvalue()
    assert out.getvalue() == ""


def test_secrets_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**NONE, "influxdb": "https://h", "influxdb_bucket": "b", "influxdb_org": "o"}
    monkeypatch.setenv("INFLUX_TOKEN", "from the environment")
    target = _target(dict(options), "m")
    assert target is not None
    assert target.token == "from the environment"
    file = tmp_path / "token"
    file.write_text("from the file\n# a comment\n")
    target = _target({**options, "influxdb_token_file": file}, "m")
    assert target is not None
    assert target.headers()["Authorization"] == "Token from the file"
    file.write_text("\n")
    for path in (file, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=str(path)):
            _target({**options, "influxdb_token_file": path}, "m")


def test_observing_ends_if_nobody_reads_the_lines_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of an output costs no other output, but this is none: the reader has what it wants."""
    from jvbtune.cli import observe
    from jvbtune.cli.common import ReaderGone
    from jvbtune.observe.rows import Row

    def gone(text: str) -> None:
        raise ReaderGone

    monkeypatch.setattr(observe, "put", gone)
    stopping = threading.Event()
    lines = observe._Lines(True, stopping)
    lines.put(Row("a", {}, 1.0, {}))
    assert stopping.is_set()
    assert lines.reader_gone


@contextlib.contextmanager
def _answering(statuses: Iterator[int], body: bytes = b"") -> Iterator[str]:
    """The URL of a server that answers each write with the next status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(next(statuses))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _observed(entries: object, outputs: list[Any], *_: object, **__: object) -> None:
    for output in outputs:
        output.put(ROW)


@pytest.mark.parametrize(
    ("statuses", "body", "status", "said"),
    [
        ([204], b"", 0, None),
        ([500, 204], b"", 0, None),
        ([500], b"", 1, "500"),
        ([503, 503], b"", 1, "503"),
        ([204, 400], b'{"error": "field type conflict"}', 1, "field type conflict"),
        ([200], b"<!doctype html><html></html>", 1, "a web page answers there"),
    ],
)
def test_if_influxdb_took_no_point_the_command_fails_with_the_reason(
    statuses: list[int],
    body: bytes,
    status: int,
    said: str | None,
    inventory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from jvbtune.observe import service

    monkeypatch.setattr(service, "observe", _observed)
    with _answering(itertools.chain(statuses, itertools.repeat(statuses[-1])), body) as url:
        argv = ["--host", "jvb-1", "--inventory", str(inventory), "--influxdb", url, "--influxdb-database", "d"]
        assert _run(["observe", *argv]) == status
    read = capsys.readouterr()
    assert ("no point was written to InfluxDB" in read.err) is (said is not None)
    assert said is None or said in read.err.splitlines()[-2]


def test_that_writes_fail_and_that_they_work_again_is_said_once_each() -> None:
    said: list[str] = []
    answers = itertools.chain([204, 500, 503, 500, 400, 204, 204, 500], itertools.repeat(204))
    with _answering(answers) as url:
        writer = InfluxWriter(Target(url, "m", database="d"), said.append)
        for _ in range(9):
            writer.put(ROW)
            writer._send_batch()
    words = ["again" if "takes points again" in text else "fails" for text in said]
    assert words == ["fails", "again", "fails", "again"], said
    assert "500" in said[0]


@pytest.mark.parametrize(("address", "warned"), [(":0", True), ("[::]:0", True), ("127.0.0.1:0", False)])
def test_an_endpoint_that_everybody_can_read_is_a_warning(
    address: str,
    warned: bool,
    inventory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from jvbtune.observe import service

    monkeypatch.setattr(service, "observe", _observed)
    if address.startswith("[") and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert _run(["observe", "--host", "jvb-1", "--inventory", str(inventory), "--prometheus", address]) == 0
    said = capsys.readouterr().err
    assert ("everybody who reaches one can read it" in said) is warned
    assert ("--prometheus 127.0.0.1:" in said) is warned
