"""Many hosts, many outputs, until it is told to stop: what ``jvbtune observe`` runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from jvbtune.errors import JvbtuneError
from jvbtune.inventory import HostEntry
from jvbtune.observe.capacity import Capacities
from jvbtune.observe.labels import labels_of
from jvbtune.observe.rows import Row
from jvbtune.observe.watch import HostWatch

#: How often the runs are looked at again.
RUNS_SECONDS = 600.0
#: A host that does not end its agent within this time is left: the agent ends with its connection.
ENDING_SECONDS = 10.0


class Output(Protocol):
    def put(self, row: Row) -> None: ...


def observe(
    entries: Sequence[HostEntry],
    outputs: Sequence[Output],
    capacities: Capacities,
    stopping: threading.Event,
    say: Callable[[str], None],
    *,
    interval_seconds: float,
    seconds: float | None = None,
) -> None:
    """Until ``stopping`` is set, or for ``seconds``."""
    faults: set[str] = set()

    def put(row: Row) -> None:
        for output in outputs:
            try:
                output.put(row)
            except Exception as error:  # one output's failure costs no other output, and no host
                text = f"{type(output).__name__}: {type(error).__name__}: {error}"
                if text not in faults and len(faults) < 100:
                    faults.add(text)
                    say(text)

    watches = [
        HostWatch(entry, labels_of(entry.name, entry.labels), put, say, interval_seconds=interval_seconds)
        for entry in entries
    ]
    deadline = None if seconds is None else time.monotonic() + seconds
    for watch in watches:
        watch.start()
    try:
        while True:
            _look(capacities, watches, say)
            left = RUNS_SECONDS if deadline is None else min(RUNS_SECONDS, deadline - time.monotonic())
            if stopping.wait(max(0.0, left)) or (deadline is not None and time.monotonic() >= deadline):
                return
    finally:
        for watch in watches:
            watch.stop()
        end = time.monotonic() + ENDING_SECONDS
        for watch in watches:
            watch.join(max(0.1, end - time.monotonic()))


def _look(capacities: Capacities, watches: Sequence[HostWatch], say: Callable[[str], None]) -> None:
    try:
        found = capacities.look({watch.entry.name: watch.entry.labels for watch in watches})
    except (JvbtuneError, OSError) as error:
        say(f"the runs cannot be read: {error}")
        return
    for watch in watches:
        watch.capacity = found.get(watch.entry.name)
