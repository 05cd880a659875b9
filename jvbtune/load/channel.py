"""The bridge channel of an endpoint: JSON messages over a websocket (JVB's ``BridgeChannelMessage``), without blocking.

The websocket's protocol is the sans-IO core of ``websockets``: the worker's loop keeps socket, timing and bounds.
"""

from __future__ import annotations

import errno
import json
import logging
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from jvbtune.errors import LoadError
from jvbtune.protocol import worker as messages

MAX_MESSAGE_BYTES = 1 << 20
#: A bridge closes a channel that was idle for 60 s (``videobridge.websockets.idle-timeout``).
KEEP_ALIVE_SECONDS = 20.0
_SILENT = logging.Logger("jvbtune.load.channel", logging.CRITICAL)


class Channel:
    """One websocket. ``open`` when the bridge has accepted it; ``failed`` has why. Raises LoadError when made."""

    def __init__(self, url: str, address: tuple[str, int]) -> None:
        self.failed: str | None = None
        self._protocol = ClientProtocol(parse_uri(url), max_size=MAX_MESSAGE_BYTES, logger=_SILENT)
        self._out = bytearray()
        self._next_ping = time.monotonic() + KEEP_ALIVE_SECONDS
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        plain = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            plain.connect(address)
        except BlockingIOError:
            pass
        except OSError as error:
            plain.close()
            raise LoadError(f"channel: {address[0]}:{address[1]} cannot be reached: {error.strerror}") from error
        self._socket: socket.socket | ssl.SSLSocket = plain
        if url.startswith("wss:"):
            self._socket = ssl.create_default_context().wrap_socket(
                plain, server_hostname=urlsplit(url).hostname, do_handshake_on_connect=False
            )
        self._protocol.send_request(self._protocol.connect())
        self._queue()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def open(self) -> bool:
        return self.failed is None and self._protocol.state is State.OPEN

    def send(self, message: dict[str, Any]) -> None:
        """Raises nothing: what a closed channel cannot send is in ``failed``."""
        if self.open:
            self._protocol.send_text(json.dumps(message, separators=(",", ":")).encode())
            self._queue()
            self._flush()

    def tick(self, now: float) -> list[dict[str, Any]]:
        """Take and send what there is; keep it alive. The messages that have come."""
        if self.failed is not None:
            return []
        if self.open and now >= self._next_ping:
            self._next_ping = now + KEEP_ALIVE_SECONDS
            self._protocol.send_ping(b"jvbtune")
            self._queue()
        try:
            self._flush()
            messages = list(self._receive())
        except (InvalidHandshake, WebSocketException) as error:
            self._fail(str(error))
            return []
        if self._protocol.handshake_exc is not None:
            self._fail(str(self._protocol.handshake_exc))
        elif self._protocol.state is State.CLOSED and self.failed is None:
            self._fail("the bridge closed it")
        return messages

    def _receive(self) -> Iterator[dict[str, Any]]:
        while self.failed is None:
            try:
                data = self._socket.recv(1 << 16)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                if not _connecting(error):
                    self._fail(error.strerror or str(error))
                break
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._queue()
            self._flush()
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    message = _message(event.data)
                    if message is not None:
                        yield message
            if not data:
                if self.failed is None:
                    self._fail(str(self._protocol.handshake_exc or "the bridge closed it"))
                break

    def _queue(self) -> None:
        for data in self._protocol.data_to_send():
            self._out += data

    def _flush(self) -> None:
        while self._out and self.failed is None:
            try:
                del self._out[: self._socket.send(self._out)]
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                if not _connecting(error):
                    self._fail(error.strerror or str(error))
                return

    def _fail(self, why: str) -> None:
        self.failed = why

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say so to the bridge as far as its socket takes it."""
        if self.open:
            self._protocol.send_close(code, reason)
            self._queue()
            self._flush()
        self._socket.close()
        self._protocol.parser.close()  # the generator has the protocol: a cycle


def _connecting(error: OSError) -> bool:
    """The connection is not there yet: neither an error nor its end."""
    return (
        isinstance(error, (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError))
        or error.errno == errno.ENOTCONN
    )


def _message(data: bytes | bytearray | memoryview) -> dict[str, Any] | None:
    """A JSON object with its class; anything else is not of the protocol, and of no use."""
    try:
        found = json.loads(bytes(data))
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("colibriClass"), str) else None


def receiver_constraints(view: messages.View, cameras: Sequence[str], on_stage: str) -> dict[str, Any]:
    """``ReceiverVideoConstraints`` as lib-jitsi-meet's ReceiveVideoController sends them. ``on_stage``: of the cameras
    the one that is large, where the view has a stage; empty: none."""
    stage = [on_stage] if view.stage_height > 0 and on_stage else []
    constraints = {name: {"maxHeight": view.tile_height} for name in cameras if view.tile_height > 0}
    constraints |= {name: {"maxHeight": view.stage_height} for name in stage}
    return {
        "colibriClass": "ReceiverVideoConstraints",
        "lastN": view.last_n,
        "onStageSources": stage,
        "selectedSources": [],
        "constraints": constraints,
        "defaultConstraints": {"maxHeight": 0},
    }
