"""The controller's end of a tuning: a context manager over the agent's, with a heartbeat for its lease."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from jvbtune.agent.settings import ICE4J_BUFFER
from jvbtune.bridge.config import asked_buffer
from jvbtune.errors import AgentError, JvbtuneError, TuningError
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.interrupts import held
from jvbtune.protocol import agent as protocol
from jvbtune.protocol import tuning as messages
from jvbtune.protocol.agent import BridgeQuery, UdpSocket
from jvbtune.protocol.codec import to_json
from jvbtune.protocol.messages import Nothing
from jvbtune.settings.buffer import AskedBuffer

RESTART_TIMEOUT_SECONDS = 300.0
END_TIMEOUT_SECONDS = 480.0
#: An agent whose controller was not heard in time has nothing left to do: its guard puts the host back.
LOST_END_TIMEOUT_SECONDS = 20.0
#: Waiting for the statistics of a bridge without ``/debug`` comes on top of begin's own work.
BEGIN_TIMEOUT_SECONDS = 90.0


@dataclass(frozen=True)
class Applied:
    """What is in force after an ``apply``, read back on the host; ``sockets`` are sock_diag's, on the media port.

    ``expected_rcvbuf_bytes``: what they must show after a restart, by what the bridge asks for; None: not known.
    """

    values: dict[str, str]
    sockets: tuple[UdpSocket, ...]
    restarted: bool
    seconds: float = 0.0
    pid: int | None = None
    asked: AskedBuffer | None = None
    expected_rcvbuf_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "values": self.values,
            "sockets": to_json(self.sockets),
            "restarted": self.restarted,
            "restart_seconds": self.seconds,
            "pid": self.pid,
            "asked_buffer": None if self.asked is None else self.asked.to_json(),
            "expected_rcvbuf_bytes": self.expected_rcvbuf_bytes,
        }


class Tuning:
    """Takes the host, journals its baseline, drains the bridge; puts everything back on the way out.

    ``bridge`` None: a live bridge is neither looked at nor touched, and only settings that need no restart can change.

    ``report`` has what was put back. Where the link is lost the guard on the host puts it back by itself, within
    ``lease_seconds``.
    """

    def __init__(
        self,
        agent: AgentClient,
        *,
        owner: str,
        run_id: str,
        lease_seconds: float,
        bridge: BridgeQuery | None,
        settings: list[str],
    ) -> None:
        self._agent = agent
        self._bridge = bridge
        self._begin = messages.Begin(owner, run_id, lease_seconds, bridge, settings)
        self.lease_seconds = lease_seconds
        self.baseline: dict[str, str] = {}
        self.begun: messages.Begun | None = None
        self.asked: AskedBuffer | None = None  #: the receive buffer that the bridge asks for; None: no bridge
        self.report = messages.PutBack()
        self.lost: str | None = None  #: why the host is no longer this controller's
        self._silent = False  #: because the agent, or the link, no longer answers
        self._on_beat: Callable[[float], None] | None = None
        self._on_lost: Callable[[JvbtuneError], None] | None = None
        self._expires = 0.0
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Tuning:
        self.begun = self._agent.call(messages.BEGIN, self._begin, timeout_seconds=BEGIN_TIMEOUT_SECONDS)
        self.baseline = self.begun.baseline
        asked = time.monotonic()
        self._agent.call(messages.RENEW, Nothing())
        self._expires = asked + self.lease_seconds
        self._agent.on_alarm = self._lose
        self._heart.start()
        if self._bridge is not None:
            with contextlib.suppress(JvbtuneError):  # what ends the link is met again, where it is undone
                self.asked = self._asked(self.verify(), {})
            self.baseline = self._with_asked(self.baseline)
        return self

    def watch(self, on_beat: Callable[[float], None], on_lost: Callable[[JvbtuneError], None]) -> None:
        """``on_beat``: after each heartbeat, with the seconds that the lease lives from now. ``on_lost``: once, when
        the host is no longer this controller's, or must not be loaded. Both from other threads."""
        self._on_beat, self._on_lost = on_beat, on_lost
        on_beat(self._expires - time.monotonic())
        if self.lost is not None:
            on_lost(self._error())

    def _beat(self) -> None:
        """A lease that was not renewed in time is lost at the moment when it ends on the host, not when a call fails:
        the moment of the last request that was answered, and the lease."""
        while not self._stop.wait(max(0.0, min(self.lease_seconds / 4, self._expires - time.monotonic()))):
            asked = time.monotonic()
            left = self._expires - asked
            try:
                if left <= 0:
                    raise TuningError("no heartbeat was answered in time")
                self._agent.call(messages.RENEW, Nothing(), timeout_seconds=left)
            except JvbtuneError as error:
                self._silent = left <= 0 or isinstance(error, AgentError)
                self._lose(error.message)
                return
            self._expires = asked + self.lease_seconds
            if self._on_beat is not None:
                self._on_beat(self._expires - time.monotonic())

    def _lose(self, why: str) -> None:
        if self._stop.is_set() or self.lost is not None:
            return
        self.lost = why
        if self._on_lost is not None:
            self._on_lost(self._error())

    def check(self) -> None:
        """Raises TuningError if the host is no longer this controller's."""
        if self.lost is not None:
            raise self._error()

    def _error(self) -> TuningError:
        name = self._agent.host.name
        if self._agent.alive and not self._silent:
            hint = "The host is put back."
        else:
            hint = (
                f"The guard on the host puts it back by itself, within {self.lease_seconds:g} s. "
                f"See: jvbtune revert --host {name} --check"
            )
        return TuningError(f"{name}: the sweep cannot go on: {self.lost}", hint=hint)

    def apply(self, values: dict[str, Any], *, restart: bool) -> Applied:
        """Put ``values`` into force, everything else back to the baseline; restart the bridge where asked."""
        self._check()
        applied = self._agent.call(messages.APPLY, messages.Apply(values), timeout_seconds=60)
        found = Applied(applied.values, tuple(applied.sockets), False)
        if restart:
            again = self._agent.call(messages.RESTART_BRIDGE, Nothing(), timeout_seconds=RESTART_TIMEOUT_SECONDS)
            found = Applied(again.values, tuple(again.sockets), True, again.seconds, again.pid)
        if self.asked is None:
            return found
        if restart:
            self.asked = self._asked(found, values, self.asked)
        asked = self.asked.under(values)
        expected = asked.expected_rcvbuf_bytes(found.values) if restart else None
        return replace(found, values=self._with_asked(found.values), asked=asked, expected_rcvbuf_bytes=expected)

    def _asked(self, found: Applied, swept: dict[str, Any], before: AskedBuffer | None = None) -> AskedBuffer:
        """By the bridge's configuration. If that cannot be read, by its socket: that on arrival, until a restart shows
        a larger one (the sysctl may have been raised after the bridge had started)."""
        asked = asked_buffer(self._ask, self._bridge.config_file if self._bridge else None)
        if asked.known:
            return asked
        rcvbuf = min((each.rcvbuf_bytes for each in found.sockets), default=None)
        expected = None if before is None else before.expected_rcvbuf_bytes(found.values)
        less = expected is not None and (rcvbuf is None or rcvbuf <= expected)
        if before is not None and (less or ICE4J_BUFFER in swept):
            return before
        return asked.seen(rcvbuf, found.values)

    def _ask(self, files: list[str], names: list[str]) -> dict[str, Any]:
        config = protocol.ReadConfig(self._bridge or BridgeQuery(), files, names)
        answer: dict[str, Any] = to_json(self._agent.call(protocol.BRIDGE_CONFIG, config))
        return answer

    def _with_asked(self, values: dict[str, str]) -> dict[str, str]:
        """``values`` with what the bridge asks for; without it if that is not known."""
        asked = None if self.asked is None else self.asked.asked_bytes
        rest = {name: value for name, value in values.items() if name != ICE4J_BUFFER}
        return rest if asked is None else {**rest, ICE4J_BUFFER: str(asked)}

    def verify(self) -> Applied:
        """What is in force now."""
        found = self._agent.call(messages.VERIFY, Nothing())
        return Applied(found.values, tuple(found.sockets), False)

    def calls(self) -> messages.WhoIsThere:
        """Who is on the bridge now."""
        return self._agent.call(messages.CALLS, protocol.OfBridge(self._bridge or BridgeQuery()))

    def _check(self) -> None:
        if self.lost is not None:
            raise self._error()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._heart.join(5)
        if not self._agent.alive:
            self.lost = self.lost or "the link to the agent is gone"
            raise self._error() from error
        with held():
            self.report = self._end(error)
        problem = not_put_back(self._agent.host.name, self.report)
        if problem is not None:
            raise problem from error

    def _end(self, error: BaseException | None) -> messages.PutBack:
        """The host is put back. An agent that did not answer in time is not waited for: its lease has ended."""
        seconds = LOST_END_TIMEOUT_SECONDS if self._silent else END_TIMEOUT_SECONDS
        try:
            return self._agent.call(messages.END, Nothing(), timeout_seconds=seconds)
        except AgentError:
            if not self._silent:
                raise
            self._agent.give_up()
            raise self._error() from error


def not_put_back(name: str, report: messages.PutBack) -> TuningError | None:
    """What a put-back's report leaves to be done, as an error; None: nothing."""
    if report.failed:
        return TuningError(
            f"{name}: not everything was put back: {'; '.join(report.failed)}",
            hint=f"When the cause is gone: jvbtune revert --host {name}",
        )
    if report.pending:
        return TuningError(
            f"{name}: the settings are put back, but the bridge was not restarted: {report.pending}",
            hint=f"It stays drained until then, if it answers. When it is empty: jvbtune revert --host {name}",
        )
    if report.not_restarted:
        return TuningError(
            f"{name}: the settings are put back and the drain is undone, but {report.not_restarted}.",
            hint="Correct bridge.control in jvbtune.toml, drain the bridge, and restart it by hand.",
        )
    return None
