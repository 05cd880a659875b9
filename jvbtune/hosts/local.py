"""This machine as a host: for a bridge beside jvbtune, and for the tests of the seam."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import IO

from jvbtune.errors import HostError, HostTimeoutError
from jvbtune.hosts.base import Completed, Stream
from jvbtune.hosts.lines import LineBuffer, Tail
from jvbtune.hosts.sudo import check_sudo, with_sudo
from jvbtune.protocol.http import TcpConnection

#: Behind a name that ``socket`` cannot encode, which is no OSError.
NO_HOST_NAME = "is no host name: a part between its dots is empty, over 63 characters long or not valid"


class LocalHost:
    """Commands and connections of this machine."""

    def __init__(self, name: str = "localhost") -> None:
        self.name = name
        self.user = pwd.getpwuid(os.getuid()).pw_name

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 30.0, sudo: bool = False
    ) -> Completed:
        command = with_sudo(argv, uid=os.getuid()) if sudo else tuple(argv)
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout_seconds, check=False)
        except subprocess.TimeoutExpired as error:
            raise HostTimeoutError(f"{self.name}: {argv[0]} did not end within {timeout_seconds:g} s") from error
        except OSError as error:
            text = f"{argv[0]}: {error.strerror}".encode()
            return Completed(command, 126 if isinstance(error, PermissionError) else 127, b"", text)
        completed = Completed(command, done.returncode, done.stdout, done.stderr)
        if sudo:
            check_sudo(completed, self.name, self.user)
        return completed

    def stream(self, argv: Sequence[str], *, sudo: bool = False) -> Stream:
        return LocalStream(self.name, with_sudo(argv, uid=os.getuid()) if sudo else tuple(argv))

    def connect_tcp(self, address: str, port: int, *, timeout_seconds: float = 10.0) -> TcpConnection:
        try:
            return socket.create_connection((address, port), timeout_seconds)
        except UnicodeError as error:
            raise HostError(f"{self.name}: {address} {NO_HOST_NAME}") from error
        except OSError as error:
            raise HostError(f"{self.name}: cannot connect to {address}:{port}: {error.strerror or error}") from error

    def close(self) -> None:
        pass

    def __enter__(self) -> LocalHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LocalStream:
    """A child process with its standard streams open."""

    def __init__(self, host_name: str, argv: Sequence[str]) -> None:
        self._host_name = host_name
        self._argv = tuple(argv)
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise HostError(f"{host_name}: {argv[0]} cannot be started: {error.strerror}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdin: IO[bytes] = self._process.stdin
        self._lines = LineBuffer()
        self._tail = Tail()
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self._lines), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, self._tail), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(source: IO[bytes], sink: LineBuffer | Tail) -> None:
        with source:
            while data := os.read(source.fileno(), 65536):
                sink.feed(data)
        if isinstance(sink, LineBuffer):
            sink.end()

    def write(self, data: bytes) -> None:
        try:
            self._stdin.write(data)
            self._stdin.flush()
        except (OSError, ValueError) as error:
            raise HostError(f"{self._host_name}: {self._argv[0]} is gone") from error

    def read_line(self, timeout_seconds: float | None = None) -> bytes | None:
        return self._lines.read_line(timeout_seconds)

    def close_stdin(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.close()

    def stderr_tail(self) -> bytes:
        return self._tail.get()

    def wait(self, timeout_seconds: float | None = None) -> int:
        try:
            status = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise HostTimeoutError(f"{self._argv[0]} did not end within {timeout_seconds} s") from error
        for reader in self._readers:
            reader.join(1)  # its last words are read; a child of its own may hold the pipe open for longer
        return status

    def close(self) -> None:
        self.close_stdin()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for reader in self._readers:
            reader.join(5)
