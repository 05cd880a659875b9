"""``jvbtune history``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import find_host, host_option, inventory_option, json_option, print_json, say


@click.command("history")
@host_option()
@click.option("--minutes", type=click.FloatRange(0.1), default=60.0, show_default=True, help="How long to record.")
@click.option("--every-seconds", type=click.FloatRange(5), default=10.0, show_default=True, help="A row so often.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A CSV file, appended to."
)
@inventory_option
@json_option
def command(
    host_name: str, minutes: float, every_seconds: float, output: Path, inventory: Path | None, as_json: bool
) -> int:
    """Record what a live bridge carries, for jvbtune fit --history.

    \b
        jvbtune history --host jvb-eu-1 --minutes 1440 -o prod.csv
        jvbtune fit RUN --history prod.csv

    Read only: one request of the bridge's stats each time, nothing is drained or changed. Rows are appended as they
    come, so that an interrupt loses none. In the end it says which mix that was, and which [load.mix] is nearest to it.
    """
    from jvbtune.bridge.client import BridgeClient
    from jvbtune.bridge.recorder import append_rows, record
    from jvbtune.errors import FormatError
    from jvbtune.fit.history import nearest_shape, of_host, read_history
    from jvbtune.fit.mix import production_in_words
    from jvbtune.hosts import connect

    entry = find_host(host_name, inventory)
    with connect(entry) as host:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        rows = record(entry.name, client, every_seconds=every_seconds, seconds=minutes * 60, told=say)
        count = append_rows(output, rows)
    say(f"{count} rows written")
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
    click.echo(output)
    say("the bridge carried no packets" if mix is None else f"carried: {mix}")
    if shape is not None:
        say(f"nearest [load.mix]: {shape}")
    return 0
