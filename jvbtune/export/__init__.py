"""From a run's result to the files in which operators deploy it: one renderer a format, each result -> {name: text}."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jvbtune.errors import NoRecommendation, UsageError
from jvbtune.export import docker, jvb_conf, sysctl
from jvbtune.report.result import result_of
from jvbtune.store import Run
from jvbtune.store.atomic import write_bytes

Renderer = Callable[[Mapping[str, Any]], dict[str, str]]


def _json(result: Mapping[str, Any]) -> dict[str, str]:
    return {"jvbtune.json": json.dumps(result, indent=2, default=str) + "\n"}


RENDERERS: dict[str, Renderer] = {
    "sysctl": sysctl.render,
    "jvb-conf": jvb_conf.render,
    "docker": docker.render,
    "json": _json,
}


def export_run(run: Run, format_name: str) -> dict[str, str]:
    """The files of one format. Raises NoRecommendation where the run cannot carry them."""
    if format_name not in RENDERERS:
        raise UsageError(f"unknown format {format_name!r}", hint=f"One of: {', '.join(RENDERERS)}")
    result = result_of(run)
    if format_name != "json" and result["status"] != "done":
        raise NoRecommendation(f"run {run.id} is {result['status']}: an unfinished run is not exported")
    if format_name != "json" and run.provenance("before").get("simulated"):
        raise NoRecommendation(f"run {run.id} is simulated: no machine has these figures, and none is to be given them")
    return RENDERERS[format_name](result)


def write_files(files: Mapping[str, str], directory: Path) -> list[Path]:
    """Write the files; the paths written."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files.items():
        write_bytes(directory / name, text.encode())
        paths.append(directory / name)
    return paths
