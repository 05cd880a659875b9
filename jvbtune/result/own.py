"""Measurements of one's own as runs: stored like any other, so that show, report and export work on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from jvbtune.fit.limits import Limits
from jvbtune.result.model import Source
from jvbtune.store import Run, RunWriter, create_run
from jvbtune.trials.frame import prepare
from jvbtune.trials.judge import fields_of, judge


def store_measurements(trials: pl.DataFrame, directory: Path, *, name: str, limits: Limits) -> list[Run]:
    """A finished run for each host of the rows, in the order of the hosts' names.

    ``trials``: as ``trials.csvfile`` reads them; blocks may have any names, and become numbers in the order of their
    first row, those of each run its own. Names of trials that occur twice are not kept. ``name``: of the experiment,
    such as the file's.
    """
    with_defaults = prepare(trials).frame.select("host", "step", "kind")
    rows = trials.drop([n for n in with_defaults.columns if n in trials.columns]).hstack(with_defaults)
    runs = []
    for (host,), of_host in sorted(rows.group_by("host", maintain_order=True), key=lambda item: str(item[0][0])):
        experiment = {"name": name, "limits": limits.to_json()}
        run = create_run(directory, host=str(host), experiment=experiment, seed=0, plan={}, source=Source.CSV.value)
        blocks: dict[tuple[Any, Any], int] = {}
        names = Counter(of_host["trial"].to_list()) if "trial" in of_host.columns else Counter()
        cores = of_host["cores"].drop_nulls().median() if "cores" in of_host.columns else None
        with RunWriter(run) as writer:
            if cores is not None:
                writer.write_provenance("before", {"bridge": {"cores": cores}})
            writer.journal.append("run_started")
            for index, row in enumerate(of_host.iter_rows(named=True)):
                restart = row.get("run_id"), row.get("block")
                if any(part is not None for part in restart):
                    row["block"] = blocks.setdefault(restart, len(blocks))
                given = row.get("trial")
                trial = given if given and names[given] == 1 else f"row-{index + 1}"
                named = {"trial": trial, "order": index, "run_id": run.id}
                writer.journal.append("trial_finished", row={**row, **_judged(row), **named})
            writer.journal.append("run_finished", status="done")
        runs.append(run)
    return runs


def _judged(row: Mapping[str, Any]) -> dict[str, Any]:
    """By what the file says of the trial. Two counts of packets are not compared: what made them is not known."""
    judged = fields_of(judge({name: value for name, value in row.items() if name != "offered_pps"}))
    return judged | {"valid": judged["valid"] and row.get("valid") is not False}
