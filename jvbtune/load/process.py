"""A worker process as the controller sees it: it runs on the generator's cores, takes lines, and never outlives it."""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from jvbtune.errors import LoadError
from jvbtune.inventory import HostEntry

MAX_WORKER_SECONDS = 24 * 3600.0


class WorkerProcess:
    """A worker and its lines; ``call`` may be used by one thread at a time."""

    def __init__(self, entry: HostEntry, remote: tuple[str, int], max_pps: float) -> None:
        self.remote = remote
        argv = [sys.executable, "-m", "jvbtune.load.worker"]
        netns = entry.generator.netns
        if netns:
            argv = ["nsenter", f"--net=/run/netns/{netns}", "--", *argv]
        cpus = entry.generator.cpus
        environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]), PYTHONDONTWRITEBYTECODE="1")
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
                preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise LoadError(f"the generator's worker cannot be started: {error}") from error
        self._numbers = itertools.count(1)
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._stderr = b""
        self._readers = [
            threading.Thread(target=self._read, name="worker-stdout", daemon=True),
            threading.Thread(target=self._read_stderr, name="worker-stderr", daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        self._write(
            {
                "address": remote[0],
                "port": remote[1],
                "bind_address": entry.generator.bind_address,
                "max_pps": max_pps,
                "max_seconds": MAX_WORKER_SECONDS,
            }
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, op: str, timeout_seconds: float = 30.0, **args: Any) -> dict[str, Any]:
        """One request and its answer. Raises LoadError."""
        number = next(self._numbers)
        self._write({"id": number, "op": op, "args": args})
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise LoadError(f"the generator did not answer {op} within {timeout_seconds:g} s") from None
            if answer is None:
                raise LoadError(self._why())
            if answer["id"] != number:
                continue
            if not answer["ok"]:
                raise LoadError(f"the generator: {answer['error']}")
            return dict(answer["result"])

    def check_alive(self, seconds: float) -> None:
        """Wait, but not on a worker that ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise LoadError(self._why())

    def _why(self) -> str:
        self._process.wait(5)
        text = self._stderr.decode("utf-8", "replace").strip()
        return f"the generator's worker ended with status {self._process.returncode}: {text[-800:]}"

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise LoadError(self._why()) from error

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                self._answers.put(json.loads(line))
        self._answers.put(None)

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            for line in stderr:
                self._stderr = (self._stderr + line)[-8192:]

    def close(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(5)
