"""A process of its own in the JVM's mount namespace: places the profiler's library, attaches, takes results away.

It speaks JSON lines with the agent and outlives it by one thing: when its input ends, whatever ended the agent, it
stops the session that it armed, deletes what it placed, and ends. Behind it stands the profiler's own time-out.
Paths are resolved by the kernel inside of the JVM's root, so that no link of a container's leads out of it.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from typing import Any, Callable

from jvbtune.agent.capture_attach import Attach, AttachError, identity
from jvbtune.agent.capture_transfer import Transfer

CLONE_NEWNS = 0x00020000
PREFIX = ".jvbtune-"
PIECE_BYTES = 1 << 20


class Refused(Exception):
    """What the agent tells on."""


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

    def join(self) -> None:
        """Into the JVM's mount namespace and root. Raises OSError."""
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

    def look(self, directories: list[str], needed_bytes: int, name: str) -> dict[str, Any]:
        """The first directory where a library can be mapped and results be written; why the others cannot."""
        refused: dict[str, str] = {}
        for directory in directories:
            real = os.path.realpath(directory)
            if real in refused:
                continue
            why = self._why_not(real, needed_bytes, name)
            if why is None:
                return {"directory": real, "refused": refused}
            refused[real] = why
        return {"directory": None, "refused": refused}

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

    def place(self, directory: str, name: str, library: str, sha256: str, content: str) -> dict[str, Any]:
        """Make our directory with the library in it, readable by all, and ``out``, the JVM user's own."""
        own = os.path.join(directory, name)
        self._clear(own)
        self.directory = own
        try:
            with identity(*self.maker):
                os.mkdir(own, 0o755)
                os.chmod(own, 0o755)
                path = os.path.join(own, library)
                data = base64.b64decode(content)
                if data:
                    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
                    with open(descriptor, "w+b") as file:
                        file.write(data)
                        file.flush()
                        os.fchmod(descriptor, 0o755)
                        file.seek(0)
                        found = hashlib.sha256(file.read()).hexdigest()
                        if found != sha256:
                            raise Refused(f"{path}: its sha256 is {found}, not {sha256}")
                        mmap.mmap(descriptor, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC).close()
                out = os.path.join(own, "out")
                os.mkdir(out, 0o700)
            if self.maker != (self.uid, self.gid):
                os.chown(out, self.uid, self.gid)
        except OSError as error:
            self.clean()
            raise Refused(f"{own}: {error.strerror}") from error
        except Refused:
            self.clean()
            raise
        return {"library": path, "out": out}

    def write(self, path: str, content: str) -> dict[str, Any]:
        """A small file for the JVM to read."""
        with identity(*self.maker):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb") as file:
            file.write(base64.b64decode(content))
            os.fchmod(descriptor, 0o644)
        return {}

    def ask(self, arguments: list[str], timeout_seconds: float = 30.0) -> dict[str, Any]:
        code, text = self.attach.ask(arguments, timeout_seconds)
        return {"code": code, "text": text}

    def load(self, library: str, options: str, timeout_seconds: float = 30.0) -> dict[str, Any]:
        return {"code": self.attach.load(library, options, timeout_seconds)}

    def arm(self, stop: list[list[str]], files: list[str]) -> dict[str, Any]:
        """What is to be asked of the JVM, and which files are to go, when the agent is gone."""
        self.stop, self.files = stop, files
        return {}

    def serve(self, path: str) -> dict[str, Any]:
        """Offer perf descriptors on a socket for the next session."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with identity(*self.maker):
            self.transfer = Transfer(path, self.pid, self.proc, self.uid, self.gid)
        self.transfer.start()
        return {}

    def read(self, path: str, offset: int = 0) -> dict[str, Any]:
        """A piece of a result; only of a plain file, and through no link."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise Refused(f"{path} is no plain file")
            data = os.pread(descriptor, PIECE_BYTES, offset)
        finally:
            os.close(descriptor)
        return {"size": found.st_size, "content": base64.b64encode(data).decode()}

    def remove(self, path: str) -> dict[str, Any]:
        """Delete one plain file of the JVM user's or of ours; whether there was one."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return {"removed": False}
        if found.st_uid not in (self.uid, 0, os.geteuid()) or stat.S_ISDIR(found.st_mode):
            raise Refused(f"{path} belongs to somebody else")
        os.unlink(path)
        return {"removed": True}

    def clear(self, directories: list[str]) -> dict[str, Any]:
        """Take away what a capture left whose agent and helper were killed at once."""
        cleared = []
        for directory in {os.path.realpath(one) for one in directories}:
            with contextlib.suppress(OSError):
                for name in os.listdir(directory):
                    path = os.path.join(directory, name)
                    if name.startswith(PREFIX) and self._clear(path):
                        cleared.append(path)
        return {"cleared": cleared}

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

    def clean(self) -> dict[str, Any]:
        """Stop what is armed, delete what was placed."""
        failed = []
        for arguments in self.stop if self._alive() else ():
            try:
                self.attach.ask(arguments, 20.0)
            except AttachError as error:
                failed.append(str(error))
        for path in self.files:
            with contextlib.suppress(OSError, Refused):
                self.remove(path)
        self.stop, self.files = [], []
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None
        return {"failed": failed}


def main(arguments: list[str]) -> int:
    """``inside PID OWN_PID UID GID``."""
    inside = _Inside(*(int(argument) for argument in arguments))
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    "".encode("idna")  # codecs are imported when first used: no module can be found from here on
    try:
        inside.join()
    except OSError as error:
        _answer({"error": f"the JVM's mount namespace cannot be entered: {error.strerror}"})
        return 1
    _answer({"result": {}})
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            operation: Callable[..., dict[str, Any]] = getattr(inside, request.pop("op"))
            try:
                _answer({"result": operation(**request)})
            except (AttachError, Refused) as error:
                _answer({"error": str(error)})
            except OSError as error:
                _answer({"error": f"{error.filename or 'the JVM'}: {error.strerror or error}", "errno": error.errno})
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        inside.clean()
    return 0


def _answer(answer: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    except OSError:
        pass


class Inside:
    """The agent's end of it. Raises Refused where an operation is; a context manager."""

    def __init__(self, archive: str, pid: int, own_pid: int, uid: int, gid: int) -> None:
        argv = [sys.executable, "-I", "-B", archive, "inside", *(str(part) for part in (pid, own_pid, uid, gid))]
        self._lock = threading.Lock()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._read()

    def call(self, op: str, **arguments: Any) -> dict[str, Any]:
        with self._lock:
            assert self.process.stdin is not None
            try:
                self.process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
                self.process.stdin.flush()
            except (OSError, ValueError) as error:
                raise Refused("the helper in the JVM's namespace is gone") from error
            return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Refused("the helper in the JVM's namespace is gone")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return dict(answer["result"])

    def read_file(self, path: str) -> bytes:
        """A whole result file. Raises Refused."""
        content = b""
        while True:
            piece = self.call("read", path=path, offset=len(content))
            data = base64.b64decode(piece["content"])
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
        self.process.stdout.close()

    def __enter__(self) -> Inside:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
