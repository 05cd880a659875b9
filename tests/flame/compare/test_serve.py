"""``jvbtune flame serve``: what is stored is listed, any two compare, and nobody else gets anything."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser

from jvbtune.capture.serve import Server, Store
from jvbtune.capture.sources import Reader
from jvbtune.errors import JvbtuneError, UsageError
from jvbtune.flame.compare import merge
from tests.flame.compare.test_cli import DEARER, SAME, capture

RUN = "20260101-000000-h-x"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    capture(tmp_path / "captures/before", SAME)
    capture(tmp_path / "captures/after", DEARER, host="<b>h</b>")
    capture(tmp_path / "captures/other", DEARER, engine="perf")
    (tmp_path / "captures/damaged").mkdir()
    (tmp_path / "captures/damaged/capture.json").write_text("{")
    for number, pps in enumerate((1000, 2000, 3000)):
        counts = {"main;a": 500 * (number + 1), "main;b": 100 * (number + 1) ** 2}
        capture(tmp_path / f"runs/{RUN}/captures/c{number}", counts, pps)
    manifest = {"schema_version": 1, "id": RUN, "host": "h", "experiment": {"name": "x"}, "created_unix": 1}
    (tmp_path / f"runs/{RUN}/manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "secret.collapsed").write_text("secret;frame 1\n")
    return tmp_path


@pytest.fixture
def server(stored: Path) -> Iterator[Server]:
    reader = Reader(runs_dir=stored / "runs", captures_dir=stored / "captures")
    with Server(Store(reader)) as started:
        thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield started
        started.shutdown()
        thread.join(10)


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer


def test_the_list_has_captures_and_runs_and_says_what_is_damaged(server: Server) -> None:
    status, text, _ = ask(server, "/")
    assert status == 200
    for part in ("before", "after", RUN, f'value="{RUN}:c2"', f"/scaling?run={RUN}", "damaged/capture.json"):
        assert part in text
    assert "<b>h</b>" not in text
    assert "&lt;b&gt;h&lt;/b&gt;" in text


@pytest.mark.parametrize(
    "path",
    [
        "/view?a=before",
        "/diff?a=before&b=after",
        "/diff?a=before&b=after&normalise=share",
        f"/diff?a={RUN}:c0&b={RUN}:c2&normalise=",
        "/diff?a=before&b=other&force=on",
        f"/scaling?run={RUN}",
    ],
)
def test_pages_are_the_viewer(server: Server, path: str) -> None:
    status, text, _ = ask(server, path)
    assert status == 200
    assert 'id="data"' in text
    assert "Content-Security-Policy" in text


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/diff?a=before", 400, "lacks b"),
        ("/diff?a=before&b=nothing", 404, "no capture"),
        ("/diff?a=before&b=other", 400, "unlike engines"),
        ("/diff?a=before&b=after&normalise=x", 400, "no normalisation"),
        ("/scaling?run=nothing", 404, "no run"),
        ("/view?a=%3Cscript%3Ealert(1)%3C/script%3E", 404, "&lt;script&gt;"),
        ("/nothing", 404, "no such page"),
    ],
)
def test_what_cannot_be_shown_says_why(server: Server, path: str, status: int, said: str) -> None:
    got, text, _ = ask(server, path)
    assert got == status
    assert said in text
    assert "<script>" not in text


@pytest.mark.parametrize(
    "name",
    [
        "../secret.collapsed",
        "../../secret.collapsed",
        "{root}/secret.collapsed",
        "{root}/captures/before",
        "before/../before",
        f"{RUN}:../../../secret.collapsed",
        f"../runs/{RUN}:c0",
        "before,after",
        "*",
        "",
    ],
)
def test_only_what_is_listed_is_read(server: Server, stored: Path, name: str) -> None:
    status, text, _ = ask(server, "/view?" + urlencode({"a": name.format(root=stored)}))
    assert status in (400, 404)
    assert "secret;" not in text
    assert 'id="data"' not in text


@pytest.mark.parametrize("path", ["/../secret.collapsed", "/%2e%2e/secret.collapsed", "//secret", "/captures/before"])
def test_paths_are_no_files(server: Server, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "", "127.0.0.1.nip.io:{port}"])
def test_a_foreign_name_gets_nothing(server: Server, host: str) -> None:
    status, text, _ = ask(server, "/", Host=host.format(port=server.server_port))
    assert status == 421
    assert "before" not in text


def test_it_listens_on_the_loopback_alone(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.server_port), timeout=5)
    assert ask(server, "/", Host=f"localhost:{server.server_port}")[0] == 200


def test_it_only_answers(server: Server) -> None:
    assert ask(server, "/", "POST")[0] == 501
    status, text, answer = ask(server, "/", "HEAD")
    assert (status, text) == (200, "")
    assert "default-src 'none'" in (answer.getheader("Content-Security-Policy") or "")
    assert answer.getheader("X-Frame-Options") == "DENY"


def test_a_port_that_is_taken_is_an_error(server: Server) -> None:
    with pytest.raises(UsageError, match=f"port {server.server_port} is not available"):
        Server(server.store, server.server_port)


def test_the_command_prints_its_address_and_ends_by_an_interrupt(stored: Path) -> None:
    argv = [sys.executable, "-m", "jvbtune", "flame", "serve", "--captures-dir", str(stored / "captures")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=stored) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=20)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.browser
def test_two_are_chosen_and_compared_in_a_browser(server: Server, browser: Browser) -> None:
    page = browser.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(server.url)
    page.get_by_label("A: before").check()
    page.get_by_label("B: after").check()
    page.get_by_role("button", name="compare").click()
    page.wait_for_selector("html[data-ready=true]", timeout=20_000)
    assert "parse" in page.inner_text("table")
    page.close()
    assert [fault for fault in faults if "favicon" not in fault] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("lost", 5), ("step", 7), ("run_id", {}), ("target", "x"), ("created_unix", 1e300), ("unit", None), ("slices", 3)],
)
def test_one_wrong_field_hides_one_capture_only(server: Server, stored: Path, field: str, value: object) -> None:
    for where in (stored / "captures", next((stored / "runs").glob("*/captures"))):
        capture(where / "wrong", SAME, **{field: value})
    status, text, _ = ask(server, "/")
    assert status == 200
    assert text.count("wrong/capture.json") >= 2 or text.count(field) >= 2
    for part in ("before", "after", f'value="{RUN}:c2"'):
        assert part in text
    assert ask(server, "/diff?a=before&b=after")[0] == 200


VALUES = (
    None,
    True,
    -1,
    7,
    1.5,
    1e300,
    10**400,
    "",
    "x",
    "../x",
    "\ud800",
    "<script>",
    [],
    [1],
    ["x"],
    {},
    {"x": 1},
    [{}],
)


def _places(document: object, *above: str | int) -> Iterator[tuple[str | int, ...]]:
    """The way to each value of a document."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield (*above, key)
        yield from _places(value, *above, key)


def test_any_wrong_field_of_any_type_costs_that_capture_only(server: Server, stored: Path) -> None:
    """Each field of a capture.json and of a run's manifest, with values of each type; also without it."""
    good = json.loads((Path(__file__).parents[2] / "fuzz/corpus/capture/good.json").read_text())
    wrong = []
    for number, place in enumerate(_places(good)):
        for which, value in enumerate((*VALUES, ...)):
            document = json.loads(json.dumps(good))
            inner = document
            for key in place[:-1]:
                inner = inner[key]
            if value is ...:
                del inner[place[-1]]
            else:
                inner[place[-1]] = value
            name = f"w{number}-{which}"
            if place != ("id",):
                document["id"] = name
            capture(stored / "captures" / name, SAME)
            (stored / "captures" / name / "capture.json").write_text(json.dumps(document))
            wrong.append(name)
    manifest = {
        "schema_version": 1,
        "id": "r",
        "host": "h",
        "experiment": {"name": "x"},
        "created_unix": 1,
        "labels": {},
    }
    for number, (key, value) in enumerate((key, value) for key in manifest for value in VALUES):
        run = stored / f"runs/wrong-{number}"
        run.mkdir()
        (run / "manifest.json").write_text(json.dumps({**manifest, key: value}))
    status, text, _ = ask(server, "/")
    assert status == 200
    for part in ("before", "after", f'value="{RUN}:c2"'):
        assert part in text
    assert "<script>" not in text
    assert len(wrong) > 500
    store = server.store
    listed = store.groups()[0].captures
    shown = 0
    for name, found in listed.items():
        if not name.startswith("w"):
            continue
        try:
            merge([store.reader.capture(found)], labels=[found.title])
            shown += 1
        except JvbtuneError:
            continue
    assert shown > 50
    assert ask(server, f"/view?a={next(name for name in listed if name.startswith('w'))}")[0] in (200, 400)
    assert ask(server, "/diff?a=before&b=after")[0] == 200
