"""``jvbtune explain``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import put, run_argument, runs_dir_option


@click.command("explain")
@run_argument
@runs_dir_option
def command(run: str, runs_dir: Path | None) -> int:
    """Explain where a run's figures come from: which trials, which curves, which limit, what to configure.

    RUN is an id, the beginning of one, a path, or latest. Exit code 5 means that the run has no trustworthy
    recommendation.
    """
    from jvbtune.result import result_of
    from jvbtune.result.explain import explain
    from jvbtune.store import open_run

    result = result_of(open_run(run, runs_dir))
    put("\n".join(explain(result)))
    return 0 if result.recommendation is not None else 5
