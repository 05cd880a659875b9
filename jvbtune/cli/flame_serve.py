"""``jvbtune flame serve``."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path

import click

from jvbtune.cli.common import put, say
from jvbtune.cli.flame_common import has_display, reader_of, reading_options


@click.command("serve")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1. Default: a free one.")
@click.option("--no-open", is_flag=True, help="Do not open the page in a browser.")
@reading_options
def command(
    port: int,
    no_open: bool,
    threads: str,
    no_rules: tuple[str, ...],
    runs_dir: Path | None,
    captures_dir: Path | None,
) -> None:
    """List stored captures and runs in the browser, view one, compare any two.

    The server listens on 127.0.0.1 only. It prints its address; Ctrl-C stops it.
    """
    from jvbtune.capture.serve import Server, Store

    with Server(Store(reader_of(threads, no_rules, runs_dir, captures_dir)), port) as server:
        put(server.url)
        sys.stdout.flush()
        if not no_open and sys.stdout.isatty() and has_display():
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("stopped")
