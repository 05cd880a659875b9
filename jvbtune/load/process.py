"""A worker process of this machine: it runs on the generator's cores, takes lines, and never outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

from jvbtune.errors import JvbtuneError, LoadError
from jvbtune.inventory import HostEntry
from jvbtune.load.workers import Worker
from jvbtune.protocol import worker as messages
from jvbtune.protocol.codec import MAX_LINE_BYTES, ProtocolError

#: A worker that nobody keeps alive (``keep_alive``) ends by itself: a lease, as on the host.
DEFAULT_LEASE_SECONDS = 30.0


class WorkerProcess(Worker):
    """A worker and its lines. Raises LoadError."""

    def __init__(
        self,
        entry: HostEntry,
        remote: tuple[str, int],
        max_pps: float,
        lease_seconds: float,
        on_lost: Callable[[JvbtuneError], None] = lambda error: None,
    ) -> None:
        super().__init__(remote, None, on_lost)
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
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise LoadError(f"the generator's worker cannot be started: {error}") from error
        if cpus:
            self._pin(cpus)
        self._stderr = b""
        self._readers = [
            threading.Thread(target=self._read, name="worker-stdout", daemon=True),
            threading.Thread(target=self._read_stderr, name="worker-stderr", daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        set_up = messages.SetUp(
            address=remote[0],
            port=remote[1],
            bind_address=entry.generator.bind_address,
            max_pps=max_pps,
            lease_seconds=lease_seconds,
        )
        try:
            self.call(messages.SET_UP, set_up)
        except LoadError:
            self.close()
            raise

    def _pin(self, cpus: tuple[int, ...]) -> None:
        """Before it has read its first request: what it starts later inherits the cores."""
        try:
            process = psutil.Process(self._process.pid)
            process.cpu_affinity(list(cpus))
            missing = sorted(set(cpus) - set(process.cpu_affinity() or ()))
            if missing:  # the kernel takes what there is of a list, without a word
                raise ValueError(f"this machine has no core {missing[0]}")
        except psutil.NoSuchProcess:
            return  # why it ended is told by the first request
        except (OSError, ValueError) as error:
            self._process.kill()
            self._process.communicate()
            listed = ", ".join(str(cpu) for cpu in cpus)
            raise LoadError(
                f"the generator cannot run on the cores {listed}: {error}",
                hint="Set generator.cpus in jvbtune.toml to cores that this machine has.",
            ) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def _kill(self) -> None:
        self._process.kill()

    def _why(self) -> str:
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        text = self._stderr.decode("utf-8", "replace").strip()
        return f"the generator's worker ended with status {self._process.returncode}: {text[-800:]}"

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            with self._write_lock:
                self._process.stdin.write(data)
                self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise self._ended() from error

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            try:
                while line := stdout.readline(MAX_LINE_BYTES + 1):
                    self._caller.take(line)
            except ProtocolError as error:
                self._stderr += f"it sent a line that is not of the protocol: {error}".encode()
        self._end("the worker ended")

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            for line in stderr:
                self._stderr = (self._stderr + line)[-8192:]

    def close(self) -> None:
        self._closing = True
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
