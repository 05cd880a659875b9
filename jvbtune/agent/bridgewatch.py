"""Watches the bridge while a sweep holds it drained: another process, or a drain that was undone, ends the sweep.

A crash with ``Restart=on-failure``, an upgrade of the package, somebody's ``docker restart``: the new process takes
conferences, under swept values. It is seen within a second, and drained again before anything else.
"""

from __future__ import annotations

import threading
from typing import Callable

from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.procfs import start_ticks

PROCESS_SECONDS = 0.25
DRAIN_SECONDS = 1.0


class BridgeWatch(threading.Thread):
    """Tells ``alarm`` once, with the reason in words; keeps the bridge drained until it is stopped.

    ``holds``: whether the host is still this agent's. A guard that puts it back undoes the drain, after it took it.
    """

    def __init__(
        self,
        bridge: Bridge,
        identity: tuple[int, int] | None,
        alarm: Callable[[str], None],
        holds: Callable[[], bool],
    ) -> None:
        super().__init__(name="bridge-watch", daemon=True)
        self._bridge, self._identity, self._alarm, self._holds = bridge, identity, alarm, holds
        self._ended = threading.Event()
        self._lock = threading.Lock()  #: held while a restart of ours is under way
        self._told = False

    def restarting(self) -> threading.Lock:
        """As a context: what happens to the process in it is ours."""
        return self._lock

    def is_now(self, identity: tuple[int, int]) -> None:
        """The process after a restart of ours; called inside ``restarting``."""
        self._identity = identity

    def stop(self) -> None:
        """Returns when it will touch the bridge no more."""
        self._ended.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(30)

    def run(self) -> None:
        looks = 0
        while not self._ended.wait(PROCESS_SECONDS):
            if not self._lock.acquire(blocking=False):
                continue
            try:
                looks += 1
                replaced = not self._lives()
                if replaced and self._holds():
                    self._tell("the bridge's process ended during the sweep, not by jvbtune")
                if replaced or looks % int(DRAIN_SECONDS / PROCESS_SECONDS) == 0:
                    self._keep_drained(replaced)
            finally:
                self._lock.release()

    def _lives(self) -> bool:
        return self._identity is None or start_ticks(self._identity[0]) == self._identity[1]

    def _keep_drained(self, replaced: bool) -> None:
        try:
            if self._bridge.draining() or not self._holds():
                return
            self._bridge.drain(True)
        except AgentFault:
            return  # it does not answer yet, or is busy: asked again
        if not replaced:
            self._tell("somebody undid the drain of the bridge during the sweep; it was drained again")

    def _tell(self, why: str) -> None:
        if not self._told:
            self._told = True
            self._alarm(why)
