"""Rows to InfluxDB: line protocol over HTTP(S), by the write interfaces of versions 1 and 2.

Why no client library: influxdb-client brings reactivex and keeps an unbounded queue behind it; influxdb3-python brings
pyarrow. What is needed of them is one POST. What they lack is the rule that matters for days of operation: a bounded
queue that drops the oldest points, and counts them. Format and interfaces: InfluxDB 1.8 and 2.7 reference, "line
protocol", "/write", "/api/v2/write".
"""

from __future__ import annotations

import base64
import gzip
import http.client
import math
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from jvbtune import __version__
from jvbtune.errors import ConfigError, JvbtuneError, UsageError
from jvbtune.observe.columns import INTERFACE
from jvbtune.observe.rows import Row
from jvbtune.text import clean, counted

BATCH_LINES, FLUSH_SECONDS, TIMEOUT_SECONDS = 5000, 10.0, 10.0
#: About 1.2 KiB each: an hour of 60 hosts at the default interval, interfaces included.
MAX_LINES = 50_000
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
#: At the end, so long for what is still there.
LAST_SECONDS = 5.0


class InfluxError(JvbtuneError):
    """The server refused points; waiting does not help."""


@dataclass(frozen=True)
class Target:
    """Where points go. ``database`` is version 1, ``bucket`` version 2; secrets are in no representation of it."""

    url: str
    measurement: str
    database: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    bucket: str | None = None
    organization: str | None = None
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"--influxdb {clean(self.url)}: not an http:// or https:// address")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise UsageError(
                "--influxdb: the address must have no user, password or query",
                hint="Give credentials by INFLUX_TOKEN or INFLUX_PASSWORD, or by a file.",
            )
        if (self.database is None) == (self.bucket is None):
            raise UsageError(
                "--influxdb needs --influxdb-database (version 1) or --influxdb-bucket (version 2), and not both"
            )

    @property
    def path(self) -> str:
        base = urlsplit(self.url).path.rstrip("/")
        if self.bucket is not None:
            query = {"org": self.organization or "", "bucket": self.bucket, "precision": "ms"}
            return f"{base}/api/v2/write?{urlencode(query)}"
        return f"{base}/write?{urlencode({'db': self.database or '', 'precision': 'ms'})}"

    def headers(self) -> dict[str, str]:
        found = {"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=utf-8"}
        found["User-Agent"] = f"jvbtune/{__version__}"
        if self.token is not None:
            found["Authorization"] = f"Token {self.token}"
        elif self.user is not None:
            pair = f"{self.user}:{self.password or ''}".encode()
            found["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return found


def lines_of(row: Row, measurement: str) -> list[str]:
    """Line protocol: one line of the host, one of each interface. Every number is a float, as Telegraf writes them."""
    when = str(int(row.unix * 1000))
    series = _escaped(measurement, ", ")
    tags = "".join(f",{_escaped(name, ',= ')}={_escaped(value, ',= ')}" for name, value in sorted(row.labels.items()))
    found = []
    fields = _fields(row.values)
    if fields:
        found.append(f"{series}{tags} {fields} {when}")
    for name, counters in sorted(row.interfaces.items()):
        fields = _fields(counters)
        if fields:
            found.append(f"{series}{tags},{INTERFACE}={_escaped(name, ',= ')} {fields} {when}")
    return found


def _fields(values: Mapping[str, float | str]) -> str:
    parts = []
    for name, value in values.items():
        if isinstance(value, str):
            text = clean(value).replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'{name}="{text}"')
        elif math.isfinite(value):
            parts.append(f"{name}={float(value)!r}")
    return ",".join(parts)


def _escaped(text: str, special: str) -> str:
    """A backslash escapes only what is special; one at the end would escape what follows, so it goes."""
    shown = clean(text).rstrip("\\") or "_"
    return "".join(f"\\{char}" if char in special else char for char in shown)


class InfluxWriter(threading.Thread):
    """Sends in batches. ``put`` never waits. If the server takes nothing, batches are tried again, and of more than
    ``max_lines`` the oldest go and are counted."""

    def __init__(self, target: Target, say: Callable[[str], None], *, max_lines: int = MAX_LINES) -> None:
        super().__init__(name="influxdb", daemon=True)
        self._target, self._say, self._max = target, say, max_lines
        self._lines: deque[str] = deque()
        self._lock = threading.Lock()
        self._wake, self._ending = threading.Event(), threading.Event()
        self._context = _tls(target)
        self._failing, self._last_reason = False, ""
        self.dropped_points = 0
        self.written_points = 0

    @property
    def queued_points(self) -> int:
        return len(self._lines)

    def put(self, row: Row) -> None:
        with self._lock:
            self._lines.extend(lines_of(row, self._target.measurement))
            while len(self._lines) > self._max:
                self._lines.popleft()
                self.dropped_points += 1
        if len(self._lines) >= BATCH_LINES:
            self._wake.set()

    def run(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while not self._ending.is_set():
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            while self._lines and not self._ending.is_set():
                if self._send_batch():
                    wait = FIRST_WAIT_SECONDS
                    continue
                self._ending.wait(wait)
                wait = min(LONGEST_WAIT_SECONDS, 2 * wait)

    def close(self) -> None:
        """Send what is still there, if the server takes it at once."""
        self._ending.set()
        self._wake.set()
        if self.is_alive():
            self.join(TIMEOUT_SECONDS + LAST_SECONDS)
        deadline = time.monotonic() + LAST_SECONDS
        while self._lines and time.monotonic() < deadline:
            if not self._send_batch():
                break
        if self._lines:
            self._say(f"{counted(len(self._lines), 'point')} not written to InfluxDB")

    def refuse_nothing_written(self) -> None:
        """Raises InfluxError if the server took no point at all of those that there were."""
        if self.written_points == 0 and (self.dropped_points or self._lines):
            raise InfluxError(
                f"no point was written to InfluxDB at {self._target.url}: {self._last_reason or 'it did not answer'}",
                hint="Check the address, the database or the bucket, and INFLUX_PASSWORD or INFLUX_TOKEN.",
            )

    def _send_batch(self) -> bool:
        """Whether the batch is out of the way: written, or refused for what it is. Else it stays at the front."""
        with self._lock:
            batch = [self._lines.popleft() for _ in range(min(BATCH_LINES, len(self._lines)))]
        try:
            self.send(batch)
        except InfluxError as refused:
            self._problem(refused.message, "Points that it refuses are dropped")
            with self._lock:
                self.dropped_points += len(batch)
            return True
        except (OSError, http.client.HTTPException) as error:
            self._problem(f"InfluxDB at {self._target.url} takes no points: {_reason(error)}", "Trying again")
            with self._lock:
                room = max(0, self._max - len(self._lines))
                self.dropped_points += len(batch) - min(room, len(batch))
                self._lines.extendleft(reversed(batch[len(batch) - min(room, len(batch)) :]))
            return False
        self.written_points += len(batch)
        if self._failing:
            self._say("InfluxDB takes points again")
            self._failing = False
        return True

    def _problem(self, reason: str, then: str) -> None:
        """Said once, until points are taken again."""
        if not self._failing:
            self._say(f"{reason}. {then}")
        self._failing, self._last_reason = True, reason

    def check(self) -> None:
        """Raises UsageError if the server does not know the credentials or the database. A server that does not answer
        yet may do so later."""
        try:
            self.send([])
        except InfluxError:
            pass  # it wants points, and nothing else
        except OSError as error:
            if str(error)[:3] in ("401", "403", "404"):
                raise UsageError(
                    f"InfluxDB at {self._target.url} refuses: {error}",
                    hint="Check the database or the bucket, the user, and INFLUX_PASSWORD or INFLUX_TOKEN.",
                ) from error
            self._problem(f"InfluxDB at {self._target.url} takes no points: {_reason(error)}", "Trying again")
        except http.client.HTTPException as error:
            self._problem(f"InfluxDB at {self._target.url} takes no points: {_reason(error)}", "Trying again")

    def send(self, lines: list[str]) -> None:
        """One POST. Raises InfluxError if the server refuses the points, OSError if it may take them later."""
        parts = urlsplit(self._target.url)
        assert parts.hostname is not None
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=TIMEOUT_SECONDS, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        try:
            body = gzip.compress("\n".join(lines).encode(), compresslevel=1)
            connection.request("POST", self._target.path, body=body, headers=self._target.headers())
            response = connection.getresponse()
            answer = clean(response.read(4096).decode("utf-8", "replace"))
        finally:
            connection.close()
        if response.status < 300:
            if answer.startswith("<"):
                raise OSError("a web page answers there, and not InfluxDB")
            return
        text = f"{response.status} {answer}".strip()
        if response.status in (400, 413, 422):
            raise InfluxError(f"InfluxDB at {self._target.url} refuses points: {text}")
        raise OSError(text)


def _reason(error: Exception) -> str:
    """Without the argument tuple of an OSError."""
    return clean(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _tls(target: Target) -> ssl.SSLContext | None:
    if urlsplit(target.url).scheme != "https":
        return None
    try:
        return ssl.create_default_context(cafile=None if target.ca_file is None else str(target.ca_file))
    except (OSError, ssl.SSLError) as error:
        why = "holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"{why}", file=target.ca_file, hint="--influxdb-ca names the CA's PEM file.") from error
