"""jvbtune's own generator under py-spy: the same store, so that a load that the generator limits can be looked into."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from jvbtune.capture.quality import quality_of
from jvbtune.capture.store import write_capture
from jvbtune.capture.take import with_packets
from jvbtune.errors import CaptureError

#: py-spy's start, per slice, is no part of a window.
START_SECONDS = 1.0
MIN_SECONDS = 4.0  # of one slice, py-spy's start included; it takes whole seconds
MAX_SLICES = 6
LOST = (
    "Native frames: time in OpenSSL, libsrtp and the kernel is its Python caller's.",
    "py-spy reads the process without stopping it, so that it keeps its times: a few stacks are torn and left out.",
)


class GeneratorProfile:
    """Profiles the process ``pid`` of this machine in slices, in a thread, from ``start`` on until ``finish``."""

    def __init__(self, pid: int, *, seconds: float, rate_hz: int = 100, count: Callable[[], Mapping[str, Any]]) -> None:
        try:
            self._process = psutil.Process(pid)
        except psutil.NoSuchProcess as error:
            raise CaptureError("the generator's process is gone") from error
        self._rate_hz, self._count = rate_hz, count
        self._slices = max(1, min(MAX_SLICES, int(seconds / MIN_SECONDS)))
        self._slice_seconds = int(seconds / self._slices - START_SECONDS)
        self._program = shutil.which("py-spy") or str(Path(sys.executable).with_name("py-spy"))
        self._thread = threading.Thread(target=self._run, name="py-spy", daemon=True)
        self._error: CaptureError | None = None
        self._windows: list[dict[str, Any]] = []
        self._stacks: list[bytes] = []
        self.created_unix = time.time()

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Wait for the last slice. Raises CaptureError where one failed."""
        self._thread.join(self._slices * (self._slice_seconds + 10))
        if self._error is not None:
            raise self._error
        if len(self._stacks) < self._slices:
            raise CaptureError("py-spy did not end in time")

    def _run(self) -> None:
        try:
            with tempfile.TemporaryDirectory() as directory:
                for _ in range(self._slices):
                    self._slice(Path(directory, "stacks"))
        except CaptureError as error:
            self._error = error
        except (OSError, ValueError) as error:
            self._error = CaptureError(f"py-spy: {error}")

    def _slice(self, out: Path) -> None:
        argv = [self._program, "record", "--pid", str(self._process.pid), "--format", "raw"]
        argv += ["--function", "--nonblocking"]
        argv += ["--rate", str(self._rate_hz), "--duration", str(self._slice_seconds), "--output", str(out)]
        first = self._read()
        done = subprocess.run(argv, capture_output=True, text=True, timeout=self._slice_seconds + 30)
        last = self._read()
        if done.returncode != 0 or not out.exists():
            said = (done.stderr or done.stdout).strip()[-500:]
            raise CaptureError(f"py-spy failed with status {done.returncode}: {said}", hint="It needs root, or ptrace.")
        self._stacks.append(out.read_bytes())
        out.unlink()
        window = {
            "started_unix": first["unix"],
            "seconds": last["unix"] - first["unix"],
            "cpu_seconds": round(last["cpu_seconds"] - first["cpu_seconds"], 3),
            "thread_cpu_seconds": {},
            "queues": [first["queues"], last["queues"]],
        }
        self._windows.append(with_packets(window))

    def _read(self) -> dict[str, Any]:
        try:
            used = self._process.cpu_times()
        except psutil.NoSuchProcess as error:
            raise CaptureError("the generator's process is gone") from error
        return {"unix": time.time(), "cpu_seconds": used.user + used.system, "queues": dict(self._count())}

    def store(self, directory: Path, *, host: str, intended_pps: float) -> Path:
        """Write the capture; its path. ``host`` is the one that was loaded."""
        version = subprocess.run([self._program, "--version"], capture_output=True, text=True).stdout.strip()
        document = {
            "host": f"{host}-generator",
            "created_unix": self.created_unix,
            "engine": "py-spy",
            "engine_version": version.removeprefix("py-spy "),
            "event": "cpu",
            "unit": "samples",
            "interval_ns": round(1e9 / self._rate_hz),
            "arguments": f"--rate {self._rate_hz} --function",
            "kernel_frames": False,
            "lost": list(LOST),
            "target": {"pid": self._process.pid, "uid": os.getuid(), "python": sys.version.split()[0]},
            "run_id": None,
            "step": None,
            "settings": None,
            "intended_pps": intended_pps,
            "slices": [
                {
                    **{key: value for key, value in window.items() if key != "queues"},
                    "samples": quality_of(stacks).samples,
                }
                for window, stacks in zip(self._windows, self._stacks, strict=True)
            ],
        }
        return write_capture(directory, document, self._stacks)
