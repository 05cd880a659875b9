"""A worker on another host, over ssh: its code is sent each time, and it ends when this controller is gone."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from jvbtune.errors import HostError, JvbtuneError, LoadError
from jvbtune.hosts.archive import FROM_MEMORY
from jvbtune.hosts.base import Host, Stream
from jvbtune.inventory import GeneratorEntry
from jvbtune.load.archive import HEARTBEAT_SECONDS, worker_archive
from jvbtune.load.workers import Worker
from jvbtune.protocol import worker as messages
from jvbtune.protocol.codec import ProtocolError

#: A worker answers each heartbeat, but not while it waits for the last packets of a window (10 s at most).
LOST_SECONDS = 15.0
#: What a login may print before the worker speaks.
MAX_BANNER_LINES = 200
LAST_WORDS_SECONDS = 2.0


class RemoteWorker(Worker):
    """Raises LoadError. The host is connected, and was probed (``load.places``)."""

    def __init__(
        self,
        host: Host,
        generator: GeneratorEntry,
        python: str,
        remote: tuple[str, int],
        max_pps: float,
        lease_seconds: float,
        on_lost: Callable[[JvbtuneError], None],
    ) -> None:
        super().__init__(remote, host.name, on_lost)
        self._lease_ends = time.monotonic() + lease_seconds
        self._begun = threading.Event()
        self._fault = ""
        cores = ",".join(map(str, generator.cpus or ()))
        argv = [python, "-B", "-c", FROM_MEMORY, str(len(worker_archive())), cores]
        if generator.netns:
            argv = ["nsenter", f"--net=/run/netns/{generator.netns}", "--", *argv]
        try:
            self._stream: Stream = host.stream(argv)
            self._stream.write(worker_archive())
        except HostError as error:
            raise LoadError(f"{host.name}: the generator's worker cannot be started: {error.message}") from error
        self._threads = [
            threading.Thread(target=self._read, name=f"worker-{host.name}", daemon=True),
            threading.Thread(target=self._beat, name=f"worker-alive-{host.name}", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        set_up = messages.SetUp(
            address=remote[0],
            port=remote[1],
            bind_address=generator.bind_address,
            max_pps=max_pps,
            lease_seconds=lease_seconds,
        )
        try:
            self.call(messages.SET_UP, set_up)
            self.measure_clock()
        except JvbtuneError:
            self.close()
            raise

    def keep_alive(self, seconds: float) -> None:
        """As of ``Worker``; the next heartbeat tells it."""
        self._lease_ends = time.monotonic() + seconds

    def _beat(self) -> None:
        """The first request is not this: it sets the worker up."""
        self._begun.wait()
        while not self._gone.wait(HEARTBEAT_SECONDS):
            super().keep_alive(max(0.0, self._lease_ends - time.monotonic()))

    def _write(self, data: bytes) -> None:
        try:
            with self._write_lock:
                self._stream.write(data)
        except HostError as error:
            raise self._ended() from error
        self._begun.set()

    def _read(self) -> None:
        banner, spoken = 0, False
        try:
            while (line := self._stream.read_line(LOST_SECONDS)) is not None:
                if not spoken and not line.lstrip().startswith(b'{"') and banner < MAX_BANNER_LINES:
                    banner += 1
                    continue
                spoken = True
                self._caller.take(line)
        except TimeoutError:
            self._fault = f"nothing was heard from it for {LOST_SECONDS:g} s"
        except ProtocolError as error:
            self._fault = f"it sent a line that is not of the protocol: {error}"
        except HostError as error:
            self._fault = error.message
        self._begun.set()
        self._end("the worker is gone")

    def _why(self) -> str:
        text = self._fault
        if not text:
            with contextlib.suppress(TimeoutError, HostError):
                text = f"it ended with status {self._stream.wait(LAST_WORDS_SECONDS)}"
            said = self._stream.stderr_tail().decode("utf-8", "replace").strip()[-800:]
            text = ": ".join(filter(None, (text or "the ssh connection broke", said)))
        return f"{self.place}: the generator's worker is gone, so this load does not count: {text}"

    def _kill(self) -> None:
        """The end of its input ends it at once (``load.minder``)."""
        self._stream.close_stdin()

    def close(self) -> None:
        self._closing = True
        self._stream.close_stdin()
        with contextlib.suppress(TimeoutError, HostError):
            self._stream.wait(5)
        self._stream.close()
        self._begun.set()
        for thread in self._threads:
            thread.join(5)
