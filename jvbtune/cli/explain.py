"""``jvbtune explain``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import run_argument, runs_dir_option


@click.command("explain")
@run_argument
@runs_dir_option
def command(run: str, runs_dir: Path | None) -> int:
    """Tell how a run's figures come about: which trials, which curves, which limit, what to configure.

    RUN is an id, the beginning of one, a path, or latest. Exit code 5 where there is no trustworthy recommendation.
    """
    from jvbtune.fit import compare_settings
    from jvbtune.fit.explain import explain
    from jvbtune.report.result import fit_run, limits_of
    from jvbtune.store import open_run
    from jvbtune.sweep.stopping import verdict_level

    opened = open_run(run, runs_dir)
    trials = opened.trials()
    seed = int(opened.manifest.get("seed") or 0)
    found = fit_run(opened)
    verdicts = compare_settings(trials, limits_of(opened), seed=seed, level=verdict_level(opened))
    for each in found:
        click.echo("\n".join(explain(each, [v for v in verdicts if v.host == each.host], trials)))
    return 0 if all(each.max_packet_rate_pps is not None for each in found) else 5
