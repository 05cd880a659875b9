"""Measurements of one's own as runs: stored like any other, so that show, report and export work on them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from jvbtune.fit.limits import Limits
from jvbtune.result.model import Source
from jvbtune.store import Run, RunWriter, create_run
from jvbtune.trials.frame import prepare
from jvbtune.trials.judge import fields_of


def store_measurements(trials: pl.DataFrame, directory: Path, *, name: str, limits: Limits) -> list[Run]:
    """A finished run for each host of the rows, in the order of the hosts' names.

    ``trials``: as ``trials.csvfile`` reads them; blocks may have any names, and become numbers in the order of their
    first row. ``name``: of the experiment, such as the file's.
    """
    with_defaults = prepare(trials).frame.select("host", "step", "kind", "valid")
    rows = trials.drop([n for n in with_defaults.columns if n in trials.columns]).hstack(with_defaults)
    runs = []
    for (host,), of_host in sorted(rows.group_by("host", maintain_order=True), key=lambda item: str(item[0][0])):
        experiment = {"name": name, "limits": limits.to_json()}
        run = create_run(directory, host=str(host), experiment=experiment, seed=0, plan={}, source=Source.CSV.value)
        blocks: dict[str, int] = {}
        cores = of_host["cores"].drop_nulls().median() if "cores" in of_host.columns else None
        with RunWriter(run) as writer:
            if cores is not None:
                writer.write_provenance("before", {"bridge": {"cores": cores}})
            writer.journal.append("run_started")
            for index, row in enumerate(of_host.iter_rows(named=True)):
                if row.get("block") is not None:
                    row["block"] = blocks.setdefault(str(row["block"]), len(blocks))
                judged = fields_of([]) | {"valid": bool(row["valid"])}
                named = {"trial": row.get("trial") or f"row-{index + 1}", "order": index, "run_id": run.id}
                writer.journal.append("trial_finished", row={**row, **judged, **named})
            writer.journal.append("run_finished", status="done")
        runs.append(run)
    return runs
