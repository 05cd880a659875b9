"""The one narrow seam through which jvbtune touches a host: run an argv, open a stream, open a TCP connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jvbtune.protocol.http import TcpConnection


@dataclass(frozen=True)
class Completed:
    """What a command on a host answered."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes


class Stream(Protocol):
    """A command on the host with its standard streams open: bytes both ways, until either side closes."""

    def write(self, data: bytes) -> None:
        """Send to the command's standard input; raises HostError when the command or the link is gone."""

    def read_line(self, timeout_seconds: float | None = None) -> bytes | None:
        """The next line of standard output without its newline, or None at its end. Raises TimeoutError."""

    def close_stdin(self) -> None: ...

    def stderr_tail(self) -> bytes:
        """The last 64 KiB of standard error so far: it is drained all the time, so that neither side blocks."""

    def wait(self, timeout_seconds: float | None = None) -> int:
        """The exit status. Raises TimeoutError."""

    def close(self) -> None:
        """End the command: close its input, and drop the channel. Safe to call twice."""


class Host(Protocol):
    """A machine. Implementations: ``hosts.local.LocalHost`` and ``hosts.ssh.SshHost``; both are context managers."""

    name: str

    def __enter__(self) -> Host: ...
    def __exit__(self, *exc: Any) -> None: ...

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 30.0, sudo: bool = False
    ) -> Completed:
        """Run a command to its end. argv, never a shell string. ``sudo``: by ``sudo -n`` where the login is not root.

        A status other than 0 is an answer, not an error. Raises HostError (link), SudoError (right missing),
        TimeoutError.
        """

    def stream(self, argv: Sequence[str], *, sudo: bool = False) -> Stream:
        """Start a command with open streams."""

    def connect_tcp(self, address: str, port: int, *, timeout_seconds: float = 10.0) -> TcpConnection:
        """Connect from the host itself (forwarded over ssh): how the bridge's private HTTP interface is reached."""

    def close(self) -> None: ...
