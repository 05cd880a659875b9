"""The conferences that a killed generator left on a bridge are found, whatever their numbers are."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import unquote

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeError
from jvbtune.hosts import connect
from jvbtune.hosts.local import LocalHost
from jvbtune.lab import Lab
from jvbtune.load import expire_leftover
from jvbtune.load.colibri import PATH, Conference, Sources

OURS = [f"jvbtune-abcd-{number}" for number in range(480, 500)]
OTHERS = ["jvbtune-abcde-481", "jvbtune-4-1", "b5a9f3e1-7a0c-4a1b-9f0e-6a1d1c3c2b10"]
HANDMADE = "jvbtune-abcd-7/a b"


def as_a_bridge_lists(alive: list[str]) -> Any:
    """Debug.java, and Conference.getDebugState in SHORT mode."""
    listed = {f"{at:x}": {"id": f"{at:x}", "meeting_id": one, "endpoints": {}} for at, one in enumerate(alive)}
    return {"time": 1, "conferences": {**listed, "ff": {"id": "ff", "endpoints": {"a": "b"}}}}


@contextmanager
def bridge(alive: list[str]) -> Iterator[tuple[BridgeClient, list[str]]]:
    """One that has these conferences; what of them was expired."""
    left, expired, lock = list(alive), [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.answer(200 if self.path == "/debug" else 404, as_a_bridge_lists(left))

        def do_PATCH(self) -> None:
            assert json.loads(self.rfile.read(int(self.headers["Content-Length"]))) == {"expire": True}
            name = unquote(self.path.removeprefix(PATH))
            with lock:
                found = name in left
                if found:
                    left.remove(name)
                    expired.append(name)
            self.answer(200 if found else 404, {})

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield BridgeClient(LocalHost("bridge"), "127.0.0.1", server.server_address[1], timeout_seconds=5), expired
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_bridge_is_asked_which_conferences_it_has() -> None:
    far = f"jvbtune-abcd-{10**9}"
    with bridge([*OTHERS, *OURS, HANDMADE, far]) as (client, expired):
        assert expire_leftover(client, "jvbtune-abcd") == 22
        assert sorted(expired) == sorted([*OURS, HANDMADE, far])
        assert expire_leftover(client, "jvbtune-abcd") == 0


class Unlisted:
    """A client of a bridge that has these conferences, with that answer to ``/debug``."""

    def __init__(self, alive: list[str], debug: tuple[int, bytes] | None) -> None:
        self._alive, self._debug = alive, debug
        self.expired: list[str] = []

    def raw(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        if path == "/debug":
            if self._debug is None:
                raise BridgeError("the answer is too long")
            return self._debug
        assert (method, body) == ("PATCH", {"expire": True})
        name = path.removeprefix(PATH)
        if name not in self._alive:
            return 404, b""
        self.expired.append(name)
        return 200, b"{}"


@pytest.mark.parametrize(
    "debug",
    [None, (404, b""), (200, b"<html>"), (200, b"[]"), (200, b"{}"), (200, b'{"conferences": []}'),
     (200, b'{"conferences": {"a": 7}}'), (200, b"[" * 100_000)],
)  # fmt: skip
def test_where_a_bridge_does_not_list_them_their_numbers_are_tried(debug: tuple[int, bytes] | None) -> None:
    """They run on: a sweep restarts the bridge many times, and none of the conferences before is left."""
    alive = [*OURS, "jvbtune-abcd-3", "jvbtune-abcd-1400"]
    client = Unlisted([*OTHERS, *alive], debug)
    assert expire_leftover(cast(Any, client), "jvbtune-abcd") == 22
    assert sorted(client.expired) == sorted(alive)


def test_a_bridge_that_is_down_is_said() -> None:
    with bridge([]) as (client, _):
        pass
    with pytest.raises(BridgeError):
        expire_leftover(client, "jvbtune-abcd")


@pytest.mark.lab
def test_a_bridge_has_none_of_them_afterwards(lab: Lab) -> None:
    entry = lab.entry()
    with connect(entry) as host:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        for name in [*OURS, "jvbtune-other-480"]:
            Conference(client, name).add("aaaa", None, Sources())
        assert expire_leftover(client, "jvbtune-abcd") == len(OURS)
        left = [one["meeting_id"] for one in client.request("GET", "/debug")["conferences"].values()]
        assert left == ["jvbtune-other-480"]
        assert expire_leftover(client, "jvbtune-other") == 1
