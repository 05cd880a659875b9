"""A host over ssh: paramiko, led by the user's own OpenSSH configuration."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import paramiko

from jvbtune.errors import HostError, HostTimeoutError
from jvbtune.hosts.base import Completed, Stream
from jvbtune.hosts.host_keys import KnownHosts
from jvbtune.hosts.lines import LineBuffer, Tail, after_mark
from jvbtune.hosts.local import NO_HOST_NAME
from jvbtune.hosts.openssh import Resolved, resolve
from jvbtune.hosts.ssh_login import log_in
from jvbtune.hosts.sudo import check_sudo, with_sudo
from jvbtune.protocol.http import TcpConnection
from jvbtune.text import clean

CHUNK_BYTES = 65536

# What goes wrong is in the errors below; paramiko's own lines, with texts of the server, belong on no terminal.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


class SshHost:
    """One ssh connection; commands, streams and forwarded connections are channels of it. Thread-safe."""

    def __init__(self, name: str, resolved: Resolved, transport: paramiko.Transport, proxy: Any = None) -> None:
        self.name = name
        self.resolved = resolved
        self._transport = transport
        self._proxy = proxy
        self._uid: int | None = None

    @classmethod
    def connect(cls, name: str, alias: str, *, config: Path | None = None) -> SshHost:
        """Resolve ``alias`` as OpenSSH does, connect, check the host key, log in. Raises HostError, HostKeyError."""
        resolved = resolve(alias, config)
        known = KnownHosts(resolved)
        where = f"{resolved.user}@{resolved.hostname}:{resolved.port}"
        sock, proxy = _open_socket(resolved)
        transport: paramiko.Transport | None = None
        try:
            transport = paramiko.Transport(sock)
            transport.banner_timeout = transport.auth_timeout = resolved.connect_timeout_seconds
            _prefer_known_types(transport, known.types())
            transport.start_client(timeout=resolved.connect_timeout_seconds)
            known.check(transport.get_remote_server_key())
            log_in(transport, resolved)
            transport.set_keepalive(int(resolved.keepalive_seconds))
        except BaseException as error:
            if transport is not None:
                transport.close()
            sock.close()
            if proxy is not None:
                proxy.close()
            if proxy is not None and isinstance(error, paramiko.SSHException | EOFError | OSError):
                raise proxy.refused(name) from error
            if isinstance(error, paramiko.SSHException | EOFError | OSError):
                raise HostError(f"{name}: ssh to {where} failed: {error or type(error).__name__}") from error
            raise
        return cls(name, resolved, transport, proxy)

    @property
    def user(self) -> str:
        return self.resolved.user

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 30.0, sudo: bool = False
    ) -> Completed:
        command = with_sudo(argv, uid=self.uid()) if sudo else tuple(argv)
        completed = self._run(command, stdin, timeout_seconds)
        if sudo:
            check_sudo(completed, self.name, self.user)
        return completed

    def _run(self, command: tuple[str, ...], stdin: bytes, timeout_seconds: float) -> Completed:
        with contextlib.closing(_SshStream(self, command, keep_all=True)) as stream:
            writer = threading.Thread(target=stream.send_all, args=(stdin,), daemon=True)
            writer.start()
            status = stream.wait(timeout_seconds)
            writer.join(timeout_seconds)
            return Completed(command, status, stream.all_stdout(), stream.all_stderr())

    def stream(self, argv: Sequence[str], *, sudo: bool = False) -> Stream:
        return _SshStream(self, with_sudo(argv, uid=self.uid()) if sudo else tuple(argv))

    def connect_tcp(self, address: str, port: int, *, timeout_seconds: float = 10.0) -> TcpConnection:
        try:
            channel = self._transport.open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout_seconds
            )
        except paramiko.ChannelException as error:
            raise HostError(
                f"{self.name}: no connection from the host to {address}:{port}: {error.text}",
                hint="sshd's AllowTcpForwarding must permit it." if error.code == 1 else None,
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise HostError(f"{self.name}: the ssh connection is gone: {error or type(error).__name__}") from error
        channel.settimeout(timeout_seconds)
        return channel  # type: ignore[no-any-return]

    def uid(self) -> int:
        """The login's uid on the host."""
        if self._uid is None:
            # Behind a mark: a login may print a greeting on standard output.
            answer = self._run(("sh", "-c", 'printf "\\n%s%s\\n" jvbtune-uid: "$(id -u)"'), b"", 15.0)
            text = after_mark(answer.stdout, "jvbtune-uid:")
            if not text.isdigit():
                said = clean((answer.stderr or answer.stdout).decode("utf-8", "replace"))
                raise HostError(
                    f"{self.name}: the login does not run commands: id -u answered {said!r}",
                    hint=f"Does `ssh {self.resolved.alias} id -u` print a number?",
                )
            self._uid = int(text)
        return self._uid

    def open_session(self) -> paramiko.Channel:
        try:
            return self._transport.open_session(timeout=30)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise HostError(f"{self.name}: the ssh connection is gone: {error or type(error).__name__}") from error

    def close(self) -> None:
        self._transport.close()
        if self._proxy is not None:
            self._proxy.close()

    def __enter__(self) -> SshHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _SshStream:
    """A command in a channel. One reader thread drains both streams, so that neither can block the other."""

    def __init__(self, host: SshHost, argv: Sequence[str], *, keep_all: bool = False) -> None:
        self._host_name, self._argv = host.name, tuple(argv)
        self._lines, self._tail = LineBuffer(), Tail()
        self._keep = keep_all
        self._stdout, self._stderr = bytearray(), bytearray()
        self._ended = threading.Event()
        self._channel = host.open_session()
        try:
            self._channel.exec_command(shlex.join(self._argv))
        except (paramiko.SSHException, EOFError, OSError) as error:
            self._channel.close()
            raise HostError(f"{host.name}: {argv[0]} cannot be started: {error or type(error).__name__}") from error
        self._readers = [
            threading.Thread(target=self._drain, args=(self._channel.recv, self._on_stdout), daemon=True),
            threading.Thread(target=self._drain, args=(self._channel.recv_stderr, self._on_stderr), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        threading.Thread(target=self._finish, daemon=True).start()

    def _drain(self, receive: Any, take: Any) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while data := receive(CHUNK_BYTES):
                take(data)

    def _finish(self) -> None:
        for reader in self._readers:
            reader.join()
        self._lines.end()
        self._ended.set()

    def _on_stdout(self, data: bytes) -> None:
        if self._keep:
            self._stdout += data
        else:
            self._lines.feed(data)

    def _on_stderr(self, data: bytes) -> None:
        if self._keep:
            self._stderr += data
        self._tail.feed(data)

    def send_all(self, data: bytes) -> None:
        """Write all and close the input; a command that does not read it is no error."""
        with contextlib.suppress(HostError):
            if data:
                self.write(data)
        self.close_stdin()

    def write(self, data: bytes) -> None:
        try:
            self._channel.sendall(data)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HostError(f"{self._host_name}: {self._argv[0]} is gone") from error

    def read_line(self, timeout_seconds: float | None = None) -> bytes | None:
        return self._lines.read_line(timeout_seconds)

    def close_stdin(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    def stderr_tail(self) -> bytes:
        return self._tail.get()

    def all_stdout(self) -> bytes:
        return bytes(self._stdout)

    def all_stderr(self) -> bytes:
        return bytes(self._stderr)

    def wait(self, timeout_seconds: float | None = None) -> int:
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        if not self._ended.wait(timeout_seconds):
            raise HostTimeoutError(f"{self._host_name}: {self._argv[0]} did not end within {timeout_seconds:g} s")
        remaining = None if deadline is None else max(1.0, deadline - time.monotonic())
        if not self._channel.status_event.wait(remaining):
            raise HostTimeoutError(f"{self._host_name}: {self._argv[0]} did not end within {timeout_seconds:g} s")
        if not self._channel.exit_status_ready() or self._channel.exit_status < 0:
            raise HostError(f"{self._host_name}: the ssh connection broke under {self._argv[0]}")
        return int(self._channel.exit_status)

    def close(self) -> None:
        self._channel.close()
        for reader in self._readers:
            reader.join(5)


class _ProxySocket:
    """Standard input and output of a proxy command as a socket, by a socket pair: paramiko needs no more.

    What it says goes into an error, and never to the terminal.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    list(argv),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise HostError(f"{argv[0]} cannot be started as the way to the host: {error.strerror}") from error
        self.socket = ours
        self._argv, self._tail = tuple(argv), Tail()
        self._reader = threading.Thread(target=self._read, name="proxy", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            while data := os.read(stream.fileno(), CHUNK_BYTES):
                self._tail.feed(data)

    def refused(self, name: str) -> HostError:
        """Why there was no way, once it is closed."""
        self._reader.join(1)
        lines = self._tail.get().decode("utf-8", "replace").strip().splitlines()
        said = clean("; ".join(line.strip() for line in lines[-3:] if line.strip())) or "it ended"
        jump = self._argv[-1] if self._argv[0] == "ssh" else None
        if jump is None:
            return HostError(f"{name}: its ProxyCommand failed: {said}")
        hint = f"Compare the fingerprint with its administrator's, then accept it once with: ssh {jump}"
        return HostError(
            f"{name}: no way through its jump host {jump}: {said}",
            hint=hint if "host key" in said.lower() else f"Does `ssh {jump} true` work without a password?",
        )

    def close(self) -> None:
        self.socket.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait(5)


def _open_socket(resolved: Resolved) -> tuple[socket.socket, _ProxySocket | None]:
    if resolved.proxy_command is not None:
        proxy = _ProxySocket(resolved.proxy_command)
        return proxy.socket, proxy
    try:
        sock = socket.create_connection((resolved.hostname, resolved.port), resolved.connect_timeout_seconds)
    except UnicodeError as error:
        raise HostError(f"{resolved.alias}: {resolved.hostname} {NO_HOST_NAME}") from error
    except OSError as error:
        raise HostError(
            f"{resolved.alias}: cannot connect to {resolved.hostname}:{resolved.port}"
            f"{_addresses(resolved)}: {error.strerror or error}"
        ) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock, None


def _addresses(resolved: Resolved) -> str:
    """`` (203.0.113.7)``: what a name stands for here; nothing for an address."""
    try:
        found = {
            str(one[4][0]) for one in socket.getaddrinfo(resolved.hostname, resolved.port, type=socket.SOCK_STREAM)
        }
    except OSError:
        return ""
    return "" if found == {resolved.hostname} else f" ({', '.join(sorted(found))})"


def _prefer_known_types(transport: paramiko.Transport, types: list[str]) -> None:
    """Ask the server first for the key types that known_hosts has, as OpenSSH does."""
    options = transport.get_security_options()
    rsa = ["rsa-sha2-512", "rsa-sha2-256"] if "ssh-rsa" in types else []
    wanted = [kind for kind in (*types, *rsa) if kind in options.key_types]
    options.key_types = [*wanted, *(kind for kind in options.key_types if kind not in wanted)]
