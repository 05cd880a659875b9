"""Acting in another namespace of the kernel's, known by its inode number: what nsenter(1) does, for one call.

A namespace is found through any process that lives in it, or by its name under /run/netns. None: the caller's own.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Callable

CLONE_FLAGS = {"net": 0x40000000}
NAMED_NETWORK_NAMESPACES = ("/run/netns", "/run/docker/netns")


class NamespaceGone(Exception):
    """No process and no name holds this namespace any more: what was set in it is gone with it."""


def identity(kind: str, pid: int | str = "self") -> int:
    """The inode number of a process's namespace. Raises OSError where the process is gone."""
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def member(kind: str, inode: int) -> int | None:
    """A process that lives in the namespace, the caller itself first; None: there is none."""
    if identity(kind) == inode:
        return os.getpid()
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and identity(kind, name) == inode:
                return int(name)
        except OSError:
            continue
    return None


def call_in(kind: str, inode: int | None, function: Callable[[], Any]) -> Any:
    """Call a function in a network namespace, by a thread that ends afterwards. Raises NamespaceGone, OSError."""
    if inode is None or identity(kind) == inode:
        return function()
    path = _path(kind, inode)
    if path is None:
        raise NamespaceGone(f"the {kind} namespace {inode} is gone")
    results: list[Any] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            _setns(path, CLONE_FLAGS[kind])
            if os.stat(f"/proc/thread-self/ns/{kind}").st_ino != inode:
                raise NamespaceGone(f"the {kind} namespace {inode} is gone")
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _path(kind: str, inode: int) -> str | None:
    pid = member(kind, inode)
    if pid is not None:
        return f"/proc/{pid}/ns/{kind}"
    for directory in NAMED_NETWORK_NAMESPACES if kind == "net" else ():
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            try:
                if os.stat(os.path.join(directory, name)).st_ino == inode:
                    return os.path.join(directory, name)
            except OSError:
                continue
    return None


def _setns(path: str, flag: int) -> None:
    import ctypes

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.setns(descriptor, flag) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns {path}: {os.strerror(number)}")
    finally:
        os.close(descriptor)
