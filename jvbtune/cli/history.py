"""``jvbtune history``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import (
    Number,
    column_option,
    find_host,
    host_option,
    inventory_option,
    json_option,
    print_json,
    put,
    say,
)
from jvbtune.text import counted

#: What --column may name.
RECORDED = ("in_pps", "out_pps", "relay_in_pps", "relay_out_pps", "endpoints")


@click.command("history")
@host_option()
@click.option("--minutes", type=Number(0.1), default=60.0, show_default=True, help="Minutes to record.")
@click.option("--every-seconds", type=Number(5), default=10.0, show_default=True, help="Seconds between rows.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="CSV file. Rows are appended.",
)
@column_option
@inventory_option
@json_option
def command(
    host_name: str,
    minutes: float,
    every_seconds: float,
    output: Path,
    columns: tuple[str, ...],
    inventory: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Record the traffic of a live bridge, for jvbtune mix and jvbtune fit --history.

    It only reads: one request of the bridge's stats for each row. Rows are written at once, so an interrupt loses none.
    At the end, jvbtune prints the traffic mix, and the [load.mix] of an experiment that is nearest to it.

    \b
    Example:
      jvbtune history --host jvb-eu-1 --minutes 1440 -o prod.csv
      jvbtune mix --from-history prod.csv -o prod.toml
      jvbtune fit RUN --history prod.csv

    --column names another key of the bridge's statistics, for in_pps, out_pps, relay_in_pps, relay_out_pps, endpoints.
    """
    from jvbtune.bridge.client import BridgeClient
    from jvbtune.bridge.recorder import append_rows, record
    from jvbtune.errors import FormatError, UsageError
    from jvbtune.fit.history import nearest_shape, of_host, read_history
    from jvbtune.fit.mix import production_in_words
    from jvbtune.hosts import connect
    from jvbtune.trials.names import parse_column_options

    keys = parse_column_options(columns)
    stray = [name for name in keys if name not in RECORDED]
    if stray:
        raise UsageError(f"--column {stray[0]}: a history has {', '.join(RECORDED)}")
    entry = find_host(host_name, inventory)
    with connect(entry) as host:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        rows = record(entry.name, client, every_seconds=every_seconds, seconds=minutes * 60, told=say, keys=keys)
        count = append_rows(output, rows)
    say(f"{counted(count, 'row')} written")
    try:
        carried = of_host(read_history(output), entry.name)
    except FormatError:
        carried = None
    mix = shape = None
    if carried is not None:
        mix, shape = production_in_words(carried), nearest_shape(carried)
    if as_json:
        print_json(
            {
                "schema_version": 1,
                "host": entry.name,
                "path": str(output),
                "rows": count,
                "mix": mix,
                "nearest_shape": None if shape is None else shape.to_json(),
            }
        )
        return 0
    put(output)
    say("the bridge had no packets" if mix is None else f"traffic mix: {mix}")
    if shape is not None:
        say(f"nearest [load.mix]: {shape}")
    return 0
