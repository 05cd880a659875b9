"""What hosts carried in production: the mixes that a max packet rate has to hold for, and packets a participant.

Rows of a CSV file, one a moment (a minute, a scrape): ``in_pps`` and ``out_pps``, and where there are ``relay_pps``,
``endpoints`` (JVB's participants) and ``host``. JVB tells them as ``packet_rate_download`` and ``packet_rate_upload``
(``/colibri/stats``), or as ``jitsi_jvb_incoming_packet_rate`` and ``jitsi_jvb_outgoing_packet_rate`` (``/metrics``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from jvbtune.errors import FormatError
from jvbtune.fit.csvfile import read_csv

#: Of Opus, and of what jvbtune's participants send.
AUDIO_PPS = 50.0
HINT = "Columns: in_pps, out_pps, and where known relay_pps, endpoints, host; a row for each moment of production."


def read_history(path: Path) -> pl.DataFrame:
    """Rows with traffic: ``host`` (null: any), ``in_pps``, ``out_pps``, ``relay_pps``, ``endpoints``, ``bridge_pps``.

    Raises ConfigError where the file cannot be read, FormatError where it is none, or has no row with packets.
    """
    rows = read_csv(path).trials
    for name in ("in_pps", "out_pps"):
        if name not in rows.columns:
            raise FormatError(f"there is no column {name}", file=path, line=1, hint=HINT)
    absent = [name for name in ("relay_pps", "endpoints") if name not in rows.columns]
    rows = rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in absent)
    if "host" not in rows.columns:
        rows = rows.with_columns(host=pl.lit(None, pl.String))
    rows = rows.select("host", "in_pps", "out_pps", "relay_pps", "endpoints").drop_nulls(["in_pps", "out_pps"])
    rows = rows.with_columns(bridge_pps=pl.col("in_pps") + pl.col("out_pps") + pl.col("relay_pps").fill_null(0.0))
    rows = rows.filter(pl.col("bridge_pps") > 0)
    if rows.height == 0:
        raise FormatError("no row has packets in and out", file=path, hint=HINT)
    return rows


def of_host(history: pl.DataFrame | None, host: str) -> pl.DataFrame | None:
    """The rows that are the host's, or anybody's; None where there are none."""
    if history is None:
        return None
    rows = history.filter(pl.col("host").is_null() | (pl.col("host") == host))
    return rows if rows.height else None


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
