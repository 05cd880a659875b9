"""The report's page: figures and tables put into the template, with a policy that permits nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from jvbtune import __version__
from jvbtune.errors import StoreError
from jvbtune.report import tables, words
from jvbtune.report.curves import curve_figure, lossless
from jvbtune.report.effects import bursts_figure, effect_figures
from jvbtune.report.figure import Figure
from jvbtune.report.limits import bracket_rows, estimates_figure, limits_figure, search_figure
from jvbtune.report.residuals import residual_figure
from jvbtune.report.summary import summary, traffic_words
from jvbtune.report.timeline import timeline
from jvbtune.result.model import RunResult
from jvbtune.store import Run

#: A timeline each of more trials would make the page slow; the rest are in the run directory.
MAX_TIMELINES = 60


def render(run: Run, result: RunResult) -> str:
    """The whole page. ``run``: for its raw samples and its journal; every figure and verdict is the result's."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "count": words.count,
        "pps": words.pps,
        "percent": words.percent,
        "size": words.size,
        "prose": words.prose,
        "limit": words.limit,
        "fit_limit": words.fit_limit,
        "setting_value": words.setting_value,
        "ends": words.pps_interval,
    }
    no_loss = lossless(result)
    plotted = ("cpu", "delay", *(() if no_loss else ("loss",)), "rx_thread")
    style, script = read_file("report.css"), read_file("report.js")
    return environment.from_string(read_file("report.html.j2")).render(
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script),
        result=result,
        summary=summary(result),
        estimates=estimates_figure(result),
        limits=limits_figure(result),
        search=search_figure(result),
        curves=[f for f in (curve_figure(result, name) for name in plotted) if f],
        no_loss=no_loss,
        traffic=None if result.traffic is None else traffic_words(result.traffic),
        brackets=bracket_rows(result),
        bursts=bursts_figure(result),
        effects=list(effect_figures(result)),
        residuals=_residuals(result),
        timelines=list(_timelines(run, result)),
        timelines_left_out=max(0, len(result.trials) - MAX_TIMELINES),
        trial_columns=tables.TRIAL_COLUMNS,
        trials=tables.trial_rows(result),
        comparisons=tables.comparisons(result),
        steps=tables.steps(run),
        baseline=[(n, str(v)) for event in run.events("baseline")[-1:] for n, v in event["values"].items()],
        put_back=tables.put_back(run),
        changed_sysctls=tables.changed_sysctls(run),
        provenance=tables.provenance(run),
        experiment=tables.experiment(run),
        created=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(result.created_unix)),
        version=__version__,
    )


def policy(style: str, script: str) -> str:
    """Of a page's content: its own style and script, by their hashes, and nothing from outside."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; "
        "form-action 'none'"
    )


def read_file(name: str) -> str:
    """A file of the report's own: ``report.css``, ``report.js``."""
    return resources.files("jvbtune.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _residuals(result: RunResult) -> Figure | None:
    cpu = next((fit for fit in result.limit_fits if fit.name == "cpu"), None)
    return None if cpu is None or cpu.residuals is None else residual_figure(cpu.residuals)


def _timelines(run: Run, result: RunResult) -> Iterator[Figure]:
    for row in result.trials[:MAX_TIMELINES]:
        if row.get("started_unix") is None or row.get("duration_s") is None:
            continue
        try:
            samples = run.samples(row["trial"])
        except StoreError:
            continue
        begin = float(row["started_unix"])
        about = f"{words.pps(row['offered_pps'])} offered" + ("" if row["valid"] else ", not used")
        window = (begin, begin + float(row["duration_s"]))
        offset = float(row.get("clock_offset_seconds") or 0.0)
        valid = bool(row["valid"])
        found = timeline(samples, window, str(row["trial"]), about, valid=valid, clock_offset_seconds=offset)
        if found is not None:
            yield found
