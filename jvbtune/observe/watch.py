"""Watches one host: connects, takes the agent's samples, asks the bridge, and connects again after a loss.

Read-only: the agent samples and reads the bridge's configuration; it takes no lock, starts no guard, and runs from
memory if it is not installed. Every failure of a host stays its own.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from jvbtune.apply.wanted import MEASUREMENT, THRESHOLD
from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.config import Unreadable, effective
from jvbtune.errors import BridgeError, HostError, JvbtuneError
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.base import Host
from jvbtune.inventory import HostEntry, bridge_arguments
from jvbtune.observe.bridge import TIMEOUT_SECONDS, BridgeReader
from jvbtune.observe.capacity import Capacity, ThresholdWatch
from jvbtune.observe.rows import Row, from_sample, interfaces, over_interval, reported_rates
from jvbtune.protocol.agent import BRIDGE_CONFIG, SAMPLE_START, ReadConfig, StartSampling
from jvbtune.protocol.codec import to_json
from jvbtune.protocol.samples import Sample
from jvbtune.text import clean

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
#: A sample is late by this much, beside an interval: the host or the link is gone.
PATIENCE_SECONDS = 10.0
#: How often the bridge's configuration is read again.
CONFIG_SECONDS = 300.0
#: Sums over threads: a new agent begins them with the threads that live, without those that ended before.
SUMS_OF_THREADS = ("compiler_cpu_s", "collector_cpu_s")


class ThreadSums:
    """``SUMS_OF_THREADS`` of one process over several agents: a sum that went back goes on from where it was."""

    def __init__(self) -> None:
        self._process: tuple[int, int] | None = None
        self._last: dict[str, float] = {}  # as the agent gave them
        self._ended: dict[str, float] = {}

    def of(self, process: tuple[int, int] | None, values: Mapping[str, float]) -> dict[str, float]:
        """The sums in ``values`` with what went missing before."""
        if process is not None and process != self._process:
            self._process, self._last, self._ended = process, {}, {}
        found = {}
        for name in SUMS_OF_THREADS:
            if name in values:
                lost = max(0.0, self._last.get(name, 0.0) - values[name])
                self._ended[name] = self._ended.get(name, 0.0) + lost
                self._last[name] = values[name]
                found[name] = values[name] + self._ended[name]
        return found


class HostWatch(threading.Thread):
    """One host, until ``stop``. ``put`` gets a row per interval; also one with ``up`` 0 when the host is lost."""

    def __init__(
        self,
        entry: HostEntry,
        labels: Mapping[str, str],
        put: Callable[[Row], None],
        say: Callable[[str], None],
        *,
        interval_seconds: float,
        sudo: bool = True,
    ) -> None:
        super().__init__(name=f"observe-{entry.name}", daemon=True)
        self.entry, self.labels = entry, labels
        self.capacity: Capacity | None = None  #: set from outside at any time
        self._put, self._say = put, say
        self._interval, self._sudo = interval_seconds, sudo
        self._stopping = threading.Event()
        self._threshold = ThresholdWatch()
        self._thread_sums = ThreadSums()
        self._reconnects = 0
        self._sampled = False

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        wait, last = FIRST_WAIT_SECONDS, ""
        while not self._stopping.is_set():
            self._sampled = False
            try:
                self._observe()
                return
            except JvbtuneError as error:
                why = error.message  # of ssh: it may have the address alone, which nobody knows a host by
                why = why if why.startswith(self.entry.name) else f"{self.entry.name}: {why}"
            except Exception as error:  # whatever it is, the other hosts and this one's next try are not touched
                why = f"{self.entry.name}: {type(error).__name__}: {clean(str(error))}"
            if self._stopping.is_set():
                return
            wait = FIRST_WAIT_SECONDS if self._sampled else wait
            if why != last or self._sampled:
                self._say(f"{why}. Trying again, at intervals of up to {LONGEST_WAIT_SECONDS:.0f} s")
            last = why
            self._reconnects += 1
            self._lost()
            self._rest(wait)
            wait = min(LONGEST_WAIT_SECONDS, 2 * wait)

    def _rest(self, seconds: float) -> None:
        """Between half and all of the time, so that the hosts of a link that was lost do not all come at once. The
        host's absence is reported at its interval."""
        due = time.monotonic() + seconds * random.uniform(0.5, 1.0)
        while not self._stopping.wait(max(0.0, min(self._interval, due - time.monotonic()))):
            if time.monotonic() >= due:
                return
            self._lost()

    def _lost(self) -> None:
        self._put(Row(self.entry.name, self.labels, time.time(), {"up": 0.0, "reconnects": float(self._reconnects)}))

    def _observe(self) -> None:
        """Until it is stopped. Raises JvbtuneError when the host is lost."""
        with connect(self.entry) as host, AgentClient(host, sudo=self._sudo, install=False) as agent:
            try:
                self._follow(host, agent)
            except HostError:
                host.close()  # the agent has nothing to put back: nobody waits for the end of a link that is gone
                raise

    def _follow(self, host: Host, agent: AgentClient) -> None:
        bridge = self.entry.bridge
        client = BridgeClient(host, bridge.http_address, bridge.http_port, timeout_seconds=TIMEOUT_SECONDS)
        reader = BridgeReader(client)
        agent.call(SAMPLE_START, StartSampling(bridge_arguments(self.entry), self._interval))
        before: Row | None = None
        read_config = 0.0
        while (sample := self._next(agent)) is not None:
            now = time.monotonic()
            restarted = before is None or sample_process(sample) != before.process
            if restarted:
                self._threshold = ThresholdWatch()
            if restarted or now - read_config >= CONFIG_SECONDS:
                self._read_config(agent)
                read_config = now
            before = self._row(sample, reader, before)
            self._sampled = True
            self._put(before)

    def _next(self, agent: AgentClient) -> Sample | None:
        """The next sample; None when it is to stop. Of several that wait, the newest: what is late is not observed."""
        deadline = time.monotonic() + self._interval + PATIENCE_SECONDS
        while not self._stopping.is_set():
            newest = None
            with contextlib.suppress(queue.Empty):
                event = agent.events.get(timeout=0.5)
                while True:
                    newest = event if isinstance(event, Sample) else newest
                    event = agent.events.get_nowait()
            if newest is not None:
                return newest
            if not agent.alive:
                raise HostError(f"{self.entry.name}: the agent ended, or the connection to the host is lost")
            if time.monotonic() > deadline:
                raise HostError(f"{self.entry.name}: no sample for {self._interval + PATIENCE_SECONDS:.0f} s")
        return None

    def _row(self, sample: Sample, reader: BridgeReader, before: Row | None) -> Row:
        unix = time.time()
        sampled = from_sample(sample)
        values: dict[str, float | str] = {
            "up": 1.0,
            "bridge_up": 0.0,
            "reconnects": float(self._reconnects),
            **sampled,
            **self._thread_sums.of(sample_process(sample), sampled),
        }
        with contextlib.suppress(BridgeError):
            values |= reader.read()
            values["bridge_up"] = 1.0
        row = Row(
            self.entry.name,
            self.labels,
            unix,
            values,
            interfaces(sample),
            sample.t_mono,
            reader.counted_mono,
            sample_process(sample),
        )
        if before is not None:
            values |= over_interval(before, row)
        values |= self._measured(row)
        return row

    def _measured(self, row: Row) -> dict[str, float | str]:
        """What the runs say of this host, and what that makes of the row."""
        found: dict[str, float | str] = {}
        capacity, rate = self.capacity, row.number("packet_rate")
        recommended = None
        if capacity is not None:
            found |= capacity.values()
            recommended = capacity.load_threshold_pps
            if rate is not None:
                found["capacity_used"] = rate / capacity.max_packet_rate_pps
        reported = reported_rates(row)
        self._threshold.see(row.number("stress_level"), None if reported is None else sum(reported), recommended)
        if self._threshold.configured_pps is not None:
            found["load_threshold_configured"] = self._threshold.configured_pps
        in_force = self._threshold.in_force(recommended) if row.process is not None else None
        if in_force is not None:
            found["load_threshold_in_force"] = float(in_force)
        return found

    def _read_config(self, agent: AgentClient) -> None:
        """What load threshold the bridge's configuration has. A configuration that cannot be read is not known."""

        def ask(files: list[str], names: list[str]) -> dict[str, Any]:
            arguments = ReadConfig(bridge_arguments(self.entry), files, names)
            answer: dict[str, Any] = to_json(agent.call(BRIDGE_CONFIG, arguments))
            return answer

        self._threshold.measurement = self._threshold.configured_pps = None
        with contextlib.suppress(Unreadable, JvbtuneError, ValueError):
            found = effective(ask, self.entry.bridge.config_file, [MEASUREMENT, THRESHOLD])
            self._threshold.measurement = found[MEASUREMENT]
            text = found[THRESHOLD]
            self._threshold.configured_pps = None if text is None else float(text)


def sample_process(sample: Sample) -> tuple[int, int] | None:
    return None if sample.bridge is None else (sample.bridge.pid, sample.bridge.start_ticks)
