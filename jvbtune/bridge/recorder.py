"""What a live bridge carries: its own windowed stats, a row a moment, as ``jvbtune fit --history`` reads them.

Read only: one GET of /colibri/stats (or /metrics) a moment, over ssh; nothing of the bridge is changed.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from jvbtune.bridge.stats import BridgeStats
from jvbtune.errors import BridgeError, ConfigError

COLUMNS = (
    *("time", "host", "in_pps", "out_pps", "relay_pps", "endpoints"),
    *("conferences", "audio_senders", "video_senders", "in_bps", "out_bps"),
    *("relay_in_pps", "relay_out_pps", "relay_endpoints"),
)
#: A file begins with these, and goes on with as many of the others as it was made with.
REQUIRED = COLUMNS[:6]
MAX_HEADER_BYTES = 4096
#: A bridge that does not answer so often in a row is gone; the rows so far are there.
ATTEMPTS = 5


class NotReportedError(BridgeError):
    """The bridge answers, and not with what a history needs: waiting does not help."""


class Client(Protocol):
    def stats(self, keys: Mapping[str, str] | None = None) -> BridgeStats: ...


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
        "conferences": stats.conferences,
        "audio_senders": stats.audio_senders,
        "video_senders": stats.video_senders,
        "in_bps": stats.in_bps,
        "out_bps": stats.out_bps,
        "relay_in_pps": stats.relay_in_pps,
        "relay_out_pps": stats.relay_out_pps,
        "relay_endpoints": stats.relay_endpoints,
    }


def record(
    host: str,
    client: Client,
    *,
    every_seconds: float,
    seconds: float,
    told: Callable[[str], None],
    keys: Mapping[str, str] | None = None,
) -> Iterator[dict[str, Any]]:
    """A row each ``every_seconds`` (at least 5: so long is a bridge's own window) until ``seconds`` are over.

    A moment without an answer is left out, and told; raises BridgeError after ``ATTEMPTS`` of them in a row, or if the
    bridge does not report its packet rates. ``keys``: as ``BridgeClient.stats`` takes them.
    """
    begun, failed, moment = time.monotonic(), 0, 0
    while True:
        try:
            stats = client.stats(keys)
            missing = stats.missing_keys("in_pps", "out_pps")
            if missing and not moment:
                raise NotReportedError(
                    f"{host}: the bridge does not report its packet rate: {stats.source} has no "
                    f"{' and no '.join(missing)}",
                    hint="If its key has another name: --column in_pps=KEY. Is this a Jitsi Videobridge, and is "
                    "bridge.http_port right in jvbtune.toml? A bridge reports packet rates in /metrics, and in "
                    "/colibri/stats if videobridge.apis.rest.enabled is true.",
                )
            if missing:
                raise BridgeError(f"{host}: the bridge's {stats.source} has no {' and no '.join(missing)}")
            yield row_of(host, stats, time.time())
            failed = 0
        except NotReportedError:
            raise
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
        header = _header_of(path)
        columns = tuple(header.split(",")) if header else COLUMNS
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            for row in rows:
                if not header:
                    writer.writeheader()
                    header = "written"
                writer.writerow(row)
                file.flush()
                count += 1
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=path) from error
    return count


def _header_of(path: Path) -> str:
    """The first line of the file; empty: it has none yet. Half a last line, which a full disk left, is cut off. Raises
    ConfigError, and OSError."""
    with path.open("a+b") as file:
        file.seek(0)
        first = file.readline(MAX_HEADER_BYTES)
        header = first.decode("utf-8", "replace").strip()
        columns = tuple(header.split(","))
        begun = not first.endswith(b"\n") and ",".join(COLUMNS).startswith(header)
        if not begun and (columns[: len(REQUIRED)] != REQUIRED or columns != COLUMNS[: len(columns)]):
            raise ConfigError(
                f"is not a history: its first line is not {','.join(COLUMNS)}", file=path, hint="Name another file."
            )
        content = first + file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
        return header if whole else ""
