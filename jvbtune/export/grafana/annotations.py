"""What happened to a host, as annotations: each session of a run is a region, an apply is a moment. Pure.

Tags: ``jvbtune``, which the dashboards show; the kind; ``host:…`` and ``run:…``. What is tagged with one run and one
session, or one apply, is one annotation: that is how a second call finds what the first one wrote.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass

from jvbtune.errors import UsageError
from jvbtune.protocol.deploy import Generation
from jvbtune.result.model import RunResult, Source
from jvbtune.store.journal import Event
from jvbtune.text import clean

TAG = "jvbtune"
#: Of a tag in Grafana's database.
LONGEST_TAG = 100
BEGINNINGS = ("run_started", "run_resumed")


@dataclass(frozen=True)
class Annotation:
    """``key``: the tags by which it is found again. Times are Unix milliseconds, as Grafana has them; ``end_ms`` None:
    a moment, or not over yet. ``text`` is HTML."""

    key: tuple[str, ...]
    tags: tuple[str, ...]
    begin_ms: int
    end_ms: int | None
    text: str


def of_run(result: RunResult, events: Sequence[Event]) -> list[Annotation]:
    """One for each session: from the start, or a ``--resume``, until it ended. ``events``: the run's journal. Raises
    UsageError for a run that loaded no host."""
    if result.source not in (Source.SWEEP, Source.CAPACITY):
        raise UsageError(
            f"run {result.id} has no time on a host to annotate: it was made from {_SOURCES[result.source]}",
            hint="Annotate a run of jvbtune sweep or jvbtune capacity.",
        )
    found = []
    sessions = _sessions(events)
    for number, (begin, end) in enumerate(sessions, 1):
        key = (TAG, _tag("run", result.id), f"session:{number}")
        tags = (*key, result.source.value, _tag("host", result.host))
        text = _text(result, number, len(sessions), over=end is not None)
        found.append(Annotation(key, tags, _ms(begin), None if end is None else _ms(end), text))
    return found


_SOURCES = {Source.CSV: "a table of measurements", Source.SIMULATED: "a simulation"}


def _sessions(events: Sequence[Event]) -> list[tuple[float, float | None]]:
    """(begin, end) of each. A session that was killed ends with its last event; the last one may still go on."""
    found: list[tuple[float, float | None]] = []
    last = 0.0
    for event in events:
        if event["event"] in BEGINNINGS:
            if found and found[-1][1] is None:
                found[-1] = (found[-1][0], last)
            found.append((float(event["unix"]), None))
        elif event["event"] == "run_finished" and found:
            found[-1] = (found[-1][0], float(event["unix"]))
        last = float(event["unix"])
    return found


def _text(result: RunResult, number: int, sessions: int, *, over: bool) -> str:
    what = "Search for the max packet rate" if result.source is Source.CAPACITY else "Sweep"
    part = f", session {number} of {sessions}" if sessions > 1 else ""
    lines = [f"{what} of {result.host} ({result.experiment}){part}: {result.status.value if over else 'running'}."]
    found = result.recommendation
    if over and number == sessions and found is not None:
        low, high = found.interval_pps
        interval = f" ({_rate(low)} to {_rate(high)})" if low is not None and high is not None else ""
        lines.append(f"Max packet rate {_rate(found.max_packet_rate_pps)} pps{interval}.")
        lines.append(f"Recommended load threshold {_rate(found.load_threshold_pps)} pps.")
    elif over and number == sessions and result.reasons:
        lines.append("No trustworthy recommendation.")
    lines.append(f"jvbtune show {result.id}")
    return "<br>".join(html.escape(clean(line)) for line in lines)


def of_apply(host: str, latest: Generation) -> Annotation:
    """The apply that is in force on a host."""
    key = (TAG, _tag("host", host), f"apply:{latest.number}", _tag("run", latest.run_id))
    names = [*latest.files, *latest.values]
    restarted = " The bridge was restarted." if latest.restart else ""
    lines = [
        f"Applied run {latest.run_id} to {host} by {latest.owner}: {latest.state}.{restarted}",
        f"Changed: {', '.join(names)}" if names else "Nothing else was changed.",
    ]
    text = "<br>".join(html.escape(clean(line, 500)) for line in lines)
    return Annotation(key, (*key, "apply"), _ms(latest.created_unix), None, text)


def _tag(name: str, value: str) -> str:
    """Never longer than a tag may be, and never equal for two values."""
    shown = f"{name}:{clean(value)}"
    if len(shown) <= LONGEST_TAG and shown == f"{name}:{value}":
        return shown
    return f"{shown[: LONGEST_TAG - 17]}-{hashlib.sha256(value.encode()).hexdigest()[:16]}"


def _rate(pps: float) -> str:
    return f"{pps:,.0f}".replace(",", " ")


def _ms(unix: float) -> int:
    return round(1000 * unix)
