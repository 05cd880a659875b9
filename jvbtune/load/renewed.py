"""A generator that is opened again if it is lost while it makes load: a machine that makes load may restart, and its
link may break, and a sweep of hours shall not end with it.

Whoever offered the load begins what it was for again: of a load that lacked a share no figure is made.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from jvbtune.errors import GeneratorLostError, HostError, JvbtuneError, LoadError
from jvbtune.interrupts import wait_for
from jvbtune.load.base import Edge, Generator, IntendedLoad, Offered

#: Before each attempt to open it. A host that boots takes longer: then the run ends, and can be resumed.
PAUSES_SECONDS = (1.0, 5.0, 15.0)


class RenewedGenerator:
    """What a session needs of a ``load.base.Generator``. ``opens``: makes one. ``tell(because)``: one was lost, and it
    goes on without it."""

    def __init__(self, opens: Callable[[], Generator], tell: Callable[[str], None]) -> None:
        self._opens, self._tell = opens, tell
        self._lock = threading.Lock()  # an abort meets either generator, the old one or the new one
        self._aborted: JvbtuneError | None = None
        self._abort = threading.Event()
        self._lease_ends: float | None = None  #: the fresh one's too
        self._current, self._closed = opens(), False

    @property
    def prefix(self) -> str:
        return self._current.prefix

    @property
    def endpoints(self) -> int:
        return self._current.endpoints

    def offer(
        self, load: IntendedLoad, duration_seconds: float, *, settle_seconds: float = 2.0, edge: Edge | None = None
    ) -> Offered:
        return self._current.offer(load, duration_seconds, settle_seconds=settle_seconds, edge=edge)

    def renew(self, lost: GeneratorLostError) -> None:
        """Open another one in place of that which was lost. Raises ``lost`` where none can be opened."""
        self._tell(lost.message)
        with contextlib.suppress(JvbtuneError):  # what can be expired on the bridge is
            self.close()
        for seconds in PAUSES_SECONDS:
            if wait_for(self._abort.wait, seconds):
                assert self._aborted is not None
                raise self._aborted
            try:
                fresh = self._opens()
            except (HostError, LoadError):
                continue  # its host is not back yet
            with self._lock:
                self._current, self._closed = fresh, False
                if self._aborted is not None:
                    fresh.abort(self._aborted)
            if self._lease_ends is not None:
                fresh.keep_alive(max(0.0, self._lease_ends - time.monotonic()))
            return
        raise lost

    def stop(self) -> None:
        try:
            self._current.stop()
        except GeneratorLostError as lost:
            self.renew(lost)

    def keep_alive(self, seconds: float) -> None:
        self._lease_ends = time.monotonic() + seconds
        self._current.keep_alive(seconds)

    def abort(self, error: JvbtuneError) -> None:
        with self._lock:
            self._aborted = self._aborted or error
            self._abort.set()
            self._current.abort(error)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._current.close()
