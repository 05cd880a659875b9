"""The client against a real HTTP server on loopback, through the seam of a host."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault
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


def _raw_server(
    answer: bytes, repeat: bytes = b"", pause_seconds: float = 0.0
) -> tuple[socket.socket, threading.Thread]:
    """Answers one request with bytes, then with ``repeat`` again and again until the client leaves."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer = listener.accept()[0]
        with peer, suppress(OSError):
            peer.recv(65536)
            peer.sendall(answer)
            while repeat:
                peer.sendall(repeat)
                time.sleep(pause_seconds)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listener, thread


STATUS = b"HTTP/1.1 200 OK\r\n"
HEAD = STATUS + b"Connection: close\r\n\r\n"
CHUNKED = STATUS + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "repeat", "pause_seconds", "said"),
    [
        (HEAD, b"x" * 65536, 0.0, "is over 16 MiB"),
        (HEAD, b"x", 0.1, "timed out"),
        (STATUS + b"X-Slow: ", b"x", 0.1, "timed out"),
        (CHUNKED, b"fffffffffffffffff\r\nx", 0.1, "did not answer"),
    ],
    ids=["endless", "slow", "slow-header", "chunk-of-2**68"],
)
def test_an_answer_is_bounded_in_size_and_time(head: bytes, repeat: bytes, pause_seconds: float, said: str) -> None:
    """Of the controller and of the agent."""
    for ask, error in ((_ask_from_afar, BridgeError), (_ask_on_the_host, AgentFault)):
        listener, thread = _raw_server(head, repeat, pause_seconds)
        with listener:
            begun = time.monotonic()
            with pytest.raises(error, match=said):
                ask(listener.getsockname()[1], 60.0 if pause_seconds == 0 else 1.0)
            assert time.monotonic() - begun < 60
        thread.join(10)


def _ask_from_afar(port: int, seconds: float) -> None:
    client = BridgeClient(_Loopback(), "127.0.0.1", port)  # type: ignore[arg-type]
    client.raw("GET", "/colibri/stats", timeout_seconds=seconds)


def _ask_on_the_host(port: int, seconds: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jvbtune.agent.control.HTTP_TIMEOUT_SECONDS", seconds)
        Bridge({"http_port": port}).ask("GET", "/colibri/stats")


@pytest.mark.parametrize(
    "answer", [b"[" * 200_000, b'{"a":' * 200_000, b"[1]", b'"x"', b"null", b"{}", b'{"drain": 1}']
)
def test_an_answer_of_another_shape_is_an_error_with_its_request(port: int, answer: bytes) -> None:
    _Bridge.answers = {"/colibri/drain": (200, answer), "/colibri/stats": (200, answer)}
    with pytest.raises(BridgeError, match="drain"):
        _client(port).draining()
    if not answer.startswith((b"{}", b'{"drain"')):
        with pytest.raises(BridgeError, match="stats"):
            _client(port).stats()


def test_a_version_is_one_clean_line(port: int) -> None:
    _Bridge.answers = {"/about/version": (200, b'{"name": "J\\u001b[31mVB", "version": "2\\nkernel.core_pattern=x"}')}
    assert _client(port).version() == "J [31mVB 2 kernel.core_pattern=x"
