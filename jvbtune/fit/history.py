"""What hosts carried in production: the mixes that a max packet rate has to hold for, and packets a participant.

Rows of a CSV file, one a moment (a minute, a scrape): ``in_pps`` and ``out_pps``, and if they are known ``relay_pps``,
``endpoints`` (JVB's participants) and ``host``; for a traffic mix ``conferences``, ``audio_senders``,
``video_senders``, ``in_bps``, ``out_bps``, ``relay_in_pps``, ``relay_out_pps`` and ``relay_endpoints``. The names
of JVB and its exporters are known too (``trials.names``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from jvbtune.errors import FormatError, UsageError
from jvbtune.text import clean
from jvbtune.trials.csvfile import CsvTrials, read_csv, require_packet_rates

#: Of Opus, and of what jvbtune's participants send.
AUDIO_PPS = 50.0
HINT = "Columns: in_pps, out_pps, and if known relay_pps, endpoints, host; a row for each moment of production."


@dataclass(frozen=True)
class History:
    """``rows``: host (null: any), in_pps, out_pps, relay_pps, endpoints, bridge_pps. ``source``: the file as it was."""

    rows: pl.DataFrame
    source: CsvTrials
    path: Path  #: for messages


def read_history(path: Path, columns: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Rows with traffic: ``host`` (null: any), ``in_pps``, ``out_pps``, ``relay_pps``, ``endpoints``, ``bridge_pps``.

    ``columns``: jvbtune's name -> the file's. Raises ConfigError if the file cannot be read, FormatError if it is no
    history, or has no row with packets.
    """
    return open_history(path, columns).rows


def open_history(path: Path, columns: Mapping[str, str] | None = None) -> History:
    """As ``read_history``, with what was made of the file's columns."""
    found = read_csv(path, columns)
    require_packet_rates(found, path, "in_pps", "out_pps")
    rows = found.trials
    absent = [name for name in ("relay_pps", "endpoints") if name not in rows.columns]
    rows = rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in absent)
    if "host" not in rows.columns:
        rows = rows.with_columns(host=pl.lit(None, pl.String))
    measured = rows.select("host", "in_pps", "out_pps", "relay_pps", "endpoints").drop_nulls(["in_pps", "out_pps"])
    if measured.height == 0:
        what = "has no rows" if rows.height == 0 else f"has {rows.height} rows, none with both packet rates"
        raise FormatError(f"the file {what}: the bridge did not report them", file=path, hint=HINT)
    measured = measured.with_columns(
        bridge_pps=pl.col("in_pps") + pl.col("out_pps") + pl.col("relay_pps").fill_null(0.0)
    )
    carried = measured.filter(pl.col("bridge_pps") > 0)
    if carried.height == 0:
        text = f"no row has packets: all {measured.height} packet rates are 0"
        raise FormatError(text, file=path, hint="Record while the bridge has calls: jvbtune history --host HOST.")
    return History(carried, found, path)


#: Of the rows, those with the highest packet rates tell what a busy bridge carries.
BUSY_SHARE = 0.25


@dataclass(frozen=True)
class Carried:
    """What an average conference of the busy moments carried; None: the file does not say. Rates without relays'."""

    rows: int  #: that were busy
    participants: float
    in_pps: float
    out_pps: float
    in_bps: float | None
    out_bps: float | None
    audio_senders: float | None
    video_senders: float | None
    relay_ratio: float  #: of all packets
    relay_in_pps: float | None = None  #: from other bridges,
    relay_out_pps: float | None = None  #: and to them
    remote_participants: float | None = None  #: on other bridges


def busy_traffic(history: History) -> Carried:
    """Of the busiest quarter of the moments. Raises FormatError if the file lacks endpoints or conferences."""
    found, path = history.source.trials, history.path
    missing = [name for name in ("endpoints", "conferences") if name not in found.columns]
    if missing:
        raise FormatError(
            f"the file has no column {' and no column '.join(missing)}, so the size of a conference is not known",
            file=path,
            hint="Record it again: jvbtune history --host HOST -o FILE writes these columns.",
        )
    rows = found.with_columns(
        relay=pl.col("relay_pps").fill_null(0.0) if "relay_pps" in found.columns else pl.lit(0.0)
    ).drop_nulls(["in_pps", "out_pps", "endpoints", "conferences"])
    rows = rows.filter((pl.col("in_pps") > 0) & (pl.col("endpoints") > 0) & (pl.col("conferences") > 0))
    if rows.height == 0:
        raise FormatError("no row has packets, endpoints and conferences", file=path, hint="Record while it has calls.")
    total = pl.col("in_pps") + pl.col("out_pps") + pl.col("relay")
    busy = rows.sort(total).tail(max(1, round(BUSY_SHARE * rows.height)))
    conferences = float(busy["conferences"].sum())

    def mean(name: str) -> float | None:
        """Over the conferences of the rows that have it."""
        if name not in busy.columns:
            return None
        known = busy.drop_nulls(name)
        return float(known[name].sum()) / float(known["conferences"].sum()) if known.height else None

    packets = float(busy.select(total.sum()).item())
    return Carried(
        rows=busy.height,
        participants=float(busy["endpoints"].sum()) / conferences,
        in_pps=float(busy["in_pps"].sum()) / conferences,
        out_pps=float(busy["out_pps"].sum()) / conferences,
        in_bps=mean("in_bps"),
        out_bps=mean("out_bps"),
        audio_senders=mean("audio_senders"),
        video_senders=mean("video_senders"),
        relay_ratio=float(busy["relay"].sum()) / packets,
        relay_in_pps=mean("relay_in_pps"),
        relay_out_pps=mean("relay_out_pps"),
        remote_participants=mean("relay_endpoints"),
    )


def of_host(history: pl.DataFrame | None, host: str) -> pl.DataFrame | None:
    """The rows that are the host's, or anybody's; None where there are none."""
    if history is None:
        return None
    rows = history.filter(pl.col("host").is_null() | (pl.col("host") == host))
    return rows if rows.height else None


def for_hosts(history: History, hosts: Collection[str], *, unnamed: bool = False) -> pl.DataFrame:
    """The rows, of which one at least is of ``hosts``. ``unnamed``: the trials do not name their host, so a history of
    a single one is taken as its. Raises UsageError if it is of other hosts only."""
    rows = history.rows
    named = sorted(clean(str(host)) for host in rows["host"].drop_nulls().unique())
    if unnamed and len(named) == 1:
        return rows.with_columns(host=pl.lit(None, pl.String))
    if any(of_host(rows, host) is not None for host in hosts):
        return rows
    wanted = ", ".join(sorted(clean(host) for host in hosts))
    raise UsageError(
        f"{history.path}: no row is of {wanted}; the file has rows of {', '.join(named)[:300]}",
        hint=f"Write {wanted} in its column host, or take the column out if all rows are of that host.",
    )


@dataclass(frozen=True)
class Shape:
    """The conference of jvbtune's that is nearest to what was carried."""

    participants: int
    senders: int
    stream_pps: int

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    def __str__(self) -> str:
        return f"participants = {self.participants}, senders = {self.senders}, stream_pps = {self.stream_pps}"


def nearest_shape(history: pl.DataFrame) -> Shape | None:
    """By out a packet in, which is participants − 1, and packets in an endpoint; None without ``endpoints``."""
    packets_in, packets_out = float(history["in_pps"].sum()), float(history["out_pps"].sum())
    endpoints = float(history["endpoints"].fill_null(0.0).sum())
    if endpoints <= 0 or packets_in <= 0:
        return None
    participants = max(2, round(1 + packets_out / packets_in))
    each = packets_in / endpoints
    senders = round(each * participants / AUDIO_PPS)
    if senders <= participants:
        return Shape(participants, max(1, senders), round(AUDIO_PPS))
    return Shape(participants, participants, max(1, round(each)))
