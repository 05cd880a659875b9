"""A process of its own in the JVM's mount namespace: places the profiler's library, attaches, takes results away.

It speaks the lines of ``jvbtune.protocol`` with the agent and outlives it by one thing: when its input ends, whatever
ended the agent, it stops the session that it armed, deletes what it placed, and ends. The profiler's own time-out is
there in case it is killed, too.
Paths are resolved by the kernel inside of the JVM's root, so that no link of a container's leads out of it.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import mmap
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from typing import TypeVar

from jvbtune.agent.capture.attach import Attach, AttachError, identity
from jvbtune.agent.capture.transfer import Transfer
from jvbtune.agent.errors import AgentFault
from jvbtune.protocol import inside as messages
from jvbtune.protocol.codec import MAX_LINE_BYTES, ProtocolError, encode
from jvbtune.protocol.messages import Fault, Nothing, Operation, Refusal, Refused, refusal, reply
from jvbtune.protocol.peers import Asked, Caller, Gone, Served, read_asked, table

A = TypeVar("A")
R = TypeVar("R")

CLONE_NEWNS = 0x00020000
PREFIX = ".jvbtune-"
PIECE_BYTES = 1 << 20


class _Inside:
    """The process's state: one directory, at most one armed session."""

    def __init__(self, pid: int, own_pid: int, uid: int, gid: int) -> None:
        self.pid, self.uid, self.gid = pid, uid, gid
        self.proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.attach = Attach(pid, own_pid, uid, gid)
        # In a user namespace of its own (rootless containers) a file can belong to its users alone (EOVERFLOW).
        same = os.stat(f"{pid}/ns/user", dir_fd=self.proc).st_ino == os.stat("self/ns/user", dir_fd=self.proc).st_ino
        self.maker = (os.geteuid(), os.getegid()) if same else (uid, gid)
        self.directory: str | None = None
        self.stop: list[list[str]] = []
        self.files: list[str] = []
        self.transfer: Transfer | None = None

    def join(self, arguments: Nothing) -> Nothing:
        """Into the JVM's mount namespace and root."""
        try:
            self._join()
        except OSError as error:
            raise AgentFault("capture", f"the JVM's mount namespace cannot be entered: {error.strerror}") from error
        return Nothing()

    def _join(self) -> None:
        root = os.open(f"{self.pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.proc)
        try:
            own, theirs = os.stat("self/ns/mnt", dir_fd=self.proc), os.stat(f"{self.pid}/ns/mnt", dir_fd=self.proc)
            if own.st_ino != theirs.st_ino:
                namespace = os.open(f"{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc)
                library = ctypes.CDLL(None, use_errno=True)
                done = library.setns(namespace, CLONE_NEWNS)
                os.close(namespace)
                if done != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            here, there = os.stat("/"), os.fstat(root)
            if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) or own.st_ino != theirs.st_ino:
                os.fchdir(root)
                os.chroot(".")
            os.chdir("/")
        finally:
            os.close(root)

    # -- operations ---------------------------------------------------------------------------------------------

    def look(self, arguments: messages.Look) -> messages.Places:
        """The first directory where a library can be mapped and results be written; why the others cannot."""
        refused: dict[str, str] = {}
        for directory in arguments.directories:
            real = os.path.realpath(directory)
            if real in refused:
                continue
            why = self._why_not(real, arguments.needed_bytes, arguments.name)
            if why is None:
                return messages.Places(real, refused)
            refused[real] = why
        return messages.Places(None, refused)

    def _why_not(self, directory: str, needed_bytes: int, name: str) -> str | None:
        try:
            found = os.statvfs(directory)
            if not os.path.isdir(directory):
                return "is no directory"
        except OSError as error:
            return str(error.strerror).lower()
        if found.f_flag & os.ST_RDONLY:
            return "is read-only"
        if found.f_flag & os.ST_NOEXEC:
            return "is mounted noexec: no library can be mapped from there"
        free = found.f_bavail * found.f_frsize
        if free < needed_bytes:
            return f"has {free / 2**20:.1f} MiB free, and {needed_bytes / 2**20:.1f} MiB are needed"
        with identity(self.uid, self.gid):
            if not os.access(directory, os.X_OK, effective_ids=True):
                return f"is closed to the JVM's user (uid {self.uid})"
        own = os.path.join(directory, name)
        try:
            there = os.lstat(own)
        except FileNotFoundError:
            return None if os.access(directory, os.W_OK, effective_ids=True) else "cannot be written to"
        if stat.S_ISDIR(there.st_mode) and there.st_uid in (0, self.maker[0]):
            return None
        return f"holds a {name} that is not ours"

    def place(self, arguments: messages.Place) -> messages.Placed:
        """Make our directory with the library in it, readable by all, and ``out``, the JVM user's own."""
        own = os.path.join(arguments.directory, arguments.name)
        self._clear(own)
        self.directory = own
        try:
            with identity(*self.maker):
                os.mkdir(own, 0o755)
                os.chmod(own, 0o755)
                path = os.path.join(own, arguments.library)
                data = base64.b64decode(arguments.content)
                if data:
                    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
                    with open(descriptor, "w+b") as file:
                        file.write(data)
                        file.flush()
                        os.fchmod(descriptor, 0o755)
                        file.seek(0)
                        found = hashlib.sha256(file.read()).hexdigest()
                        if found != arguments.sha256:
                            raise AgentFault("capture", f"{path}: its sha256 is {found}, not {arguments.sha256}")
                        mmap.mmap(descriptor, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC).close()
                out = os.path.join(own, "out")
                os.mkdir(out, 0o700)
            if self.maker != (self.uid, self.gid):
                os.chown(out, self.uid, self.gid)
        except OSError as error:
            self.clean()
            raise AgentFault("capture", f"{own}: {error.strerror}") from error
        except AgentFault:
            self.clean()
            raise
        return messages.Placed(path, out)

    def write(self, arguments: messages.Write) -> Nothing:
        """A small file for the JVM to read."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with identity(*self.maker):
            descriptor = os.open(arguments.path, flags, 0o644)
        with open(descriptor, "wb") as file:
            file.write(base64.b64decode(arguments.content))
            os.fchmod(descriptor, 0o644)
        return Nothing()

    def ask(self, arguments: messages.Ask) -> messages.Said:
        return messages.Said(*self.attach.ask(arguments.arguments, arguments.timeout_seconds))

    def load(self, arguments: messages.Load) -> messages.Loaded:
        return messages.Loaded(self.attach.load(arguments.library, arguments.options, arguments.timeout_seconds))

    def arm(self, arguments: messages.Arm) -> Nothing:
        self.stop, self.files = arguments.stop, arguments.files
        return Nothing()

    def serve(self, arguments: messages.OfPath) -> Nothing:
        """Offer perf descriptors on a socket for the next session."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(arguments.path)
        with identity(*self.maker):
            self.transfer = Transfer(arguments.path, self.pid, self.proc, self.uid, self.gid)
        self.transfer.start()
        return Nothing()

    def read(self, arguments: messages.Read) -> messages.Piece:
        """A piece of a result; only of a plain file, and through no link."""
        path = arguments.path
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise AgentFault("capture", f"{path} is no plain file")
            data = os.pread(descriptor, PIECE_BYTES, arguments.offset)
        finally:
            os.close(descriptor)
        return messages.Piece(found.st_size, base64.b64encode(data).decode())

    def remove(self, arguments: messages.OfPath) -> messages.Removed:
        """Delete one plain file of the JVM user's or of ours; whether there was one."""
        path = arguments.path
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return messages.Removed(False)
        if found.st_uid not in (self.uid, 0, os.geteuid()) or stat.S_ISDIR(found.st_mode):
            raise AgentFault("capture", f"{path} belongs to somebody else")
        os.unlink(path)
        return messages.Removed(True)

    def clear(self, arguments: messages.Clear) -> messages.Cleared:
        """Take away what a capture left whose agent and helper were killed at once."""
        cleared = []
        for directory in {os.path.realpath(one) for one in arguments.directories}:
            with contextlib.suppress(OSError):
                for name in os.listdir(directory):
                    path = os.path.join(directory, name)
                    if name.startswith(PREFIX) and self._clear(path):
                        cleared.append(path)
        return messages.Cleared(cleared)

    def _clear(self, path: str) -> bool:
        try:
            found = os.lstat(path)
        except OSError:
            return False
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, self.maker[0]):
            return False
        shutil.rmtree(path, ignore_errors=True)
        return True

    def _alive(self) -> bool:
        """A zombie takes signals, but answers nothing."""
        try:
            with open(os.open(f"{self.pid}/stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc)) as file:
                return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
        except OSError:
            return False

    def clean(self) -> None:
        """Stop what is armed, delete what was placed."""
        for arguments in self.stop if self._alive() else ():
            with contextlib.suppress(AttachError):
                self.attach.ask(arguments, 20.0)
        for path in self.files:
            with contextlib.suppress(OSError, AgentFault):
                self.remove(messages.OfPath(path))
        self.stop, self.files = [], []
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None


def main(arguments: list[str]) -> int:
    """``inside PID OWN_PID UID GID``."""
    inside = _Inside(*(int(argument) for argument in arguments))
    operations = table(
        (
            Served(messages.JOIN, lambda self, asked: self.join(asked)),
            Served(messages.LOOK, lambda self, asked: self.look(asked)),
            Served(messages.PLACE, lambda self, asked: self.place(asked)),
            Served(messages.WRITE, lambda self, asked: self.write(asked)),
            Served(messages.ASK, lambda self, asked: self.ask(asked)),
            Served(messages.LOAD, lambda self, asked: self.load(asked)),
            Served(messages.ARM, lambda self, asked: self.arm(asked)),
            Served(messages.SERVE, lambda self, asked: self.serve(asked)),
            Served(messages.READ, lambda self, asked: self.read(asked)),
            Served(messages.REMOVE, lambda self, asked: self.remove(asked)),
            Served(messages.CLEAR, lambda self, asked: self.clear(asked)),
        )
    )
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    "".encode("idna")  # codecs are imported when first used: no module can be found from here on
    try:
        while True:
            line = sys.stdin.buffer.readline(MAX_LINE_BYTES + 1)
            if not line:
                return 0
            asked = read_asked(line, operations)
            answer = encode(asked) if isinstance(asked, Refusal) else _perform(inside, asked)
            with contextlib.suppress(OSError):
                sys.stdout.buffer.write(answer)
                sys.stdout.buffer.flush()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        inside.clean()


def _perform(inside: _Inside, asked: Asked) -> bytes:
    try:
        return reply(asked.id, asked.served.perform(inside, asked.arguments))
    except AgentFault as fault:
        return refusal(asked.id, fault.fault())
    except AttachError as error:
        return refusal(asked.id, Fault("capture", str(error)))
    except OSError as error:
        text = f"{error.filename or 'the JVM'}: {error.strerror or error}"
        return refusal(asked.id, Fault("capture", text))


class Inside:
    """The agent's end of it. Raises Refused where an operation is; a context manager."""

    def __init__(self, archive: str, pid: int, own_pid: int, uid: int, gid: int) -> None:
        argv = [sys.executable, "-I", "-B", archive, "inside", *(str(part) for part in (pid, own_pid, uid, gid))]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._caller = Caller(self._write)
        self._reader = threading.Thread(target=self._read, name="inside", daemon=True)
        self._reader.start()
        try:
            self.call(messages.JOIN, Nothing())
        except Refused:
            self.close()
            raise

    def call(self, operation: Operation[A, R], arguments: A) -> R:
        """The helper bounds what it does itself."""
        try:
            return self._caller.call(operation, arguments, None)
        except (Gone, ProtocolError) as error:
            raise Refused(Fault("capture", str(error))) from error

    def _write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise Gone("the helper in the JVM's namespace is gone") from error

    def _read(self) -> None:
        assert self.process.stdout is not None
        why = "the helper in the JVM's namespace is gone"
        try:
            while True:
                line = self.process.stdout.readline(MAX_LINE_BYTES + 1)
                if not line:
                    break
                self._caller.take(line)
        except ProtocolError as error:
            why = f"the helper in the JVM's namespace: {error}"
        except (OSError, ValueError):
            pass  # closed from here
        self._caller.end(why)

    def read_file(self, path: str) -> bytes:
        """A whole result file. Raises Refused."""
        content = b""
        while True:
            data = base64.b64decode(self.call(messages.READ, messages.Read(path, len(content))).content)
            content += data
            if not data:
                return content

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        self._reader.join(5)
        self.process.stdout.close()

    def __enter__(self) -> Inside:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
