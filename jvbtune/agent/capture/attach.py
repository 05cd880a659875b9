"""HotSpot's dynamic attach, spoken from inside the JVM's own mount namespace: no jcmd, no tools.jar, no launcher.

The protocol is attachListener_linux.cpp's (and jattach's): a file ``/tmp/.attach_pid<pid>`` and SIGQUIT make the JVM
listen on ``/tmp/.java_pid<pid>``; a request there is ``1\\0command\\0arg\\0arg\\0arg\\0``, the answer a line with a
code, then text. Pids are those of the JVM's own pid namespace. The JVM takes requests of its own effective user alone:
the caller's effective ids are the JVM's while it makes the file and connects. ``.java_pid`` is never deleted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator

DIRECTORY = "/tmp"  # os::get_temp_directory() on Linux, whatever java.io.tmpdir says
LISTEN_SECONDS = 10.0
ARGUMENTS = 3


class AttachError(Exception):
    """The JVM cannot be asked, or it refused; the message says which."""


@contextlib.contextmanager
def identity(uid: int, gid: int) -> Iterator[None]:
    """The effective ids of the JVM for a moment; of the whole process."""
    own_uid, own_gid = os.geteuid(), os.getegid()
    if (own_uid, own_gid) == (uid, gid):
        yield
        return
    try:
        os.setegid(gid)
        os.seteuid(uid)
    except PermissionError as error:
        with contextlib.suppress(OSError):
            os.setegid(own_gid)
        raise AttachError(f"the JVM runs as uid {uid}, and this agent, as uid {own_uid}, cannot act for it") from error
    try:
        yield
    finally:
        os.seteuid(own_uid)
        os.setegid(own_gid)


class Attach:
    """One JVM: ``pid`` as the caller's kernel call kill(2) sees it, ``own_pid`` as the JVM itself does."""

    def __init__(self, pid: int, own_pid: int, uid: int, gid: int, directory: str = DIRECTORY) -> None:
        self.pid, self.own_pid, self.uid, self.gid = pid, own_pid, uid, gid
        self.socket_path = f"{directory}/.java_pid{own_pid}"
        self.trigger_path = f"{directory}/.attach_pid{own_pid}"

    def ask(self, arguments: list[str], timeout_seconds: float = 30.0) -> tuple[int, str]:
        """(code, text) of one command: 0 is success. Raises AttachError."""
        padded = [*arguments, *[""] * (ARGUMENTS + 1 - len(arguments))]
        request = b"1\0" + b"".join(part.encode() + b"\0" for part in padded[: ARGUMENTS + 1])
        with self._connect() as connection:
            connection.settimeout(timeout_seconds)
            try:
                connection.sendall(request)
                answer = b""
                while True:
                    data = connection.recv(65536)
                    if not data:
                        break
                    answer += data
            except socket.timeout:
                raise AttachError(f"the JVM did not answer {arguments[0]} within {timeout_seconds:g} s") from None
            except OSError as error:
                raise AttachError(f"the JVM broke off the answer to {arguments[0]}: {error.strerror}") from error
        head, _, text = answer.decode("utf-8", "replace").partition("\n")
        if not head.strip().lstrip("-").isdigit():
            raise AttachError(f"the JVM ended while it answered {arguments[0]}" if not answer else f"no code: {head!r}")
        return int(head), text

    def jcmd(self, command: str, timeout_seconds: float = 30.0) -> str:
        """A diagnostic command's output. Raises AttachError where it fails."""
        code, text = self.ask(["jcmd", command], timeout_seconds)
        if code != 0:
            raise AttachError(f"{command.split()[0]}: {text.strip() or f'code {code}'}")
        return text

    def load(self, library: str, options: str, timeout_seconds: float = 30.0) -> int:
        """Load a native agent, or call one again; what its Agent_OnAttach returned. Raises AttachError."""
        code, text = self.ask(["load", library, "true", options], timeout_seconds)
        first = text.strip().splitlines()[0] if text.strip() else ""
        if first.startswith("return code: "):
            return int(first.partition(": ")[2])
        if first.lstrip("-").isdigit() and code == 0:
            return int(first)  # JDK 8
        # JDK 21 and newer answer 0 and tell in words why nothing was loaded.
        raise AttachError(f"the JVM did not load {library}: {text.strip() or f'code {code}'}")

    def _connect(self) -> socket.socket:
        connection = self._try()
        if connection is not None:
            return connection
        self._trigger()
        connection = self._try()
        if connection is None:
            raise AttachError(f"the JVM opened {self.socket_path}, but does not take connections")
        return connection

    def _try(self) -> socket.socket | None:
        """None: nobody listens, also where a file was left by an earlier JVM of the same pid."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with identity(self.uid, self.gid):
                connection.settimeout(10.0)
                connection.connect(self.socket_path)
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except OSError as error:
            connection.close()
            raise AttachError(f"{self.socket_path}: {error.strerror or error}") from error

    def _trigger(self) -> None:
        """Make the JVM listen."""
        with identity(self.uid, self.gid):
            try:
                os.close(os.open(self.trigger_path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise AttachError(
                    f"{self.trigger_path} cannot be made ({error.strerror}): the JVM can be attached to only in /tmp"
                ) from error
        try:
            before = self._socket_identity()
            os.kill(self.pid, signal.SIGQUIT)
            deadline = time.monotonic() + LISTEN_SECONDS
            while self._socket_identity() == before:
                if time.monotonic() > deadline:
                    raise AttachError(f"the JVM did not open {self.socket_path} within {LISTEN_SECONDS:g} s")
                os.kill(self.pid, 0)
                time.sleep(0.02)
        except ProcessLookupError:
            raise AttachError("the JVM is gone") from None
        finally:
            with contextlib.suppress(OSError), identity(self.uid, self.gid):
                os.unlink(self.trigger_path)

    def _socket_identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.socket_path)
            return found.st_ino, found.st_ctime_ns
        except OSError:
            return None
