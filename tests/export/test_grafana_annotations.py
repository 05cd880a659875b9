"""Runs and applies as annotations, against a server that implements the documented API of Grafana.

No real Grafana can be had from the package sources of these tests: its licence keeps it out of Debian. ``Api`` follows
https://grafana.com/docs/grafana/latest/developers/http_api/annotations/ in what is used of it.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from jvbtune.cli import cli
from jvbtune.cli.simulate import command as simulate
from jvbtune.errors import ConfigError, UsageError
from jvbtune.export.grafana.annotations import LONGEST_TAG, Annotation, of_apply, of_run
from jvbtune.export.grafana.api import Grafana, GrafanaError, Outcome
from jvbtune.protocol.deploy import Generation, ValueChange
from jvbtune.result import RunResult, result_of
from jvbtune.result.model import Source
from jvbtune.store import open_run
from tools.monitoring.servers import certificates

TOKEN = "glsa_secret"


class Api:
    """Annotations of one organization, and every request that came."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.answer: tuple[int, dict[str, str], bytes] | None = None  #: instead of the right one

    def handle(self, method: str, path: str, token: str | None, body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.requests.append((method, path))
        if self.answer is not None:
            return self.answer
        if token != f"Bearer {TOKEN}":
            return _json(401, {"message": "Invalid API key", "messageId": "api-key.invalid"})
        parts = urlsplit(path)
        root, _, number = parts.path.partition("/api/annotations")
        if root != "/grafana":
            return _json(404, {"message": "Not found"})
        if method == "GET":
            query = parse_qs(parts.query)
            assert query["type"] == ["annotation"]
            found = [one for one in self.kept if set(query["tags"]) <= set(one["tags"])]
            return _json(200, found[: int(query["limit"][0])])
        read = json.loads(body)
        assert all(len(tag) <= LONGEST_TAG for tag in read["tags"])
        if method == "POST":
            self.kept.append({"id": len(self.kept) + 1, "alertId": 0, "dashboardUID": "", "panelId": 0, **read})
            return _json(200, {"message": "Annotation added", "id": len(self.kept)})
        self.kept[int(number.strip("/")) - 1].update(read)
        return _json(200, {"message": "Annotation patched"})


def _json(status: int, body: Any) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


@contextlib.contextmanager
def served(api: Api, tls: Path | None = None) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, content = api.handle(self.command, self.path, self.headers.get("Authorization"), body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = answer

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / "server.pem", tls / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/grafana"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    with served(api) as address:
        yield address


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run, which says of itself that it is a sweep of a host."""
    directory = tmp_path_factory.mktemp("runs")
    done = CliRunner().invoke(simulate, ["--out", str(directory), "--blocks", "4", "--seconds", "5", "--seed", "4"])
    assert done.exit_code == 0, done.output
    run = open_run("latest", directory)
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps(manifest | {"host": "jvb-eu-1"}))
    before = run.path / "provenance" / "before.json"
    before.write_text(json.dumps(json.loads(before.read_text()) | {"simulated": False}))
    for derived in ("result.json", "trials.parquet"):
        (run.path / derived).unlink(missing_ok=True)
    return directory


@pytest.fixture(scope="module")
def result(runs: Path) -> RunResult:
    return result_of(open_run("latest", runs))


def events(*times: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"event": name, "unix": unix} for name, unix in times]


def annotate(*arguments: str, runs: Path, token: str | None = TOKEN) -> Result:
    environment = {"GRAFANA_TOKEN": token}
    return CliRunner().invoke(cli, ["annotate", *arguments, "--runs-dir", str(runs)], env=environment)


def test_a_run_is_a_region_with_its_tags(api: Api, url: str, runs: Path, result: RunResult) -> None:
    done = annotate("--grafana", url, "latest", runs=runs)
    assert done.exit_code == 0, done.output
    (kept,) = api.kept
    journal = open_run("latest", runs).events("run_started", "run_finished")
    assert kept["time"] == round(1000 * journal[0]["unix"])
    assert kept["timeEnd"] == round(1000 * journal[-1]["unix"])
    assert kept["timeEnd"] > kept["time"]
    assert set(kept["tags"]) == {"jvbtune", "sweep", "session:1", "host:jvb-eu-1", f"run:{result.id}"}
    assert "Max packet rate" in kept["text"]
    assert result.id in kept["text"]


def test_a_second_call_adds_nothing(api: Api, url: str, runs: Path) -> None:
    outputs = [annotate("--grafana", url, "latest", runs=runs).output for _ in range(3)]
    assert len(api.kept) == 1
    assert [method for method, _ in api.requests] == ["GET", "POST", "GET", "GET"]
    assert [output.partition(":")[0] for output in outputs] == ["added", "unchanged", "unchanged"]


def test_what_changed_since_is_changed(api: Api, url: str, result: RunResult) -> None:
    grafana = Grafana(url, TOKEN)
    (running,) = of_run(result, events(("run_started", 100.0), ("trial_started", 160.0)))
    (done,) = of_run(result, events(("run_started", 100.0), ("trial_started", 160.0), ("run_finished", 200.0)))
    assert [grafana.put(one) for one in (running, done, done)] == ["added", "changed", "unchanged"]
    (kept,) = api.kept
    assert (kept["time"], kept["timeEnd"]) == (100_000, 200_000)
    assert "running" not in kept["text"]


def test_annotations_of_others_are_left_alone(api: Api, url: str, runs: Path, result: RunResult) -> None:
    others = [{"id": 1, "time": 1, "timeEnd": 2, "tags": ["jvbtune", "run:another"], "text": "x"}]
    others += [{"id": 2, "time": 1, "timeEnd": 2, "tags": ["deploy"], "text": "y"}]
    api.kept = [dict(one) for one in others]
    annotate("--grafana", url, "latest", runs=runs)
    assert api.kept[:2] == others
    assert len(api.kept) == 3


@pytest.mark.parametrize("end", [None, 0, "begin"])
def test_a_moment_is_found_again_in_every_version(api: Api, url: str, end: object) -> None:
    apply = of_apply("h", Generation(3, "r", "me", "applied", 50.0))
    api.kept = [{"id": 1, "time": 50_000, "tags": [*apply.tags], "text": apply.text}]
    if end is not None:
        api.kept[0]["timeEnd"] = 50_000 if end == "begin" else end
    assert Grafana(url, TOKEN).put(apply) is Outcome.UNCHANGED


def test_a_resumed_run_is_a_region_for_each_session(result: RunResult) -> None:
    """Between sessions the host was free: one region over both would claim a night that nothing was done."""
    journal = events(
        ("run_started", 100.0),
        ("trial_finished", 150.0),  # and killed
        ("run_resumed", 90_000.0),
        ("run_finished", 90_100.0),
    )
    first, second = of_run(result, journal)
    assert (first.begin_ms, first.end_ms) == (100_000, 150_000)
    assert (second.begin_ms, second.end_ms) == (90_000_000, 90_100_000)
    assert first.key != second.key
    assert "session 1 of 2" in first.text
    assert "Max packet rate" not in first.text
    assert "Max packet rate" in second.text


def test_an_apply_is_a_moment() -> None:
    latest = Generation(7, "r1", "ops@x", "applied", 1000.5, restart=True, files=["/etc/jitsi/videobridge/jvb.conf"])
    latest.values["net.core.rmem_max"] = ValueChange(found="212992", wanted="10485760")
    one = of_apply("jvb-eu-1", latest)
    assert (one.begin_ms, one.end_ms) == (1_000_500, None)
    assert set(one.tags) == {"jvbtune", "apply", "apply:7", "host:jvb-eu-1", "run:r1"}
    for words in ("r1", "jvb-eu-1", "ops@x", "restarted", "jvb.conf", "net.core.rmem_max"):
        assert words in one.text


def test_a_run_without_a_host_is_refused(result: RunResult) -> None:
    for source in (Source.SIMULATED, Source.CSV):
        with pytest.raises(UsageError, match="no time on a host"):
            of_run(replace(result, source=source), events(("run_started", 1.0)))


def test_text_of_a_host_is_no_markup_and_no_second_tag(result: RunResult) -> None:
    evil = replace(result, host='<img src=x onerror="alert(1)">\njvbtune', id="r" * 300)
    (one,) = of_run(evil, events(("run_started", 1.0), ("run_finished", 2.0)))
    assert "<img" not in one.text
    assert all(len(tag) <= LONGEST_TAG and "\n" not in tag for tag in one.tags)
    (other,) = of_run(replace(evil, id="r" * 299), events(("run_started", 1.0)))
    assert other.key != one.key


def test_https_with_a_ca(api: Api, tmp_path: Path) -> None:
    ca = certificates(tmp_path).ca
    with served(api, tls=tmp_path) as address:
        moment = Annotation(("jvbtune", "x"), ("jvbtune", "x"), 1, None, "t")
        assert Grafana(address, TOKEN, ca).put(moment) is Outcome.ADDED
        with pytest.raises(GrafanaError, match="not trusted") as refused:
            Grafana(address, TOKEN).put(moment)
        assert "--ca" in str(refused.value.hint)
    assert len(api.kept) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_json(401, {"message": "Invalid API key"}), "401 Invalid API key"),
        (_json(403, {"message": "Permission denied"}), "annotations:write"),
        (_json(404, {"message": "Not found"}), "with its path"),
        (_json(500, {"message": "boom\x1b[2J"}), "500 boom"),
        ((502, {}, b"<html>"), "502"),
        ((302, {"Location": "https://elsewhere.example.org/login"}, b""), "redirects to https://elsewhere"),
        ((200, {}, b"<html>a page</html>"), "not JSON"),
        ((200, {}, b'{"message": "x"}'), "not a list"),
        ((200, {}, b"[" * 100_000), "not JSON"),
    ],
)
def test_what_the_server_refuses_is_said(
    api: Api, url: str, runs: Path, answer: tuple[int, dict[str, str], bytes], words: str
) -> None:
    api.answer = answer
    done = annotate("--grafana", url, "latest", runs=runs)
    assert isinstance(done.exception, GrafanaError)
    assert words in str(done.exception)
    assert "\x1b" not in str(done.exception)
    assert TOKEN not in str(done.exception)
    assert len(api.requests) == 1


def test_nobody_there(runs: Path) -> None:
    done = annotate("--grafana", "http://127.0.0.1:9/", "latest", runs=runs)
    assert isinstance(done.exception, GrafanaError)
    assert "does not answer" in str(done.exception)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("grafana.example.org", "not an http"),
        ("ftp://x", "not an http"),
        ("https://", "not an http"),
        ("https://[::1", "not an http"),
        ("https://user:secret@x", "no user"),
        ("https://x/?orgId=1", "no user, password or query"),
    ],
)
def test_addresses_that_cannot_be(address: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        Grafana(address, TOKEN)
    assert "secret" not in str(refused.value)


def test_the_token_comes_from_a_file_or_the_environment(api: Api, url: str, runs: Path, tmp_path: Path) -> None:
    none = annotate("--grafana", url, "latest", runs=runs, token=None)
    assert isinstance(none.exception, UsageError)
    assert "GRAFANA_TOKEN" in str(none.exception)
    file = tmp_path / "token"
    for content, words in ((b"", "empty"), (b"\xff", "not UTF-8"), (b"a\x07b", "characters")):
        file.write_bytes(content)
        done = annotate("--grafana", url, "latest", "--token-file", str(file), runs=runs, token=None)
        assert isinstance(done.exception, UsageError)
        assert words in str(done.exception)
    assert api.requests == []
    file.write_text(TOKEN + "\n")
    done = annotate("--grafana", url, "latest", "--token-file", str(file), runs=runs, token="another")
    assert done.exit_code == 0, done.output
    assert TOKEN not in repr(Grafana(url, TOKEN))


def test_a_ca_that_is_none(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nothing")
    for file, words in ((tmp_path / "ca", "no certificate"), (tmp_path / "no", "No such file")):
        done = annotate("--grafana", "https://127.0.0.1:9", "latest", "--ca", str(file), runs=runs)
        assert isinstance(done.exception, ConfigError)
        assert words in str(done.exception)


def test_nothing_to_annotate(url: str, runs: Path) -> None:
    done = annotate("--grafana", url, runs=runs)
    assert isinstance(done.exception, UsageError)
