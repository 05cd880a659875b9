"""The names that a CSV's columns may have: jvbtune's own, and those of JVB, its exporters, Telegraf and Grafana.

Sources: VideobridgeStatisticsShim.kt and metrics/*.kt of jitsi-videobridge (``/colibri/stats``, ``/metrics``), the
systemli and jitsi-contrib exporters (prefixes ``jitsi_`` and ``jitsi_colibri_``), Telegraf (``MEASUREMENT.mean_KEY``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jvbtune.errors import FormatError, UsageError
from jvbtune.text import clean, did_you_mean
from jvbtune.trials.columns import CSV

#: Halves of ``relay_pps``, which is their sum where it is not there itself.
RELAY_HALVES = ("relay_in_pps", "relay_out_pps")
#: What a history has beside the columns of a trial: who sends, and how many bits. ``…_kbps``: as /colibri/stats has it.
TRAFFIC = (
    *("conferences", "audio_senders", "video_senders", "in_bps", "out_bps", "in_kbps", "out_kbps"),
    "relay_endpoints",
)
#: jvbtune's name -> the same quantity elsewhere; of several in one file the first counts.
ALIASES: dict[str, tuple[str, ...]] = {
    "host": ("hostname", "jitsi_host", "instance"),
    "in_pps": ("packet_rate_download", "incoming_packet_rate"),
    "out_pps": ("packet_rate_upload", "outgoing_packet_rate"),
    "relay_in_pps": ("octo_receive_packet_rate", "relay_incoming_packet_rate"),
    "relay_out_pps": ("octo_send_packet_rate", "relay_outgoing_packet_rate"),
    "endpoints": ("local_endpoints", "current_endpoints", "participants"),
    "relay_endpoints": ("octo_endpoints", "endpoints_relayed"),
    "loss_ratio": ("overall_loss", "loss_fraction"),
    "audio_senders": ("endpoints_sending_audio",),
    "video_senders": ("endpoints_sending_video",),
    "in_bps": ("incoming_bitrate",),
    "out_bps": ("outgoing_bitrate",),
    "in_kbps": ("bit_rate_download",),
    "out_kbps": ("bit_rate_upload",),
}
_PREFIXES = ("jitsi_jvb_", "jitsi_colibri_", "jitsi_", "jvb_")
_AGGREGATE = re.compile(r"(?:mean|avg|sum|max|min|last|median|first)(?:_(\w+)|\s*\(\s*\"?([\w.]+)\"?\s*\))")
_BY_ALIAS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
_KNOWN = (*CSV, *RELAY_HALVES, *TRAFFIC)

WAY_OUT = "If a column has another name, say so: --column in_pps=NAME_IN_THE_FILE."
COLUMNS_HINT = (
    "Columns: host, block, step, in_pps, out_pps, relay_pps, cpu_cores, cores, loss_ratio, delay_p99_ms, duration_s; "
    f"all are optional except the packet rates. {WAY_OUT}"
)


@dataclass(frozen=True)
class Header:
    """``positions``: jvbtune's name -> place in a row; ``renamed``: (name in the file, jvbtune's)."""

    names: tuple[str, ...]
    positions: dict[str, int]
    renamed: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]


def parse_column_options(given: Sequence[str]) -> dict[str, str]:
    """``--column in_pps=packet_rate_download``. Raises UsageError for a name that jvbtune has no column for."""
    found: dict[str, str] = {}
    for text in given:
        name, separator, column = (part.strip() for part in text.partition("="))
        if not separator or not name or not column:
            raise UsageError(
                f"--column {text!r} is not NAME=COLUMN", hint="Example: --column in_pps=packet_rate_download"
            )
        if name not in _KNOWN:
            raise UsageError(
                f"--column {text}: jvbtune has no column {name!r}{did_you_mean(name, _KNOWN)}", hint=COLUMNS_HINT
            )
        if name in found:
            raise UsageError(f"--column gives {name} twice: {found[name]} and {column}")
        found[name] = column
    return found


def read_header(fields: Sequence[str], path: Path, line: int, chosen: Mapping[str, str] | None = None) -> Header:
    """Which column is what. ``chosen``: by --column. Raises FormatError with the line, and what the file does have."""
    names = [clean(field) for field in fields]
    if not any(names):
        raise FormatError(
            "the file is empty: the first line must name the columns", file=path, line=line, hint=COLUMNS_HINT
        )
    positions = _chosen(names, chosen or {}, path, line)
    candidates: dict[str, list[tuple[int, int]]] = {}
    for place, name in enumerate(names):
        if place in positions.values():
            continue
        found = canonical(name)
        if found is not None and found[0] not in positions:
            candidates.setdefault(found[0], []).append((found[1], place))
    for name, ranked in candidates.items():
        (rank, place), *others = sorted(ranked)
        if others and others[0][0] == rank:
            both = f"columns {place + 1} and {others[0][1] + 1} ({names[place]}, {names[others[0][1]]}) are both {name}"
            hint = f"Choose one: --column {name}=NAME. Several hosts need a row each, and a column host."
            raise FormatError(both, file=path, line=line, hint=hint)
        positions[name] = place
    if not positions:
        shown = ", ".join(name for name in names if name)[:80]
        raise FormatError(
            f"the first line names no column that is known: {shown}", file=path, line=line, hint=COLUMNS_HINT
        )
    taken = set(positions.values())
    return Header(
        tuple(names),
        positions,
        tuple((names[place], name) for name, place in sorted(positions.items()) if names[place] != name),
        tuple(name for place, name in enumerate(names) if name and place not in taken),
    )


def canonical(name: str) -> tuple[str, int] | None:
    """jvbtune's name for a column, and how near it is to it (0: the same); None: it is no column of a trial."""
    if name in _KNOWN:
        return name, 0
    plain = re.sub(r"\{.*\}|\[.*\]", "", name.strip().lower()).strip().strip('"')
    aggregate = _AGGREGATE.fullmatch(plain.rpartition(".")[2] if "(" not in plain else plain)
    plain = (aggregate[1] or aggregate[2]) if aggregate else plain
    plain = plain.rpartition(".")[2].replace(" ", "_").replace("-", "_")
    if plain in _KNOWN:
        return plain, 1
    for prefix in ("", *_PREFIXES):
        found = _BY_ALIAS.get(plain.removeprefix(prefix)) if plain.startswith(prefix) else None
        if found is not None:
            return found, 2 + ALIASES[found].index(plain.removeprefix(prefix))
    return None


def _chosen(names: Sequence[str], chosen: Mapping[str, str], path: Path, line: int) -> dict[str, int]:
    positions: dict[str, int] = {}
    for name, column in chosen.items():
        places = [place for place, given in enumerate(names) if given == column]
        if len(places) != 1:
            there = "has no column" if not places else "has twice the column"
            known = [given for given in names if given]
            hint = f"Its columns are {', '.join(known)[:300]}."
            raise FormatError(
                f"the file {there} {column!r}{did_you_mean(column, known)}", file=path, line=line, hint=hint
            )
        if places[0] in positions.values():
            raise FormatError(f"--column gives {column!r} two meanings", file=path, line=line)
        positions[name] = places[0]
    return positions


def likely_columns(ignored: Sequence[str]) -> list[str]:
    """Of the columns that mean nothing: those that are nearly a name that would."""
    return [
        f"{name} (did you mean {close[0]}?)"
        if (close := difflib.get_close_matches(name.lower(), _KNOWN, n=1))
        else name
        for name in ignored
    ]
