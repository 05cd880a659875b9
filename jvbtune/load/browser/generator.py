"""A generator of browsers: real participants on a Selenium Grid, for what no synthetic client can show."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import JvbtuneError, LoadError
from jvbtune.hosts.base import Host
from jvbtune.interrupts import results
from jvbtune.inventory import HostEntry
from jvbtune.load.base import Edge, IntendedLoad, Offered
from jvbtune.load.browser.conference import (
    LEAST_FRAMES,
    SETTLE_SECONDS,
    BrowserConference,
    Counts,
    frames_wanted,
    hold,
    refuse_for_browsers,
)
from jvbtune.load.generator import DEFAULT_MAX_PPS
from jvbtune.load.process import DEFAULT_LEASE_SECONDS

R = TypeVar("R")
#: Conferences that are set up, or looked at, at the same time.
PARALLEL = 8


class BrowserGenerator:
    """See ``load.base.Generator``. Browsers cannot be paused, so what they count is brought to the window by its
    rates; and there are no delays."""

    worker_pid: int | None = None

    def __init__(self, entry: HostEntry, host: Host, *, max_pps: float = DEFAULT_MAX_PPS, leased: bool = False) -> None:
        """``leased``: somebody else calls ``keep_alive``, as long as the host is theirs; else it needs no lease."""
        assert entry.generator.grid is not None
        self._entry, self._grid, self._max_pps = entry, entry.generator.grid, max_pps
        self._client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        self.prefix = f"jvbtune-{secrets.token_hex(4)}"
        self._numbers = itertools.count()
        self._conferences: list[BrowserConference] = []
        self._aborted: JvbtuneError | None = None
        self._leased, self._lease_ends = leased, time.monotonic() + DEFAULT_LEASE_SECONDS
        self._changing = threading.Lock()
        self._stopping = threading.Event()  #: what is being set up is given up

    @property
    def endpoints(self) -> int:
        return sum(len(one.seats) for one in self._conferences)

    def keep_alive(self, seconds: float) -> None:
        self._lease_ends = time.monotonic() + seconds

    def abort(self, error: JvbtuneError) -> None:
        """All conferences notice within a second (``BrowserConference``), whatever else is done with them."""
        self._aborted = self._aborted or error

    def offer(
        self, load: IntendedLoad, duration_seconds: float, *, settle_seconds: float = 2.0, edge: Edge | None = None
    ) -> Offered:
        load.refuse_above(self._max_pps)
        refuse_for_browsers(load.mix)
        begun = time.monotonic()
        different = any(one.mix != load.mix for one in self._conferences)
        self._end(len(self._conferences) - (0 if different else load.conferences))
        new = self._begin(load)
        set_up_seconds = time.monotonic() - begun
        hold(max(settle_seconds, SETTLE_SECONDS if new else 0.0), self._check)
        looked, before = self._counts()
        edges = [edge()] if edge is not None else []
        started_unix, started = time.time(), time.monotonic()
        hold(duration_seconds, self._check)
        seconds = time.monotonic() - started
        edges += [edge()] if edge is not None else []
        looked_again, after = self._counts()
        # What the browsers tell is of a time that is longer by the looks at them: of the window it has the same share.
        share = seconds / (looked_again - looked)
        counts = {name: (after[name] - before[name]) * share for name in after}
        return self._offered(load, counts, seconds, started_unix, {"edges": edges, "set_up_seconds": set_up_seconds})

    def _offered(
        self, load: IntendedLoad, counts: Counts, seconds: float, started_unix: float, extra: dict[str, object]
    ) -> Offered:
        sent, received = (
            round(sum(n for name, n in counts.items() if name.startswith(way) and "RTCP" not in name))
            for way in ("sent ", "received ")
        )
        lost = max(0, round(counts["lost"]))
        frames, wanted = counts["frames"] / seconds, frames_wanted(load.mix) * load.conferences
        because = []
        if frames < LEAST_FRAMES * wanted:
            because.append(f"its browsers encoded {frames:.0f} of {wanted:.0f} frames per second")
        return Offered(
            intended_pps=load.packet_rate_pps,
            offered_pps=(counts["transports"] + lost) / seconds,
            sent_packets=sent,
            expected_packets=received + lost,
            received_packets=received,
            loss_ratio=lost / (received + lost) if received + lost else 0.0,
            reordered_packets=0,
            delay_ms={},
            delayed_50ms_ratio=None,
            duration_seconds=seconds,
            lateness_p99_ms=0.0,
            cpu_ratio=0.0,
            endpoints=self.endpoints,
            generator_limited=bool(because),
            generator_limited_because=tuple(because),
            started_unix=started_unix,
            extra={**extra, "kinds": {}, "meetings": {"relayed_in": 0}, "browsers": counts},
        )

    def stop(self) -> None:
        self._end(len(self._conferences))

    def close(self) -> None:
        with contextlib.suppress(JvbtuneError):
            self.stop()

    def __enter__(self) -> BrowserGenerator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- conferences --------------------------------------------------------------------------------------------

    def _begin(self, load: IntendedLoad) -> int:
        """Set up what is missing; how many those are."""
        missing = range(load.conferences - len(self._conferences))

        def begin(_: int) -> None:
            self._allowed()
            meeting = f"{self.prefix}-{next(self._numbers)}"
            args = (self._entry, self._client, meeting, load.mix, self._grid)
            try:
                conference = BrowserConference(*args, self._allowed)
            except BaseException:
                self._stopping.set()  # the others would be set up for nothing
                raise
            with self._changing:
                self._conferences.append(conference)

        self._stopping.clear()
        self._each(begin, missing)
        return len(missing)

    def _end(self, count: int) -> None:
        """So many of them; none if that is below 0."""
        with self._changing:
            kept = max(0, len(self._conferences) - count)
            self._conferences, going = self._conferences[:kept], self._conferences[kept:]
        self._each(lambda one: one.close(), going)

    def _each(self, do: Callable[..., R], these: Sequence[object]) -> list[R]:
        """At once, as many as ``PARALLEL``. After an error, or an interrupt, nothing more begins."""
        if not these:
            return []
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                return results([pool.submit(do, one) for one in these])
            except BaseException:
                self._stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _counts(self) -> tuple[float, Counts]:
        """When they were looked at, the middle of it, and what was seen."""
        self._check()
        begun = time.monotonic()
        found = self._each(lambda one: one.counts(), list(self._conferences))
        if not found:
            raise LoadError("no browser is left")
        middle = (begun + time.monotonic()) / 2
        return middle, {name: sum(one[name] for one in found) for name in found[0]}

    def _check(self) -> None:
        self._allowed()
        for one in list(self._conferences):
            one.check()

    def _allowed(self) -> None:
        """Raises what ends the load. Any thread."""
        if self._aborted is None and self._leased and time.monotonic() > self._lease_ends:
            self._aborted = LoadError("the host's lease ended, so the load was stopped")
        if self._aborted is not None:
            raise self._aborted
        if self._stopping.is_set():
            raise LoadError("another conference could not be set up, so this one was given up")
