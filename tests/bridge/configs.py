"""The cases of what a bridge was configured with, and a host that has just one of them."""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jvbtune.agent.jvbconfig import redacted

CASES = sorted(path.parent for path in (Path(__file__).parent / "cases").glob("*/case.json"))


def load(case: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((case / "case.json").read_text())
    return document


def host_of(case: Path, asked: list[str] | None = None) -> Callable[[list[str], list[str]], Mapping[str, Any]]:
    """Answers as the agent does, of a bridge whose working directory is the case's. ``asked``: names that it gave."""
    document = load(case)

    def ask(files: list[str], names: list[str]) -> Mapping[str, Any]:
        if asked is not None:
            asked.extend(names)
        return {
            "directory": str(case),
            "files": {path: _content(Path(path)) for path in files},
            "properties": {name: value for name, value in document["properties"].items() if name in names},
            "environment": {name: value for name, value in document["environment"].items() if name in names},
            "argument_files": False,
        }

    return ask


def _content(path: Path) -> str | None:
    return base64.b64encode(redacted(path.read_bytes())).decode() if path.is_file() else None
