"""What a live bridge carries: its own windowed stats, a row a moment, as ``jvbtune fit --history`` reads them.

Read only: one GET of /colibri/stats (or /metrics) a moment, over ssh; nothing of the bridge is changed.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from jvbtune.bridge.stats import BridgeStats
from jvbtune.errors import BridgeError, ConfigError

COLUMNS = ("time", "host", "in_pps", "out_pps", "relay_pps", "endpoints")
#: A bridge that does not answer so often in a row is gone; the rows so far are there.
ATTEMPTS = 5


class Client(Protocol):
    def stats(self) -> BridgeStats: ...


def row_of(host: str, stats: BridgeStats, unix: float) -> dict[str, Any]:
    """The columns of ``COLUMNS``; empty where the bridge does not tell."""
    relays = [rate for rate in (stats.relay_in_pps, stats.relay_out_pps) if rate is not None]
    endpoints = stats.participants if stats.endpoints is None else stats.endpoints
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix)),
        "host": host,
        "in_pps": stats.in_pps,
        "out_pps": stats.out_pps,
        "relay_pps": sum(relays) if relays else None,
        "endpoints": endpoints,
    }


def record(
    host: str, client: Client, *, every_seconds: float, seconds: float, told: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """A row each ``every_seconds`` (at least 5: so long is a bridge's own window) until ``seconds`` are over.

    A moment without an answer is left out, and told; raises BridgeError after ``ATTEMPTS`` of them in a row.
    """
    begun, failed, moment = time.monotonic(), 0, 0
    while True:
        try:
            yield row_of(host, client.stats(), time.time())
            failed = 0
        except BridgeError as error:
            failed += 1
            if failed >= ATTEMPTS:
                raise
            told(f"{error.message} (moment left out)")
        moment += 1
        due = begun + moment * every_seconds
        if due > begun + seconds:
            return
        time.sleep(max(0.0, due - time.monotonic()))


def append_rows(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    """Append to a file of ``COLUMNS``, made where it is not there; each row is on the disk before the next one is asked
    for. Returns how many. Raises ConfigError where the file is another one, or cannot be written."""
    count = 0
    try:
        with path.open("a+", newline="") as file:
            file.seek(0)
            header = file.readline().strip()
            if header and header != ",".join(COLUMNS):
                raise ConfigError(
                    f"is not a history: its first line is not {','.join(COLUMNS)}", file=path, hint="Name another file."
                )
            writer = csv.DictWriter(file, COLUMNS)
            if not header:
                writer.writeheader()
            for row in rows:
                writer.writerow(row)
                file.flush()
                count += 1
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=path) from error
    return count
