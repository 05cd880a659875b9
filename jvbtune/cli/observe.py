"""``jvbtune observe``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvbtune.cli.common import (
    Number,
    PacketRate,
    ReaderGone,
    find_hosts,
    first_line,
    hosts_options,
    put,
    runs_dir_option,
    say,
)

if TYPE_CHECKING:
    from jvbtune.inventory import Selection
    from jvbtune.observe.influxdb import Target
    from jvbtune.observe.rows import Row

EVERY_ADDRESS = ("0.0.0.0", "::")

file_type = click.Path(path_type=Path, dir_okay=False)


@click.command("observe")
@hosts_options
@click.option("--every-seconds", type=Number(1, 60), default=10.0, show_default=True, help="Seconds between samples.")
@click.option("--minutes", type=Number(0.01), help="Minutes to observe. Default: until it is stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per host and sample.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Directory of Parquet files to write."
)
@click.option("--prometheus", metavar="ADDRESS:PORT", help="Address of a Prometheus endpoint, such as 127.0.0.1:9794.")
@click.option("--influxdb", metavar="URL", help="InfluxDB server, such as https://influxdb.example.org:8086.")
@click.option("--influxdb-database", metavar="NAME", help="Database of InfluxDB 1.")
@click.option("--influxdb-user", metavar="NAME", help="User of InfluxDB 1. The password is $INFLUX_PASSWORD.")
@click.option("--influxdb-password-file", type=file_type, help="File with the password of InfluxDB 1.")
@click.option("--influxdb-bucket", metavar="NAME", help="Bucket of InfluxDB 2. The token is $INFLUX_TOKEN.")
@click.option("--influxdb-org", metavar="NAME", help="Organization of InfluxDB 2.")
@click.option("--influxdb-token-file", type=file_type, help="File with the token of InfluxDB 2.")
@click.option("--influxdb-ca", type=file_type, help="PEM file of the CA that signed the server's certificate.")
@click.option(
    "--measurement", default="jitsi_stats", show_default=True, metavar="NAME", help="Name of the InfluxDB measurement."
)
@click.option(
    "--capacity",
    "capacities",
    multiple=True,
    metavar="HOST=PPS",
    help="Max packet rate of a host, instead of the one measured. Repeatable.",
)
@runs_dir_option
def command(
    selection: Selection,
    every_seconds: float,
    minutes: float | None,
    as_json: bool,
    output: Path | None,
    prometheus: str | None,
    measurement: str,
    capacities: tuple[str, ...],
    runs_dir: Path | None,
    **influxdb: Any,
) -> int:
    """Observe live bridges, for as long as you like. It only reads.

    Each sample has the bridge's own figures and what no exporter has: drops at its media socket, softnet, the receive
    thread, GC pauses, steal, and how much of the measured max packet rate is in use. The max packet rate comes from
    the host's latest run, or from the runs of its machine type. Without a run it is absent.

    Samples go to the terminal, and to every output that you choose. A host that is lost is tried again, with pauses
    of up to a minute. SIGTERM and Ctrl-C end the command with exit code 0; it is 1 if
    InfluxDB took no point at all. docs/monitoring.md explains every quantity,
    and has a systemd unit.

    \b
    Examples:
      jvbtune observe --host jvb-eu-1 --host jvb-eu-2
      jvbtune observe --group all --label region=eu
      jvbtune observe --host jvb-eu-1 --prometheus 127.0.0.1:9794
      INFLUX_TOKEN=… jvbtune observe --host jvb-eu-1 \\
        --influxdb https://influxdb.example.org:8086 --influxdb-org ops --influxdb-bucket jitsi
    """
    from jvbtune.observe.capacity import Capacities
    from jvbtune.observe.influxdb import InfluxWriter
    from jvbtune.observe.parquet import ParquetDirectory
    from jvbtune.observe.prometheus import LatestRows, WriterCounts, parse_address, serving
    from jvbtune.observe.service import observe

    entries = find_hosts(selection)
    given = _given(capacities, tuple(entry.name for entry in entries))
    target = _target(influxdb, measurement)
    address = None if prometheus is None else parse_address(prometheus)
    writer = None if target is None else InfluxWriter(target, say)
    stopping = threading.Event()
    with _until_signal(stopping), contextlib.ExitStack() as stack:
        outputs: list[Any] = []
        collectors: list[Any] = []
        if writer is not None:
            writer.check()
            writer.start()
            stack.callback(writer.close)
            outputs.append(writer)
            collectors.append(WriterCounts(writer))
        if output is not None:
            directory = ParquetDirectory(output, say)
            stack.callback(directory.close)
            outputs.append(directory)
        if address is not None:
            latest = LatestRows(max_age_seconds=3 * every_seconds + 10)
            port = stack.enter_context(serving(*address, [latest, *collectors]))
            say(f"Prometheus endpoint on {address[0]}, port {port}")
            if address[0] in EVERY_ADDRESS:
                say(
                    "Warning: it listens on every address of this machine, so everybody who reaches one can read it. "
                    f"Only for this machine: --prometheus 127.0.0.1:{port}"
                )
            outputs.append(latest)
        shown = _shown(as_json, stopping, only=not outputs)
        if shown is not None:
            outputs.append(stack.enter_context(shown))
        observe(
            entries,
            outputs,
            Capacities(runs_dir, given, say),
            stopping,
            say,
            interval_seconds=every_seconds,
            seconds=None if minutes is None else 60 * minutes,
        )
    if any(isinstance(output, _Lines) and output.reader_gone for output in outputs):
        raise ReaderGone
    if writer is not None:
        writer.refuse_nothing_written()
    return 0


@contextlib.contextmanager
def _until_signal(stopping: threading.Event) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP end the work in order; one that is ignored (``nohup``) stays ignored."""

    def stop(number: int, frame: object) -> None:
        stopping.set()

    before = {
        number: signal.signal(number, stop)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _given(options: tuple[str, ...], hosts: tuple[str, ...]) -> dict[str, float]:
    from jvbtune.errors import UsageError

    found = {}
    for option in options:
        name, equals, rate = option.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--capacity {option}: not HOST=PPS", hint="Example: --capacity jvb-eu-1=46000")
        if name not in hosts:
            raise UsageError(f"--capacity {option}: {name} is not among the hosts", hint=f"Hosts: {', '.join(hosts)}")
        found[name] = PacketRate(1).convert(rate, None, None)
    return found


def _target(options: dict[str, Any], measurement: str) -> Target | None:
    from jvbtune.errors import UsageError
    from jvbtune.observe.influxdb import Target

    url = options.pop("influxdb")
    if url is None:
        stray = [name for name, value in options.items() if value is not None]
        if stray:
            raise UsageError(f"--{stray[0].replace('_', '-')} needs --influxdb URL")
        return None
    if not measurement.strip():
        raise UsageError("--measurement: the name is empty")
    if url.startswith("http://"):
        say("--influxdb: points and credentials go over the network as they are; https:// encrypts them")
    password, token = options["influxdb_password_file"], options["influxdb_token_file"]
    return Target(
        url,
        measurement,
        database=options["influxdb_database"],
        user=options["influxdb_user"],
        password=_secret(password, "INFLUX_PASSWORD"),
        bucket=options["influxdb_bucket"],
        organization=options["influxdb_org"],
        token=_secret(token, "INFLUX_TOKEN"),
        ca_file=options["influxdb_ca"],
    )


def _secret(file: Path | None, variable: str) -> str | None:
    """Of a file, else of the environment."""
    return (os.environ.get(variable) or None) if file is None else first_line(file, "secret")


class _Lines:
    """``stopping`` is set when nobody reads them any more."""

    def __init__(self, as_json: bool, stopping: threading.Event) -> None:
        self._json = as_json
        self._stopping = stopping
        self._lock = threading.Lock()
        self.reader_gone = False

    def put(self, row: Row) -> None:
        from jvbtune.observe.table import line

        with self._lock:
            try:
                put(json.dumps(_object(row), allow_nan=False) if self._json else line(row))
            except ReaderGone:
                self.reader_gone = True
                self._stopping.set()


def _object(row: Row) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "unix": round(row.unix, 3),
        "host": row.host,
        "labels": dict(row.labels),
        "values": dict(row.values),
        "interfaces": {name: dict(counters) for name, counters in row.interfaces.items()},
    }


class _Table:
    """The last row of each host, in place."""

    def __init__(self, live: Any) -> None:
        self._live = live
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()

    def put(self, row: Row) -> None:
        from jvbtune.observe.table import table

        with self._lock:
            self._rows[row.host] = row
            console = self._live.console
            self._live.update(table(self._rows.values(), console.width, console.height), refresh=True)


def _shown(as_json: bool, stopping: threading.Event, *, only: bool) -> contextlib.AbstractContextManager[Any] | None:
    """A table on a terminal. In a pipe: lines, if they were asked for or nothing else was."""
    if as_json or (only and not sys.stdout.isatty()):
        return contextlib.nullcontext(_Lines(as_json, stopping))
    return _live_table() if sys.stdout.isatty() else None


@contextlib.contextmanager
def _live_table() -> Iterator[_Table]:
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield _Table(live)
