"""The bridge channel against a real websocket server, and what it does with one that refuses, hangs up or is silent."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from websockets.sync.server import ServerConnection, serve

from jvbtune.errors import LoadError
from jvbtune.inventory.entries import BridgeEntry, HostEntry
from jvbtune.load.channel import Channel
from jvbtune.load.target import channel_target

Serve = Callable[[ServerConnection], None]


@contextmanager
def server(handle: Serve, **more: object) -> Iterator[tuple[str, int]]:
    with serve(handle, "127.0.0.1", 0, **more) as up:  # type: ignore[arg-type]
        thread = threading.Thread(target=up.serve_forever)
        thread.start()
        try:
            yield up.socket.getsockname()[:2]
        finally:
            up.shutdown()
            thread.join()


def url(address: tuple[str, int]) -> str:
    return f"ws://{address[0]}:{address[1]}/colibri-ws/lab/abc/def?pwd=x"


def until(channel: Channel, done: Callable[[], bool]) -> list[dict[str, object]]:
    seen: list[dict[str, object]] = []
    deadline = time.monotonic() + 5
    while not done() and time.monotonic() < deadline:
        seen += channel.tick(time.monotonic())
        if done():
            break
        time.sleep(0.005)
    assert done(), channel.failed
    return seen


def test_messages_go_both_ways() -> None:
    got = []

    def bridge(connection: ServerConnection) -> None:
        got.append((connection.request.path if connection.request else "", json.loads(connection.recv())))
        connection.send("not JSON")
        connection.send('["of no class"]')
        connection.send(b"binary")
        connection.send('{"colibriClass": "ServerHello"}')
        connection.recv()

    with server(bridge) as address:
        channel = Channel(url(address), address)
        seen: list[dict[str, object]] = []
        until(channel, lambda: channel.open)
        channel.send({"colibriClass": "ClientHello"})
        deadline = time.monotonic() + 5
        while not seen and time.monotonic() < deadline:
            seen += channel.tick(time.monotonic())
        channel.close()
    assert got == [("/colibri-ws/lab/abc/def?pwd=x", {"colibriClass": "ClientHello"})]
    assert seen == [{"colibriClass": "ServerHello"}]


def test_it_is_kept_alive_and_answers_pings() -> None:
    answered = threading.Event()

    def bridge(connection: ServerConnection) -> None:
        if connection.ping().wait(5):
            answered.set()

    with server(bridge, ping_interval=None) as address:
        channel = Channel(url(address), address)
        until(channel, answered.is_set)
        channel.close()


def test_a_bridge_that_refuses_or_hangs_up_is_named_so() -> None:
    def refuse(connection: ServerConnection, request: object) -> object:
        return connection.respond(403, "no such endpoint")

    with server(lambda connection: None, process_request=refuse) as address:
        refused = Channel(url(address), address)
        until(refused, lambda: refused.failed is not None)
        refused.close()
    assert "403" in (refused.failed or "")
    with server(lambda connection: connection.close()) as address:
        closed = Channel(url(address), address)
        until(closed, lambda: closed.failed is not None)
        closed.close()
    assert closed.failed == "the bridge closed it"


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    channel = Channel(url(address), address)
    until(channel, lambda: channel.failed is not None)
    channel.close()
    assert channel.failed == "Connection refused"


@pytest.mark.parametrize("line", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 101 \xff\r\n\r\n", b"\0" * 9000])
def test_what_is_no_websocket_server(line: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        channel = Channel(url(address), address)
        channel.tick(time.monotonic())
        accepted, _ = listening.accept()
        with accepted:
            accepted.sendall(line)
            accepted.shutdown(socket.SHUT_WR)
            until(channel, lambda: channel.failed is not None)
        channel.close()


def entry(*allowed: str) -> HostEntry:
    return HostEntry("h", None, bridge=BridgeEntry(media_address="127.0.0.1", allowed_media_addresses=allowed))


def test_the_channel_goes_only_where_the_inventory_allows() -> None:
    at = channel_target(entry("127.0.0.1"), ["ws://127.0.0.1:9090/colibri-ws/a/b/c?pwd=secret"])
    assert (at.address, at.port) == ("127.0.0.1", 9090)
    assert channel_target(entry("127.0.0.1"), ["nonsense", "wss://127.0.0.1/x"]).port == 443
    with pytest.raises(LoadError, match="does not have") as refused:
        channel_target(entry("203.0.113.7"), ["ws://127.0.0.1:9090/colibri-ws/a/b/c?pwd=secret"])
    assert "secret" not in refused.value.message
    for urls in (["http://127.0.0.1/x"], ["ws://[/x"], ["ws://127.0.0.1:99999/x"], ["ws://"]):
        with pytest.raises(LoadError):
            channel_target(entry("127.0.0.1"), urls)
    with pytest.raises(LoadError, match="offers no channel"):
        channel_target(entry("127.0.0.1"), [])
