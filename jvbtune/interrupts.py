"""Interrupts of a command that changes a host: never lost, and never in the middle of an undo.

A handler that raises does so wherever the program happens to be: inside a lock of the logging module, in a callback
whose errors are dropped. Here the kernel's notice of a signal goes into a pipe (``signal.set_wakeup_fd``), a thread
reads it, and ``KeyboardInterrupt`` is raised in one place only: where the main thread waits (``_slices``), at most
0.2 s later.

- The first SIGINT, SIGTERM or SIGHUP ends the work, and the host is put back. If the main thread does not take notice
  of it within ``ACKNOWLEDGE_SECONDS``, the command leaves as at the third.
- The second says that the host is being put back.
- The third closes the input of the agents, which then put their hosts back by themselves, and leaves.

While the user is asked a question (``asking``), any of them ends the command at once. One that was ignored when the
command began (``nohup``) stays ignored: ``leave_ignored``.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from typing import Any, Protocol, TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SLICE_SECONDS = 0.2
ACKNOWLEDGE_SECONDS = 10.0
EXIT_CODE = 130

PUTTING_BACK = "The host is being put back. Once more: leave this to the agent on the host."
LEAVING = (
    "Leaving. The agent on the host ends by itself what was begun. To see what is left: "
    "jvbtune revert --host HOST --check, and after an apply or a rollback: jvbtune rollback --host HOST --check"
)

Item = TypeVar("Item")


class Leaving(Protocol):
    """What has to be told before the command leaves at once."""

    def hang_up(self) -> None: ...


class _State:
    def __init__(self, say: Callable[[str], None], leave: Callable[[int], Any], writing: int) -> None:
        self.say, self.leave = say, leave
        self.writing = writing
        self.asked = threading.Event()
        self.raised = False
        self.held = 0
        self.count = 0
        self.deadline = float("inf")

    def acknowledged(self) -> bool:
        return self.raised or self.held > 0

    def arrived(self, number: int) -> None:
        """A signal; in the thread that reads them."""
        self.count += 1
        busy = self.acknowledged()
        self.asked.set()
        if self.count == 1:
            self.deadline = time.monotonic() + ACKNOWLEDGE_SECONDS
        if self.count >= 3:
            self.go()
        elif self.count == 2 or busy:
            self.say(PUTTING_BACK)

    def go(self) -> None:
        self.deadline = float("inf")
        self.say(LEAVING)
        for one in list(_leaving):
            with contextlib.suppress(Exception):
                one.hang_up()
        self.leave(EXIT_CODE)


_state: _State | None = None
_leaving: weakref.WeakSet[Leaving] = weakref.WeakSet()
_taken: tuple[signal.Signals, ...] = SIGNALS


def hang_up_on_leaving(one: Leaving) -> None:
    """Its ``hang_up`` is called, from another thread, if the command has to leave at once."""
    _leaving.add(one)


def leave_ignored() -> None:
    """Signals that are ignored now stay so, for this process: ``nohup`` and a shell's ``&`` ask for that. Not for the
    processes of a fleet, which no terminal reaches: the controller's own signals to them come through."""
    global _taken
    _taken = tuple(number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN)


@contextlib.contextmanager
def handled(say: Callable[[str], None], *, leave: Callable[[int], Any] = os._exit) -> Iterator[None]:
    """Interrupts are taken as this module says. Outside of the main thread, or inside of another: as they are.

    One that arrived and was not raised yet is raised at the end.
    """
    global _state
    if _state is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    state = _State(say, leave, writing)
    before = {number: signal.signal(number, _noticed) for number in _taken}
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    ended = threading.Event()
    watchdog = threading.Thread(target=_watch, args=(state, reading, ended), name="interrupts", daemon=True)
    watchdog.start()
    _state = state
    try:
        yield
    finally:
        _state = None
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        ended.set()
        os.write(writing, b"\0")
        watchdog.join()
        os.close(reading)
        os.close(writing)
    if state.asked.is_set() and not state.raised:
        raise KeyboardInterrupt


def interrupt() -> bool:
    """End the work as by the user's first SIGINT; nothing if it ends already. False: interrupts are not handled."""
    state = _state
    if state is None:
        return False
    if not state.asked.is_set():
        os.write(state.writing, bytes([signal.SIGINT]))  # no signal: it may be ignored
        state.asked.wait(1.0)  # for the thread that reads it
    return True


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """The user is asked a question, and no work is under way: an interrupt is raised at once."""
    state = _state
    if state is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        for number in _taken:
            signal.signal(number, signal.default_int_handler)
        signal.set_wakeup_fd(-1)
        check()
        yield
    finally:
        signal.set_wakeup_fd(state.writing, warn_on_full_buffer=False)
        for number in _taken:
            signal.signal(number, _noticed)
    check()


def _noticed(number: int, frame: object) -> None:
    """The pipe has it."""


def _watch(state: _State, reading: int, ended: threading.Event) -> None:
    while True:
        left = state.deadline - time.monotonic()
        ready = select.select([reading], [], [], max(0.0, min(left, 60.0)))[0]
        for number in os.read(reading, 512) if ready else b"":
            if number in SIGNALS:
                state.arrived(number)
        if ended.is_set():
            return
        if state.acknowledged():
            state.deadline = float("inf")
        elif time.monotonic() >= state.deadline:
            state.go()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """An undo is under way: no interrupt is raised in it."""
    hold()
    try:
        yield
    finally:
        release()


def hold() -> None:
    if _state is not None:
        _state.held += 1


def release() -> None:
    if _state is not None:
        _state.held = max(0, _state.held - 1)


def check() -> None:
    """Raises KeyboardInterrupt if one arrived. Once, in the main thread, and not while interrupts are held."""
    state = _state
    if state is None or not state.asked.is_set() or state.acknowledged():
        return
    if threading.current_thread() is threading.main_thread():
        state.raised = True
        raise KeyboardInterrupt


def _slices(seconds: float, wait_once: Callable[[float], bool]) -> bool:
    """The one place where the main thread waits, and is interrupted. Whether what it waits for came in time."""
    deadline = time.monotonic() + seconds
    while True:
        check()
        left = deadline - time.monotonic()
        if wait_once(max(0.0, min(SLICE_SECONDS, left))):
            return True
        if left <= SLICE_SECONDS:
            return False


def pause(seconds: float) -> None:
    """As ``time.sleep``."""

    def sleep(slice_seconds: float) -> bool:
        time.sleep(slice_seconds)
        return False

    _slices(seconds, sleep)


def take(items: queue.Queue[Item], timeout_seconds: float | None) -> Item:
    """As ``items.get(timeout=…)``. Raises queue.Empty."""
    taken: list[Item] = []

    def get(slice_seconds: float) -> bool:
        try:
            taken.append(items.get(timeout=slice_seconds))
        except queue.Empty:
            return False
        return True

    if not _slices(float("inf") if timeout_seconds is None else timeout_seconds, get):
        raise queue.Empty
    return taken[0]


def wait_for(ready: Callable[[float], bool], seconds: float) -> bool:
    """Whether ``ready``, which waits for so many seconds at most, came true in time."""
    return _slices(seconds, ready)


def results(asked: Iterable[Future[Item]]) -> list[Item]:
    """The results of all of them."""
    futures = list(asked)
    while not _slices(float("inf"), lambda seconds: not wait(futures, seconds).not_done):
        pass
    return [future.result() for future in futures]
