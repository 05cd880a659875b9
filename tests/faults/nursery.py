"""Starts worlds: a process that has loaded everything once, and forks a world in namespaces of its own for each line.

A line on standard input is a directory; when its world has ended the same line comes back on standard output. The first
process of a world's process namespace reaps whoever loses its parent; when it ends, the kernel ends all the others.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import traceback
from pathlib import Path

import jvbtune.cli.revert
import jvbtune.sweep.session  # noqa: F401  loaded here, and not in each command of each world
from tests.faults import world

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
TIMEOUT_SECONDS = 600


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


def bear(directory: Path) -> int:
    """The pid of the process that ends with the world."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        error = os.open(directory / "world.err", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        null = os.open(os.devnull, os.O_RDWR)
        for source, target in ((null, 0), (null, 1), (error, 2)):
            os.dup2(source, target)
        _call("unshare", CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET)
        first = os.fork()
        if not first:
            _first_process(directory)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(first, signal.SIGKILL))
        signal.alarm(TIMEOUT_SECONDS)
        status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    except BaseException:
        traceback.print_exc(file=os.fdopen(2, "w", closefd=False))
    finally:
        os._exit(status & 0xFF)


def _first_process(directory: Path) -> None:
    status = 1
    try:
        _call("mount", b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
        _call("mount", b"proc", b"/proc", b"proc", ctypes.c_ulong(0), None)
        own = os.fork()
        if not own:
            sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
            try:
                status = world.live(directory)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        while True:
            pid, code = os.wait()
            if pid == own:
                status = os.waitstatus_to_exitcode(code)
                break
    finally:
        os._exit(status & 0xFF)


def main() -> int:
    worlds: dict[int, str] = {}
    pending = b""
    while True:
        if select.select([0], [], [], 0.02)[0]:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                worlds[bear(Path(line.decode()))] = line.decode()
        _report(worlds)
    for pid in worlds:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    return 0


def _report(worlds: dict[int, str]) -> None:
    while worlds:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        os.write(1, worlds.pop(pid).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
