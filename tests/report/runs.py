"""Runs of every kind that a report has to tell, made without a host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from jvbtune.capacity.goals import goals
from jvbtune.capacity.result import brackets_to_json
from jvbtune.capacity.search import Bracket, State
from jvbtune.cli.simulate import command
from jvbtune.fit.limits import Limits
from jvbtune.store import Run, RunWriter, create_run, open_run

#: A name that would run, end an element or leave an attribute if it were not escaped.
EVIL = "\"><img src=x onerror=alert(1)></text></svg><script>window.ran=1</script>'{{7*7}}&amp;"


def simulated(out: Path, *options: str) -> Run:
    """A run of the simulator, such as ``--buffers`` or ``--other-shapes``."""
    done = CliRunner().invoke(command, ["--out", str(out), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return open_run(done.stdout.strip().splitlines()[0], None)


def searched(out: Path, rates: Sequence[float], *options: str) -> Run:
    """A simulated run whose journal also holds a search that found these packet rates, one a restart; NDR was set aside
    after the first."""
    run = simulated(out, *options)
    ndr, loss, cpu, thread, gc, delay = goals(Limits())
    with RunWriter(run) as writer:
        writer.journal.append("search_begun", width=0.03, minutes=10)
        for block, rate in enumerate(rates):
            aside = () if block else (Bracket(ndr, 1.15 * rate, 1.2 * rate, 1.18 * rate, State.FOUND),)
            found = [
                *aside,
                Bracket(cpu, 0.985 * rate, 1.015 * rate, rate, State.FOUND),
                Bracket(loss, 1.2 * rate, 1.3 * rate, 1.25 * rate, State.FOUND),
                Bracket(delay, 1.1 * rate, None, None, State.KEPT),
                Bracket(thread, 1.1 * rate, None, None, State.GENERATOR),
                Bracket(gc, None, None, None, State.NOT_MEASURED),
            ]
            writer.journal.append("restart_searched", block=block, brackets=brackets_to_json(found))
        writer.journal.append("search_ended", minutes=9.4, given_up=None)
        writer.journal.append("run_finished", status="done")
    return run


def without_curve(out: Path) -> Run:
    """Two packet rates only: nothing can be fitted."""
    return simulated(out, "--levels", "2", "--blocks", "2")


def hostile(out: Path) -> Run:
    """Every text that comes from outside is an attack: host, experiment, steps, reasons, provenance."""
    experiment = {"name": EVIL, "load": {EVIL: [EVIL, 1.5]}, "settings": [{"name": EVIL, "values": [EVIL]}]}
    run = create_run(out, host=EVIL, experiment=experiment, seed=1, plan={}, command=())
    with RunWriter(run) as writer:
        writer.write_provenance("before", {"kernel": EVIL, "cpu": {"model": EVIL}, "jvb_version": EVIL, "sysctl": {}})
        writer.journal.append("baseline", values={EVIL: EVIL})
        for index in range(12):
            row: dict[str, Any] = {
                "run_id": run.id, "host": EVIL, "block": index % 3, "step": EVIL if index % 2 else "baseline",
                "settings": {EVIL: EVIL} if index % 2 else {}, "trial": EVIL.replace("/", "") + str(index),
                "mix": EVIL, "order": index,
                "kind": "burst" if index > 9 else "steady", "cores": 1.0, "bridge_pps": 9000.0 + 100 * index,
                "offered_pps": 9000.0, "intended_pps": 9000.0, "cpu_cores": 0.4, "delay_p99_ms": 3.0, "loss_ratio": 0.0,
                "socket_drops": index, "valid": index != 5, "invalid_because": [EVIL] if index == 5 else [],
            }  # fmt: skip
            writer.finish_trial(row, samples=(), offered={}, bridge=())
        writer.journal.append("step_verified", step=EVIL, values={EVIL: EVIL}, sockets=[{"rcvbuf_bytes": EVIL}])
        writer.journal.append("reverted", report={EVIL: [EVIL, {EVIL: None}]})
        writer.journal.append("run_finished", status="failed", message=EVIL)
    return run
