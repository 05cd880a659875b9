"""From a run's result to the files in which operators deploy it: one renderer a format, each result -> {name: text}."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jvbtune.errors import NoRecommendation, UsageError
from jvbtune.export import (
    ansible,
    autoscaler,
    cloud,
    docker,
    jicofo,
    jvb_conf,
    jvm,
    kubernetes,
    prometheus,
    sysctl,
    telegraf,
    terraform,
)
from jvbtune.observe.columns import MEASUREMENT
from jvbtune.result.model import RunResult, Source, Status
from jvbtune.result.stored import to_json
from jvbtune.store.atomic import write_bytes

#: ``pin``: also write the values that the run was measured with.
Renderer = Callable[[RunResult, bool], dict[str, str]]


def _json(result: RunResult, pin: bool) -> dict[str, str]:
    del pin  # they are in it anyway
    return {"jvbtune.json": json.dumps(to_json(result), indent=2) + "\n"}


RENDERERS: dict[str, Renderer] = {
    "sysctl": sysctl.render,
    "jvb-conf": jvb_conf.render,
    "docker": docker.render,
    "jicofo": jicofo.render,
    "ansible": ansible.render,
    "terraform": terraform.render,
    "cloud-init": cloud.render_cloud_init,
    "startup": cloud.render_startup,
    "jvm": jvm.render,
    "kubernetes": kubernetes.render,
    "autoscaler": autoscaler.render,
    "json": _json,
}
#: What to do before files of a format are used, if anything.
REMARKS: dict[str, Callable[[RunResult], list[str]]] = {
    "terraform": terraform.remarks,
    "autoscaler": autoscaler.remarks,
}
#: Formats for a fleet: hosts of several machine types in one set of files. ``measurement``: its name in InfluxDB.
FLEET_RENDERERS: dict[str, Callable[[Sequence[RunResult], str], dict[str, str]]] = {
    "telegraf": telegraf.render,
    "prometheus": lambda results, measurement: prometheus.render(results),
}


def export_fleet(results: Sequence[RunResult], format_name: str, measurement: str = MEASUREMENT) -> dict[str, str]:
    """The files of one format for all hosts. Raises NoRecommendation if a run does not support them."""
    for result in results:
        refuse_unfit(result)
    return FLEET_RENDERERS[format_name](results, measurement)


def export(result: RunResult, format_name: str, *, pin: bool = False) -> dict[str, str]:
    """The files of one format. Raises NoRecommendation if the run does not support them."""
    if format_name not in RENDERERS:
        raise UsageError(f"unknown format {format_name!r}", hint=f"One of: {', '.join((*RENDERERS, *FLEET_RENDERERS))}")
    if format_name != "json":
        refuse_unfit(result)
    return RENDERERS[format_name](result, pin)


def refuse_unfit(result: RunResult) -> None:
    """Raises NoRecommendation for a run that is not finished, is simulated, or has no recommendation."""
    if result.status != Status.DONE:
        raise NoRecommendation(
            f"run {result.id} is {result.status.value}: an unfinished run is not exported",
            hint=f"Go on with: {result.going_on}",
        )
    if result.source == Source.SIMULATED:
        raise NoRecommendation(
            f"run {result.id} is simulated: its figures belong to no machine, so they are not exported",
            hint="Measure a host: jvbtune sweep --host HOST",
        )
    if result.recommendation is None:
        reasons = "\n".join(str(reason) for reason in result.reasons)
        raise NoRecommendation(f"run {result.id} has no trustworthy recommendation", hint=reasons or None)


def write_files(files: Mapping[str, str], directory: Path) -> list[Path]:
    """Write the files; the paths written."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(directory / name, text.encode())
        paths.append(directory / name)
    return paths
