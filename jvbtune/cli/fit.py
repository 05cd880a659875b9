"""``jvbtune fit``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jvbtune.cli.common import column_option, json_option, print_json, put, runs_dir_option, runs_to_write, say
from jvbtune.cli.limits import given, limit_options
from jvbtune.errors import SOME_HOSTS

if TYPE_CHECKING:
    from jvbtune.fit.history import History
    from jvbtune.result import RunResult
    from jvbtune.trials.csvfile import CsvTrials


@click.command("fit")
@click.argument("source", metavar="[RUN | FILE]", default="latest")
@click.option(
    "--from", "form", type=click.Choice(["run", "csv"]), help="What to fit. Default: csv for a file, else a run."
)
@column_option
@limit_options
@click.option(
    "--history",
    "history_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Production's traffic, as CSV: in_pps, out_pps, relay_pps, endpoints, host. It is kept with the run.",
)
@click.option(
    "--force", is_flag=True, help="Extrapolate more than 15 % beyond the highest load. Such a result is never exported."
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of --json.")
@runs_dir_option
@json_option
def command(
    source: str,
    form: str | None,
    columns: tuple[str, ...],
    cpu_ratio: float | None,
    loss_ratio: float | None,
    delay_p99_ms: float | None,
    rx_thread_ratio: float | None,
    gc_ratio: float | None,
    history_file: Path | None,
    force: bool,
    schema: bool,
    runs_dir: Path | None,
    as_json: bool,
) -> int:
    """Compute a max packet rate and its interval from a run, or from measurements of your own.

    Measurements of your own become runs, one for each host: show, report, explain and export work on them. A run that
    is fitted with other limits than its own keeps its stored result.

    \b
    Examples:
      jvbtune fit                                   the latest run, with the limits of its experiment
      jvbtune fit RUN --cpu 0.7                     a run, with another limit
      jvbtune fit FILE.csv --delay-p99 30ms         one row per trial; docs/reference/columns.md
      jvbtune fit FILE.csv --column cpu_cores=cpu   a column that has another name in the file
      jvbtune fit RUN --history prod.csv            the load threshold then holds for the most expensive
                                                    mix of packets in production

    Exit code 5 means that no host has a trustworthy recommendation, 4 that some have none.
    """
    from jvbtune.cli.result_text import summary
    from jvbtune.result.model import SCHEMA_VERSION
    from jvbtune.result.stored import Results, schema_of, to_json

    if schema:
        print_json(schema_of(Results, "jvbtune fit --json"))
        return 0
    wanted = given(
        cpu_ratio=cpu_ratio,
        loss_ratio=loss_ratio,
        delay_p99_ms=delay_p99_ms,
        rx_thread_ratio=rx_thread_ratio,
        gc_ratio=gc_ratio,
    )
    csv = (form or ("csv" if looks_like_a_file(source) else "run")) == "csv"
    for_trials, for_history = _shared_out(columns, Path(source) if csv else None, history_file)
    history = None if history_file is None else _read_history(history_file, for_history)
    if csv:
        found = _from_csv(Path(source), for_trials, runs_dir, wanted, force, history)
    else:
        found = [_from_run(source, runs_dir, wanted, force, history)]
    if as_json:
        print_json(to_json(Results(SCHEMA_VERSION, tuple(found))))
    else:
        stored = not force and (csv or not wanted)
        put("\n\n".join("\n".join(summary(result, stored=stored)) for result in found))
    return _exit_code(found)


def _exit_code(found: Sequence[RunResult]) -> int:
    failed = sum(result.recommendation is None for result in found)
    return 0 if failed == 0 else 5 if failed == len(found) else SOME_HOSTS


def looks_like_a_file(source: str) -> bool:
    """Measurements of one's own rather than a run: a run's name has no suffix of a table, and a run is a directory."""
    path = Path(source)
    return path.suffix.lower() in (".csv", ".tsv", ".txt") or path.is_file()


def _shared_out(
    columns: Sequence[str], trials: Path | None, history: Path | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Which of --column is for which file: with two, each for those that have the column."""
    from jvbtune.errors import UsageError
    from jvbtune.trials.csvfile import columns_of
    from jvbtune.trials.names import parse_column_options

    chosen = parse_column_options(columns)
    if not chosen:
        return {}, {}
    if trials is None and history is None:
        raise click.UsageError("--column is for a CSV file: give one as FILE, or by --history")
    if trials is None or history is None:
        return (chosen, {}) if history is None else ({}, chosen)
    for_trials, for_history = columns_of(trials, chosen), columns_of(history, chosen)
    for name, column in chosen.items():
        if name not in for_trials and name not in for_history:
            raise UsageError(f"--column {name}={column}: neither {trials} nor {history} has a column {column!r}")
    return for_trials, for_history


def _read_history(path: Path, columns: dict[str, str]) -> History:
    from jvbtune.fit.history import open_history

    found = open_history(path, columns)
    _say_columns(path, found.source)
    return found


def _say_columns(path: Path, found: CsvTrials) -> None:
    from jvbtune.trials.names import likely_columns

    if found.renamed:
        say(f"{path}: {found.renamed_in_words()}")
    if found.ignored:
        say(f"{path}: jvbtune does not use these columns: {', '.join(likely_columns(found.ignored))}")


def _from_csv(
    source: Path,
    columns: dict[str, str],
    runs_dir: Path | None,
    wanted: dict[str, float],
    force: bool,
    history: History | None,
) -> list[RunResult]:
    from jvbtune.fit import Limits
    from jvbtune.fit.history import for_hosts, of_host
    from jvbtune.result.derive import derive
    from jvbtune.result.history import keep_history
    from jvbtune.result.own import store_measurements
    from jvbtune.result.stored import result_of
    from jvbtune.trials.csvfile import read_csv, require_packet_rates

    measured = read_csv(source, columns)
    _say_columns(source, measured)
    if "bridge_pps" not in measured.trials.columns:
        require_packet_rates(measured, source, "in_pps", "out_pps")
    carried = None
    if history is not None:
        unnamed = "host" not in measured.trials.columns
        hosts = {"host"} if unnamed else {str(host) for host in measured.trials["host"].fill_null("host").unique()}
        carried = for_hosts(history, hosts, unnamed=unnamed)
    runs = store_measurements(measured.trials, runs_to_write(runs_dir), name=source.stem, limits=Limits(**wanted))
    found = []
    for run in runs:
        if carried is not None and of_host(carried, run.host) is not None:
            keep_history(run, carried)
        elif history is not None:
            say(f"{run.host}: {history.path} has no row of this host, so its figures hold for the mix of its trials")
        say(f"{run.host}: stored as run {run.id}")
        found.append(derive(run, force=True) if force else result_of(run))
    return found


def _from_run(
    source: str,
    runs_dir: Path | None,
    wanted: dict[str, float],
    force: bool,
    history: History | None,
) -> RunResult:
    from jvbtune.fit.history import for_hosts
    from jvbtune.result.derive import derive, limits_of
    from jvbtune.result.history import keep_history
    from jvbtune.result.stored import result_of
    from jvbtune.store import open_run

    run = open_run(source, runs_dir)
    if history is not None:
        kept = keep_history(run, for_hosts(history, {run.host}))
        say(f"{kept} written: show, explain, report and export use it")
    if wanted or force:
        return derive(run, replace(limits_of(run), **wanted), force=force)
    return result_of(run, refit=True)
