"""A generator that is a command of the user's: started here, led by lines of JSON (``protocol.generator``)."""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from jvbtune import __version__
from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import HostError, JvbtuneError, LoadError
from jvbtune.hosts.base import Host
from jvbtune.hosts.forward import Forward
from jvbtune.hosts.local import LocalStream
from jvbtune.inventory import HostEntry
from jvbtune.load import minder
from jvbtune.load.base import Edge, IntendedLoad, Offered
from jvbtune.load.colibri import PATH as COLIBRI_PATH
from jvbtune.load.conferences import expire_leftover
from jvbtune.load.generator import DEFAULT_MAX_PPS, MAX_CPU_RATIO, MAX_LATENESS_MS, MIN_OFFERED_RATIO
from jvbtune.load.process import DEFAULT_LEASE_SECONDS
from jvbtune.load.target import media_target
from jvbtune.load.workers import Line
from jvbtune.protocol import generator as messages
from jvbtune.protocol.codec import ProtocolError, shown
from jvbtune.protocol.messages import Nothing

HELLO_SECONDS = 60.0
#: To bring all conferences up, beside the settling; to say what was held, beside the holding.
SET_UP_SECONDS, REPORT_SECONDS = 300.0, 30.0
STOP_SECONDS, BYE_SECONDS = 60.0, 5.0
#: At the end a command that hangs is not waited for as long.
LAST_STOP_SECONDS = 15.0
#: Between SIGTERM and SIGKILL, if the command does not end by itself.
GRACE_SECONDS = 0.5
#: How far the time that the command held its load may be from what was asked.
MAX_SECONDS_OFF = 0.05


class _Command(Line):
    """The process with its lines. Raises LoadError."""

    def __init__(self, argv: Sequence[str]) -> None:
        super().__init__(f"the command {argv[0]}", lambda error: None)  # there is no other whose load has to end too
        self._fault = ""
        minded = [sys.executable, "-I", "-B", str(Path(minder.__file__)), str(GRACE_SECONDS), *argv]
        try:
            self._stream = LocalStream("this machine", minded)
        except HostError as error:
            raise LoadError(error.message) from error
        self._reader = threading.Thread(target=self._read, name="command-stdout", daemon=True)
        self._reader.start()

    def _write(self, data: bytes) -> None:
        try:
            with self._write_lock:
                self._stream.write(data)
        except HostError as error:
            raise self._ended() from error

    def _read(self) -> None:
        line: bytes | None = b""
        try:
            while (line := self._stream.read_line()) is not None:
                self._caller.take(line)
        except ProtocolError as error:
            text = f"; {shown(line)}" if line else ""
            self._fault = f"{self._who} printed a line that is not of the protocol: {error}{text}"
            self._kill()
        self._end("the command ended")

    def _why(self) -> str:
        if self._fault:
            return self._fault
        text = f"{self._who} ended"
        with contextlib.suppress(TimeoutError, HostError):
            text += f" with status {self._stream.wait(2.0)}"
        said = self._stream.stderr_tail().decode("utf-8", "replace").strip()[-800:]
        return f"{text}: {said}" if said else text

    def _kill(self) -> None:
        """The end of its input ends it (``load.minder``)."""
        self._stream.close_stdin()

    def close(self) -> None:
        self._closing = True
        self._stream.close()
        self._reader.join(5)


class CommandGenerator:
    """See ``load.base.Generator``. What jvbtune asks of the command is in ``docs/load.md``."""

    worker_pid: int | None = None

    def __init__(self, entry: HostEntry, host: Host, *, max_pps: float = DEFAULT_MAX_PPS, leased: bool = False) -> None:
        """``leased``: somebody else calls ``keep_alive``, as long as the host is theirs; else it needs no lease."""
        self._entry, self._max_pps = entry, max_pps
        self._host = host
        self.prefix = f"jvbtune-{secrets.token_hex(4)}"
        self.endpoints = 0
        self._closed = threading.Event()
        address, port = media_target(entry)
        self._forward = Forward(host, entry.bridge.http_address, entry.bridge.http_port)
        try:
            self._command = _Command(entry.generator.command)
            try:
                hello = messages.Hello(
                    version=messages.VERSION,
                    jvbtune=__version__,
                    host=entry.name,
                    media_address=address,
                    media_port=port,
                    allowed_media_addresses=list(entry.bridge.allowed_media_addresses),
                    colibri_url=f"http://127.0.0.1:{self._forward.port}{COLIBRI_PATH}",
                    meeting_id_prefix=self.prefix,
                    max_pps=max_pps,
                )
                self._ready = self._command.call(messages.HELLO, hello, HELLO_SECONDS)
            except BaseException:
                self._command.close()
                raise
        except BaseException:
            self._forward.close()
            raise
        self._lease_ends = time.monotonic() + DEFAULT_LEASE_SECONDS
        if leased:
            threading.Thread(target=self._watch_lease, name="command-lease", daemon=True).start()

    def _watch_lease(self) -> None:
        while not self._closed.wait(0.2):
            if time.monotonic() > self._lease_ends:
                self.abort(LoadError("the host's lease ended, so the load was stopped"))
                return

    def keep_alive(self, seconds: float) -> None:
        self._lease_ends = time.monotonic() + seconds

    def abort(self, error: JvbtuneError) -> None:
        self._command.abort(error)

    def offer(
        self, load: IntendedLoad, duration_seconds: float, *, settle_seconds: float = 2.0, edge: Edge | None = None
    ) -> Offered:
        """The edges of the window are as exact as the command stops: it is asked before and after, and goes on."""
        load.refuse_above(self._max_pps)
        begun = time.monotonic()
        asked = messages.Offer(
            load.conferences, load.packet_rate_pps, asdict(load.mix), settle_seconds, duration_seconds
        )
        settled = self._command.call(messages.OFFER, asked, settle_seconds + SET_UP_SECONDS)
        self.endpoints = settled.endpoints
        set_up_seconds = time.monotonic() - begun
        edges = [edge()] if edge is not None else []
        started_unix = time.time()
        held = self._command.call(messages.HOLD, messages.HoldFor(duration_seconds), duration_seconds + REPORT_SECONDS)
        edges += [edge()] if edge is not None else []
        self._refuse_impossible(held, duration_seconds)
        self.endpoints = held.endpoints
        because = _limited_because(held, load)
        return Offered(
            intended_pps=load.packet_rate_pps,
            offered_pps=held.offered_pps,
            sent_packets=held.sent_packets,
            expected_packets=held.expected_packets,
            received_packets=held.received_packets,
            loss_ratio=max(0.0, 1 - held.received_packets / held.expected_packets) if held.expected_packets else 0.0,
            reordered_packets=held.reordered_packets,
            delay_ms=held.delay_ms,
            delayed_50ms_ratio=held.delayed_50ms_ratio,
            duration_seconds=held.seconds,
            lateness_p99_ms=held.lateness_p99_ms,
            cpu_ratio=held.cpu_ratio,
            endpoints=held.endpoints,
            generator_limited=bool(because),
            generator_limited_because=because,
            started_unix=started_unix,
            extra={
                "edges": edges,
                "set_up_seconds": set_up_seconds,
                "kinds": {},
                "meetings": {"relayed_in": held.relayed_in_packets},
                "command": asdict(self._ready),
            },
        )

    def _refuse_impossible(self, held: messages.Held, seconds: float) -> None:
        """Raises LoadError for a report that cannot be true: no figure is made of it."""
        numbers = {name: value for name, value in vars(held).items() if isinstance(value, int | float)}
        numbers |= {f"delay_ms.{name}": value for name, value in held.delay_ms.items()}
        wrong = [f"{name} is {value}" for name, value in numbers.items() if value < 0]
        if abs(held.seconds - seconds) > MAX_SECONDS_OFF * seconds:
            wrong.append(f"seconds is {held.seconds:g}, and {seconds:g} were asked for")
        if wrong:
            raise LoadError(f"the command {self._entry.generator.command[0]}: what it reports is wrong: {wrong[0]}")

    def stop(self) -> None:
        self._command.call(messages.STOP, Nothing(), STOP_SECONDS)
        self.endpoints = 0

    def close(self) -> None:
        self._closed.set()
        left = True
        try:
            self._command.call(messages.STOP, Nothing(), LAST_STOP_SECONDS)
            self._command.call(messages.BYE, Nothing(), BYE_SECONDS)
            left = False
        except JvbtuneError:
            pass  # its conferences are expired below
        finally:
            self._command.close()
            self._forward.close()
        if left:
            bridge = self._entry.bridge
            with contextlib.suppress(JvbtuneError):
                expire_leftover(BridgeClient(self._host, bridge.http_address, bridge.http_port), self.prefix)

    def __enter__(self) -> CommandGenerator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _limited_because(held: messages.Held, load: IntendedLoad) -> tuple[str, ...]:
    """By its own words, and by the bounds that hold for jvbtune's own generator."""
    because = list(held.limited_because)
    if held.cpu_ratio > MAX_CPU_RATIO:
        because.append(f"its CPU is at {held.cpu_ratio:.0%} of a core")
    if load.mix.burst_packets == 1 and held.lateness_p99_ms > MAX_LATENESS_MS:
        because.append(f"it was {held.lateness_p99_ms:.1f} ms late (p99)")
    if held.received_packets > held.expected_packets:
        because.append(f"{held.received_packets - held.expected_packets} more packets arrived than were expected")
    exact = load.mix.burst_packets == 1 and not load.mix.meeting
    if held.offered_pps < MIN_OFFERED_RATIO * load.packet_rate_pps and exact:
        because.append(f"it offered {held.offered_pps:.0f} of {load.packet_rate_pps:.0f} pps")
    return tuple(because)
