"""The report's page."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib import resources
from typing import Any

import polars as pl
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from jvbtune import __version__
from jvbtune.errors import StoreError
from jvbtune.fit import Recommendation
from jvbtune.fit.diagnostics import diagnose
from jvbtune.report import plots
from jvbtune.report.residuals import residual_plot
from jvbtune.report.result import fit_run, limits_of, result_of
from jvbtune.store import Run

#: A timeline each of more trials would make the page slow; the rest are in the run directory.
MAX_TIMELINES = 60


def render(run: Run) -> str:
    """The whole page."""
    trials = run.trials()
    result = result_of(run)
    limits = limits_of(run)
    fitted = fit_run(run) if trials.height else []
    recommendation = fitted[0] if fitted else None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    environment.filters["percent"] = lambda value: "–" if value is None else f"{value:+.1%}"
    template = environment.from_string(resources.files("jvbtune.report").joinpath("report.html.j2").read_text())
    return template.render(
        result=result,
        limits=limits.to_json(),
        figures=[Markup(svg) for svg in _figures(trials, recommendation, limits.loss_ratio, limits.delay_p99_ms)],
        diagnostics=[line for bound in recommendation.bounds for line in diagnose(bound)] if recommendation else [],
        effects=_markup(plots.intervals(list(_comparisons(result)))),
        timelines=[Markup(svg) for svg in _timelines(run, trials)],
        timelines_left_out=max(0, trials.height - MAX_TIMELINES),
        steps=run.events("step_verified"),
        baseline=run.events("baseline"),
        reverted=run.events("reverted"),
        changed_sysctls=changed_sysctls(run),
        provenance=json.dumps(_short(run.provenance("before")), indent=1, default=str),
        experiment=json.dumps(run.manifest["experiment"], indent=1, default=str),
        created=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(float(run.manifest["created_unix"]))),
        version=__version__,
    )


def _figures(trials: pl.DataFrame, fitted: Recommendation | None, loss: float, delay: float) -> Iterator[str]:
    if trials.height == 0:
        return
    cpu = fitted.bound("cpu") if fitted else None
    candidates = [
        plots.cpu_against_packet_rate(trials, fitted),
        residual_plot(cpu.curve) if cpu is not None else None,
        plots.drops_of_bursts(trials),
        plots.against_packet_rate(trials, "loss_ratio", "loss ratio, end to end", loss, kind="steady"),
        plots.against_packet_rate(trials, "delay_p99_ms", "delay p99 (ms)", delay, kind="steady"),
    ]
    yield from (svg for svg in candidates if svg is not None)


def _comparisons(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for setting in result["settings"]:
        for comparison in setting["comparisons"]:
            yield {**comparison, "label": f"{setting['name']} = {comparison['value']} · {comparison['metric']}"}


def _timelines(run: Run, trials: pl.DataFrame) -> Iterator[str]:
    timed = trials.filter(pl.col("started_unix").is_not_null() & pl.col("duration_s").is_not_null())
    for row in timed.head(MAX_TIMELINES).iter_rows(named=True):
        try:
            samples = run.samples(row["trial"])
        except StoreError:
            continue
        start = float(row["started_unix"])
        title = f"{row['trial']}: {_number(row['offered_pps'])} pps" + ("" if row["valid"] else ", not used")
        svg = plots.timeline(samples, (start, start + float(row["duration_s"])), title)
        if svg is not None:
            yield svg


def changed_sysctls(run: Run) -> list[tuple[str, str, str]]:
    """(name, before, after) of every sysctl under net.* that differs after the run; counters of the kernel excepted."""
    before, after = run.provenance("before").get("sysctl") or {}, run.provenance("after").get("sysctl") or {}
    names = sorted(set(before) & set(after))
    return [(n, before[n], after[n]) for n in names if before[n] != after[n] and not n.endswith("_count")]


def _short(provenance: dict[str, Any]) -> dict[str, Any]:
    """Without the thousand sysctls, which the run directory has."""
    sysctl = provenance.get("sysctl") or {}
    core = {name: value for name, value in sysctl.items() if name.startswith(("net.core.", "net.ipv4.udp"))}
    return {**provenance, "sysctl": core}


def _markup(svg: str | None) -> Markup | None:
    return None if svg is None else Markup(svg)


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:,.0f}".replace(",", "\u202f")
