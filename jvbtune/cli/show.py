"""``jvbtune show``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import json_option, print_json, put, run_argument, runs_dir_option


@click.command("show")
@run_argument
@click.option("-v", "--verbose", is_flag=True, help="Add the reasons, the evidence for each setting, and the profiles.")
@click.option("--trials", "with_trials", is_flag=True, help="List every trial.")
@click.option("--refit", is_flag=True, help="Compute the result again from the run's trials.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of --json.")
@runs_dir_option
@json_option
def command(
    run: str, verbose: bool, with_trials: bool, refit: bool, schema: bool, runs_dir: Path | None, as_json: bool
) -> int:
    """Show what a run found: what to set, how sure it is, and what to do next.

    RUN is an id, the beginning of one, a path, or latest. Exit code 5 means that the run has no trustworthy
    recommendation.

    \b
    Examples:
      jvbtune show
      jvbtune show 20260801 -v
      jvbtune show latest --json
    """
    from jvbtune.cli.result_text import details, summary
    from jvbtune.result.model import RunResult
    from jvbtune.result.stored import result_of, schema_of, to_json
    from jvbtune.store import open_run

    if schema:
        print_json(schema_of(RunResult, "jvbtune show --json"))
        return 0
    result = result_of(open_run(run, runs_dir), refit=refit)
    if as_json:
        print_json(to_json(result))
    else:
        lines = summary(result)
        if verbose or with_trials:
            lines += ["", *details(result, with_trials=with_trials)]
        put("\n".join(lines))
    return 0 if result.recommendation is not None else 5
