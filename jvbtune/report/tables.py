"""The exact rows behind the plots, and everything that was a JSON document once, as tables of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jvbtune.fit.compare import Comparison
from jvbtune.report import words
from jvbtune.report.points import COLUMNS, quantity, rate
from jvbtune.result.model import RunResult
from jvbtune.store import Run

#: Longest text of a cell and most lines of a table of foreign content; the files of the run have the rest.
LONGEST, MOST_LINES = 300, 400


@dataclass(frozen=True)
class Cell:
    """``order``: what a column is sorted by, if its text is no number."""

    text: str
    order: float | None = None


@dataclass(frozen=True)
class TrialRow:
    valid: bool
    cells: tuple[Cell, ...]


TRIAL_COLUMNS = (
    "Trial", "Packet rate (pps)", "Offered (pps)", "CPU", "Receive thread", "Loss", "Delay p99 (ms)", "Socket drops",
    "Bridge queue drops", "Use",
)  # fmt: skip


def trial_rows(result: RunResult) -> list[TrialRow]:
    return [TrialRow(bool(row["valid"]), tuple(_trial(row))) for row in result.trials]


def _trial(row: Mapping[str, Any]) -> Iterator[Cell]:
    yield Cell(str(row["trial"]))
    for value in (rate(row), row.get("offered_pps")):
        yield Cell(words.count(value), value)
    for name in ("cpu", "rx_thread", "loss"):
        value = quantity(row, COLUMNS[name])
        yield Cell(words.percent(value, 1 if name != "loss" else None), value)
    delay = row.get("delay_p99_ms")
    yield Cell("–" if delay is None else words.count(delay, 2 if delay < 10 else 0), delay)
    for name in ("socket_drops", "queue_drops"):
        yield Cell(words.count(row.get(name)), row.get(name))
    because = "; ".join(str(reason) for reason in row.get("invalid_because") or ())
    kind = str(row.get("kind") or "steady")
    if not row["valid"]:
        yield Cell(f"not used: {because or 'no reason given'}")
    else:
        yield Cell({"probe": "probe, not used"}.get(kind, kind))


def flat(document: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested document as lines of name and value: ``load.packet_rates_pps`` and ``9 000, 15 000``."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(document, list | tuple):
        if all(not isinstance(one, Mapping | list | tuple) for one in document):
            yield prefix, ", ".join(_plain(one) for one in document)
        else:
            for place, one in enumerate(document, start=1):
                yield from flat(one, f"{prefix} {place}")
    elif document is not None:
        yield prefix, _plain(document)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def bounded(lines: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Lines with something to say, clipped in width and number."""
    found = [(words.clipped(name, LONGEST), words.clipped(value, LONGEST)) for name, value in lines if value != ""]
    if len(found) > MOST_LINES:
        left = len(found) - MOST_LINES
        return [*found[:MOST_LINES], ("…", f"{left} more lines are in the run directory")]
    return found


def provenance(run: Run) -> list[tuple[str, str]]:
    """The host and the bridge, without the thousand sysctls, which the run directory has."""
    document = run.provenance("before")
    sysctl = document.get("sysctl") or {}
    core = {name: value for name, value in sysctl.items() if name.startswith(("net.core.", "net.ipv4.udp"))}
    rest = {name: value for name, value in document.items() if name != "sysctl"}
    return bounded([*flat(rest), *((str(name), str(value)) for name, value in core.items())])


def experiment(run: Run) -> list[tuple[str, str]]:
    return bounded(flat(run.manifest["experiment"]))


@dataclass(frozen=True)
class Step:
    """What was in force in one step, read back from the host. ``changed``: against the first step's values."""

    name: str
    changed: tuple[tuple[str, str], ...]
    sockets: str


def steps(run: Run) -> list[Step]:
    events = run.events("step_verified")
    first = dict(events[0]["values"]) if events else {}
    found = []
    for event in events:
        values = dict(event["values"])
        changed = tuple((name, str(value)) for name, value in values.items() if first.get(name) != value)
        buffers = dict.fromkeys(_buffer(socket) for socket in event.get("sockets") or ())
        found.append(Step(str(event["step"]), changed, ", ".join(buffers)))
    return found


def _buffer(socket: Mapping[str, Any]) -> str:
    value = socket.get("rcvbuf_bytes")
    return words.size(value) if isinstance(value, int | float) else "–"


def put_back(run: Run) -> list[tuple[str, str]]:
    return bounded(line for event in run.events("reverted") for line in flat(event.get("report") or {}))


def changed_sysctls(run: Run) -> list[tuple[str, str, str]]:
    """(name, before, after) of every sysctl under net.* that differs after the run; counters of the kernel excepted."""
    before, after = run.provenance("before").get("sysctl") or {}, run.provenance("after").get("sysctl") or {}
    names = sorted(set(before) & set(after))
    return [(n, before[n], after[n]) for n in names if before[n] != after[n] and not n.endswith("_count")]


def comparisons(result: RunResult) -> Sequence[tuple[str, ...]]:
    """Every value by every metric, with its exact figures."""
    return [
        (
            setting.name,
            words.setting_value(one.value),
            words.metric(one.metric),
            words.change(one.effect),
            f"{words.change(one.interval[0])} to {words.change(one.interval[1])}",
            f"{one.adjusted_p_value:.2g}",
            "–"
            if one.dropped_packets is None
            else f"{words.count(one.dropped_packets[0])} and {words.count(one.dropped_packets[1])}",
            str(one.blocks),
        )
        for setting in result.settings
        for one in setting.comparisons
    ]


def _dropped(one: Comparison) -> str:
    if one.dropped_packets is None:
        return "–"
    with_it, as_found = (words.count(packets) for packets in one.dropped_packets)
    return f"{with_it} and {as_found}"
