"""A worker as the generator sees it, wherever it runs: requests, the lease, clocks, and how it is lost."""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from jvbtune.errors import GeneratorLostError, JvbtuneError, LoadError
from jvbtune.interrupts import take, wait_for
from jvbtune.protocol import worker as messages
from jvbtune.protocol.codec import ProtocolError
from jvbtune.protocol.messages import Nothing, Operation, Refused
from jvbtune.protocol.peers import Caller, Gone

A = TypeVar("A")
R = TypeVar("R")

CLOCK_EXCHANGES = 6


class Line(ABC):
    """Requests to a process and their answers. ``who``: it, in errors. ``on_lost`` is called once, from another thread,
    if it ends without being asked."""

    def __init__(self, who: str, on_lost: Callable[[JvbtuneError], None]) -> None:
        self._who = who
        self._on_lost = on_lost
        self._aborted: JvbtuneError | None = None
        self._closing = False
        self._gone = threading.Event()
        self._write_lock = threading.Lock()
        self._caller = Caller(self._write, receive=take)

    def call(self, operation: Operation[A, R], arguments: A, timeout_seconds: float = 30.0) -> R:
        """One request and its answer. Raises LoadError; GeneratorLostError where no answer comes any more."""
        try:
            return self._caller.call(operation, arguments, timeout_seconds)
        except Refused as refused:
            raise LoadError(f"{self._who}: {refused.fault.message}", hint=refused.fault.hint) from None
        except TimeoutError as error:
            raise GeneratorLostError(f"{self._who}: {error}") from None
        except Gone:
            raise self._ended() from None
        except ProtocolError as error:
            raise LoadError(f"{self._who}: its answer is not of the protocol: {error}") from error

    def check_alive(self, seconds: float) -> None:
        """Wait, but not on one that ended."""
        if wait_for(self._gone.wait, seconds):
            raise self._ended()

    def abort(self, error: JvbtuneError) -> None:
        """Stop sending at once, whatever it does; a call under way, and each later one, raises ``error``."""
        self._aborted = self._aborted or error
        self._kill()

    def _ended(self) -> JvbtuneError:
        return self._aborted or GeneratorLostError(self._why())

    def _end(self, why: str) -> None:
        """Nothing comes from it any more: whoever waits for it is woken."""
        self._caller.end(why)
        self._gone.set()
        if not self._closing and self._aborted is None:
            self._on_lost(self._ended())

    @abstractmethod
    def close(self) -> None:
        """End it."""

    @abstractmethod
    def _kill(self) -> None: ...

    @abstractmethod
    def _why(self) -> str:
        """Why it ended, in words."""

    @abstractmethod
    def _write(self, data: bytes) -> None: ...


@dataclass(frozen=True)
class ClockOffset:
    """The clocks of a worker's machine against those of this one, in seconds; wrong by ``uncertainty`` at most."""

    unix: float = 0.0
    mono: float = 0.0
    uncertainty: float = 0.0


class Worker(Line):
    """``remote``: where its load may go. ``place``: of the machine; None: this one."""

    def __init__(self, remote: tuple[str, int], place: str | None, on_lost: Callable[[JvbtuneError], None]) -> None:
        super().__init__("the generator" if place is None else f"{place}: the generator", on_lost)
        self.remote, self.place = remote, place
        self.clock = ClockOffset()

    @property
    def pid(self) -> int | None:
        """Of a process of this machine."""
        return None

    def measure_clock(self) -> None:
        """Of several exchanges the one with the least delay (RFC 5905, 8)."""
        best = float("inf")
        for _ in range(CLOCK_EXCHANGES):
            unix, mono = time.time(), time.monotonic()
            answer = self.call(messages.CLOCK, Nothing(), 10.0)
            delay = time.monotonic() - mono
            if delay < best:
                best = delay
                middle = delay / 2
                self.clock = ClockOffset(answer.unix - unix - middle, answer.mono - mono - middle, middle)

    def keep_alive(self, seconds: float) -> None:
        """It may send for so long from now. Any thread; a worker that ended tells at the next call."""
        with contextlib.suppress(JvbtuneError):
            self._caller.tell(messages.ALIVE, messages.Alive(seconds))
