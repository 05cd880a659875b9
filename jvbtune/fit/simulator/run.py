"""A simulated run in the store's own format: every reader of runs reads it as it reads a measured one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jvbtune.fit.limits import Limits
from jvbtune.fit.simulator.host import SimulatedHost
from jvbtune.fit.simulator.samples import SampleNoise, simulate_samples
from jvbtune.fit.simulator.trials import Design, Disturbance, simulate
from jvbtune.protocol.samples import Sample
from jvbtune.store import Run, RunWriter, create_run
from jvbtune.trials.judge import REASONS, Invalid, Why, fields_of
from jvbtune.trials.steady import assess


def write_run(
    directory: Path,
    host: SimulatedHost,
    design: Design,
    disturbance: Disturbance,
    noise: SampleNoise,
    *,
    seed: int,
    name: str = "simulated",
    limits: Limits | None = None,
) -> Run:
    """Write a finished run into ``directory``. Its provenance says that it is simulated, and holds the truth."""
    limits = limits or Limits()
    trials = simulate(host, design, disturbance, seed=seed, name=name)
    kept = {key: value for key, value in limits.to_json().items() if key != "gc_ratio"}
    experiment = {"name": "simulated", "description": "Not measured: made by jvbtune simulate.", "limits": kept}
    run = create_run(directory, host=name, experiment=experiment, seed=seed, plan={"simulated": True})
    truth = host.truth(limits, design.mix)
    with RunWriter(run) as writer:
        writer.write_provenance("before", {"simulated": True, "truth_pps": truth, "host": asdict(host)})
        writer.journal.append("run_started")
        clock = float(run.manifest["created_unix"])
        for index, row in enumerate(trials.iter_rows(named=True)):
            row |= {"run_id": run.id, "started_unix": clock, "settings": json.loads(row["settings"])}
            row["clock_offset_seconds"] = noise.clock_offset_seconds
            samples = simulate_samples(row, noise, started_unix=clock, seed=seed * 100_003 + index)
            row |= _as_sampled(row, samples)
            offered = {key: row[key] for key in ("intended_pps", "offered_pps", "loss_ratio", "duration_s")}
            writer.finish_trial(row, samples=samples, offered=offered, bridge=[])
            clock += float(row["duration_s"]) + 2
        writer.journal.append("run_finished", status="done")
    return run


def _as_sampled(row: Mapping[str, Any], samples: Sequence[Sample]) -> dict[str, Any]:
    """What the samples say of CPU, and whether they are steady: as of a measured trial."""
    bridge = [sample.bridge for sample in samples if sample.bridge is not None]
    cpu = np.diff([one.cpu_user_s + one.cpu_sys_s for one in bridge])
    receiving = np.diff([one.rx_thread_cpu_s or 0.0 for one in bridge])
    fields: dict[str, Any] = {"cpu_cores": float(cpu.mean()), "rx_thread_ratio": float(receiving.mean())}
    steadiness = assess({"cpu_cores": cpu.tolist(), "rx_thread_ratio": receiving.tolist()})
    if row["kind"] == "steady" and not steadiness.steady:
        unsteady = fields_of([Invalid(Why.UNSTEADY, "unsteady: " + "; ".join(steadiness.reasons))])
        fields |= {"valid": False, **{name: [*row[name], *unsteady[name]] for name in REASONS}}
    return fields
