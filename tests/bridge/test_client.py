"""The client against a real HTTP server on loopback, through the seam of a host."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeError


class _Loopback:
    name = "here"

    def connect_tcp(self, address: str, port: int, *, timeout_seconds: float = 10.0) -> socket.socket:
        return socket.create_connection((address, port), timeout_seconds)


class _Bridge(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}
    seen: ClassVar[list[tuple[str, str, bytes]]] = []

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, body))
        status, answer = self.answers.get(self.path, (404, b"<html>Not found</html>"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PATCH = _answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    _Bridge.answers, _Bridge.seen = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bridge)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def _client(port: int) -> BridgeClient:
    return BridgeClient(_Loopback(), "127.0.0.1", port, timeout_seconds=2)  # type: ignore[arg-type]


def test_drain_and_its_state(port: int) -> None:
    _Bridge.answers = {"/colibri/drain": (200, b'{"drain":true}'), "/colibri/drain/enable": (200, b"")}
    _client(port).drain(True)
    assert _client(port).draining() is True
    assert _Bridge.seen[0][:2] == ("POST", "/colibri/drain/enable")


def test_a_json_body_arrives(port: int) -> None:
    _Bridge.answers = {"/colibri/v2/conferences/": (200, b'{"endpoints":[]}')}
    assert _client(port).request("POST", "/colibri/v2/conferences/", {"create": True}) == {"endpoints": []}
    assert _Bridge.seen[0][2] == b'{"create": true}'


def test_stats_fall_to_metrics_where_colibri_rest_is_off(port: int) -> None:
    _Bridge.answers = {"/metrics": (200, b'{"incoming_packet_rate":1,"outgoing_packet_rate":2}')}
    stats = _client(port).stats()
    assert (stats.source, stats.packet_rate_pps) == ("metrics", 3)


def test_colibri_rest_switched_off_is_said_with_the_key_to_set(port: int) -> None:
    with pytest.raises(BridgeError, match=r"videobridge\.apis\.rest\.enabled"):
        _client(port).draining()


def test_a_hung_bridge_times_out() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(BridgeError, match="did not answer"),
    ):
        BridgeClient(_Loopback(), "127.0.0.1", listener.getsockname()[1], timeout_seconds=0.2).stats()  # type: ignore[arg-type]


def test_what_is_not_json_is_refused(port: int) -> None:
    _Bridge.answers = {"/colibri/stats": (200, b"<html>")}
    with pytest.raises(BridgeError, match="not JSON"):
        _client(port).stats()
