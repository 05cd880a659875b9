"""One request of HTTP to a bridge, or to what stands in its place: bounded in time and size, whatever the answer.

Each request has a connection of its own: a bridge closes idle keep-alive connections, and one that hangs must not hang
jvbtune with it. Controller and agent both ask in this way.
"""

from __future__ import annotations

import http.client
import io
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

#: The largest answer, ``/debug``, has about 100 bytes for each endpoint.
MAX_BODY_BYTES = 16 << 20


class NoAnswer(Exception):
    """Why there is none, or none that is of use."""


class TcpConnection(Protocol):
    """The part of ``socket.socket`` that a request uses."""

    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def close(self) -> None: ...


class _Received(io.RawIOBase):
    """What a connection receives, as a file. Closing it closes the connection, as of a socket's last file.

    A socket's own time-out starts again with each byte, so that it does not end a slow answer: ``deadline`` does, of
    ``time.monotonic``.
    """

    def __init__(self, connection: TcpConnection, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left)
        data = self._connection.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._connection.close()
        super().close()


class _Socket:
    """The part of a socket that ``http.client`` uses, whatever carries the connection: a paramiko channel's own files
    cannot read what is there without waiting for more, and end with the channel."""

    def __init__(self, connection: TcpConnection, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline
        self._file: io.BufferedReader | None = None

    def sendall(self, data: bytes) -> None:
        self._connection.sendall(data)

    def makefile(self, mode: str, *_: Any) -> io.BufferedReader:
        self._file = io.BufferedReader(_Received(self._connection, self._deadline))
        return self._file

    def close(self) -> None:
        if self._file is None:
            self._connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, connect: Callable[[], TcpConnection], address: str, port: int, timeout_seconds: float) -> None:
        super().__init__(address, port, timeout=timeout_seconds)
        self._connect, self._deadline = connect, time.monotonic() + timeout_seconds
        self._timeout_seconds = timeout_seconds

    def connect(self) -> None:
        connection = self._connect()
        connection.settimeout(self._timeout_seconds)
        self.sock = _Socket(connection, self._deadline)


def ask(
    connect: Callable[[], TcpConnection],
    address: str,
    port: int,
    method: str,
    path: str,
    *,
    timeout_seconds: float,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """(status, body). ``timeout_seconds`` is for the whole: a bridge that sends a byte now and then is no better than
    one that hangs. Raises NoAnswer, and what ``connect`` raises besides OSError."""
    connection = _Connection(connect, address, port, timeout_seconds)
    try:
        connection.request(method, path, body=body, headers={"Connection": "close", **(headers or {})})
        response = connection.getresponse()
        content = response.read(MAX_BODY_BYTES + 1)
    except (OSError, http.client.HTTPException, OverflowError) as error:  # OverflowError: a chunk of 2**63 bytes
        raise NoAnswer(str(error) or type(error).__name__) from error
    finally:
        connection.close()
    if len(content) > MAX_BODY_BYTES:
        raise NoAnswer(f"the answer is over {MAX_BODY_BYTES >> 20} MiB")
    return response.status, content
