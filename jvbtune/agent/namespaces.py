"""Acting in another network namespace: what nsenter(1) does, for one call."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any, Callable

CLONE_NEWNET = 0x40000000


def same_network(pid: int) -> bool:
    """Whether a process lives in the caller's own network namespace. Raises OSError where it is gone."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino


def call_in_network_of(pid: int, function: Callable[[], Any]) -> Any:
    """Call a function in the network namespace of a process. Raises OSError.

    setns(2) holds for one thread: one that ends afterwards enters.
    """
    if same_network(pid):
        return function()
    results: list[Any] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            _setns(f"/proc/{pid}/ns/net")
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _setns(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns {path}: {os.strerror(number)}")
    finally:
        os.close(descriptor)
