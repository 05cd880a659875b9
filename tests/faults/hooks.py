"""Runs first in the agent's archive: names and counts each effect of the process, and can stop or fail it there.

This file is put into the archive as source, with ``DIRECTORY`` set in front of it. It reads ``spec.json``:

    {"point": {"actor", "label", "nth", "when": "before" | "after"}, "action": "pause" | "raise", "errno", "scope"}

``pause``: the process writes ``at-point`` and waits for ``go``; what happens then is the harness's choice.
``raise``: the effect fails with ``errno``. With a ``scope``, every such effect below that directory fails, in every
process, until the harness takes ``broken`` away.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

DIRECTORY = globals().get("DIRECTORY", "")
ACTOR = "guard" if sys.argv[1:2] == ["guard"] else os.environ.get("JVBTUNE_FAULTS_ACTOR", "agent")
KEPT = ("/var/lib/", "/run/", "/proc/sys/", DIRECTORY)

_raw_open, _raw_write, _raw_replace, _raw_exists = os.open, os.write, os.replace, os.path.exists
_lock = threading.Lock()
_counts: dict[str, int] = {}
_timeline = _raw_open(DIRECTORY + "/timeline.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _read_spec() -> dict[str, Any]:
    with open(DIRECTORY + "/spec.json") as file:
        found: dict[str, Any] = json.load(file)
    return found


_spec = _read_spec()
_point = _spec.get("point") or {}


def _log(**data: Any) -> None:
    line = {"t": time.monotonic(), "who": ACTOR, "pid": os.getpid(), **data}
    _raw_write(_timeline, json.dumps(line).encode() + b"\n")


def _short(path: Any) -> str:
    text = os.fsdecode(path)
    text = re.sub(r"-netns-\d+", "", text).replace(DIRECTORY, "")
    text = re.sub(r"\.\d+(?=\.|$)", ".PID", text)
    return re.sub(r"agent-[0-9a-f]+", "agent", text)


def _place(path: Any) -> str | None:
    """The path if it is one whose change is an effect on the host."""
    if isinstance(path, int):
        try:
            path = os.readlink(f"/proc/self/fd/{path}")
        except OSError:
            return None
    try:
        text = os.path.abspath(os.fsdecode(path))
    except (TypeError, ValueError):
        return None
    return text if text.startswith(KEPT) else None


def _fails(op: str, place: str) -> int | None:
    """The errno with which an effect fails for good; None: it does not."""
    if not _raw_exists(DIRECTORY + "/broken"):
        return None
    number, scope = int(_spec["errno"]), str(_spec.get("scope") or "")
    if number == errno.EMFILE:
        return number if op in ("open", "spawn", "connect") and scope == ACTOR else None
    if not place.startswith(scope) or op not in ("open", "write", "replace", "mkdir", "fsync", "unlink"):
        return None
    return None if number == errno.ENOSPC and op == "unlink" else number


def _effect(op: str, label: str, place: str, call: Callable[[], Any]) -> Any:
    with _lock:
        _counts[label] = number = _counts.get(label, 0) + 1
    _log(effect=label, n=number)
    failing = _fails(op, place)
    if failing is not None:
        _log(effect=label, n=number, failed=errno.errorcode[failing])
        raise OSError(failing, os.strerror(failing), place)
    here = _point.get("actor") == ACTOR and _point.get("label") == label and _point.get("nth") == number
    if here and _spec["action"] == "raise":
        _reach(label)
        if _spec.get("scope"):
            os.close(_raw_open(DIRECTORY + "/broken", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        _log(effect=label, n=number, failed=errno.errorcode[_spec["errno"]])
        raise OSError(_spec["errno"], os.strerror(_spec["errno"]), place)
    if here and _point["when"] == "before":
        _pause(label)
    try:
        return call()
    finally:
        if here and _point["when"] == "after":
            _pause(label)


def _reach(label: str) -> None:
    temporary = f"{DIRECTORY}/at-point.{os.getpid()}"
    descriptor = _raw_open(temporary, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    _raw_write(descriptor, json.dumps({"pid": os.getpid(), "actor": ACTOR, "label": label}).encode())
    os.close(descriptor)
    _raw_replace(temporary, DIRECTORY + "/at-point")


def _pause(label: str) -> None:
    _reach(label)
    until = time.monotonic() + 20
    while not _raw_exists(DIRECTORY + "/go") and time.monotonic() < until:
        time.sleep(0.002)


def _wrap_path(name: str, op: str, argument: int = 0) -> None:
    raw = getattr(os, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        path = args[argument] if kwargs.get("dir_fd") is None else f"/proc/self/fd/{kwargs['dir_fd']}/{args[argument]}"
        if kwargs.get("dir_fd") is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{kwargs['dir_fd']}"), os.fsdecode(args[argument]))
        place = _place(path)
        if place is None:
            return raw(*args, **kwargs)
        return _effect(op, f"{op} {_short(place)}", place, lambda: raw(*args, **kwargs))

    setattr(os, name, wrapped)


def _writes(mode: object, flags: object) -> bool:
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def _wrap_open(module: Any, flags_first: bool) -> None:
    raw = module.open

    def wrapped(path: Any, *args: Any, **kwargs: Any) -> Any:
        second = args[0] if args else kwargs.get("flags" if flags_first else "mode", 0 if flags_first else "r")
        writes = _writes(None if flags_first else second, second if flags_first else None)
        place = None if isinstance(path, int) else _place(path)
        if place is None or not writes:
            if _raw_exists(DIRECTORY + "/broken") and _fails("open", "") == errno.EMFILE:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
            return raw(path, *args, **kwargs)
        return _effect("open", f"open {_short(place)}", place, lambda: raw(path, *args, **kwargs))

    module.open = wrapped


def _install() -> None:
    _wrap_open(builtins, False)
    io.open = builtins.open
    _wrap_open(os, True)
    for name, op, argument in (
        ("replace", "replace", 1),
        ("rename", "replace", 1),
        ("unlink", "unlink", 0),
        ("remove", "unlink", 0),
        ("mkdir", "mkdir", 0),
        ("rmdir", "rmdir", 0),
        ("fsync", "fsync", 0),
        ("write", "write", 0),
    ):
        _wrap_path(name, op, argument)
    raw_flock, raw_connect = fcntl.flock, socket.socket.connect
    raw_request, raw_popen = http.client.HTTPConnection.request, subprocess.Popen.__init__

    def flock(descriptor: Any, operation: int) -> Any:
        place = _place(descriptor if isinstance(descriptor, int) else descriptor.fileno()) or ""
        return _effect("flock", f"flock {_short(place)}", place, lambda: raw_flock(descriptor, operation))

    def connect(self: socket.socket, address: Any) -> Any:
        return _effect("connect", "connect", "", lambda: raw_connect(self, address))

    def request(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        label = f"http {method} {url}"
        return _effect("http", label, "", lambda: raw_request(self, method, url, *args, **kwargs))

    def popen(self: Any, argv: Any, *args: Any, **kwargs: Any) -> Any:
        what = "guard" if "guard" in argv else os.path.basename(argv[-2] if "restart" in argv else argv[0])
        return _effect("spawn", f"spawn {what}", "", lambda: raw_popen(self, argv, *args, **kwargs))

    fcntl.flock = flock
    socket.socket.connect = connect  # type: ignore[method-assign]
    http.client.HTTPConnection.request = request  # type: ignore[method-assign]
    subprocess.Popen.__init__ = popen  # type: ignore[method-assign]

    def hook(event: str, args: Any) -> None:
        if event == "ctypes.dlsym" and args[1] in ("mount", "umount2"):
            _effect("mount", str(args[1]), "", lambda: None)

    sys.addaudithook(hook)


def _step_clock() -> None:
    """``clock`` holds the seconds by which this host's wall clock was stepped: that of the machine is not ours."""
    raw = time.time

    def stepped() -> float:
        try:
            descriptor = _raw_open(DIRECTORY + "/clock", os.O_RDONLY)
        except OSError:
            return raw()
        try:
            return raw() + float(os.read(descriptor, 40) or 0)
        finally:
            os.close(descriptor)

    time.time = stepped


def _set_constants() -> None:
    """Settings that a network namespace has, beside the catalogue's, and time-outs in proportion to a short lease."""
    from jvbtune.agent import settings

    for name, count in _spec["settings"].items():
        settings.SETTINGS.setdefault(name, settings.HostSetting(name, count=count, initial_only=False))
    import importlib

    for name, value in _spec["constants"].items():
        module, _, constant = name.rpartition(".")
        try:
            loaded = importlib.import_module("jvbtune.agent." + module)
        except ImportError:
            continue
        if hasattr(loaded, constant):
            setattr(loaded, constant, value)


_ = shutil.rmtree  # loaded before os.unlink is wrapped: it looks at os.supports_dir_fd
_install()
_step_clock()
_log(event="started", argv=sys.argv[1:])
_set_constants()
