"""The head of every exported file: where its figures come from, and how to undo it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from jvbtune import __version__


def header(result: Mapping[str, Any], *, why: Sequence[str], undo: Sequence[str], comment: str = "#") -> str:
    """Comment lines: tool version, run, host, kernel, bridge, date, why, how to undo."""
    facts = result["provenance"]
    made = time.strftime("%Y-%m-%d", time.gmtime(float(result["created_unix"])))
    lines = [
        f"Written by jvbtune {__version__} from run {result['id']} ({made}, jvbtune {facts['jvbtune_version']}).",
        f"Host: {result['host']}; kernel {facts['kernel']}; {facts['cpu']}; {_cores(facts['cores'])} for the bridge.",
        f"Bridge: {facts['jvb_version']}, Java {facts['java']}. The figures hold for this machine and this version.",
        "Why:",
        *(f"  {line}" for line in why),
        "To undo:",
        *(f"  {line}" for line in undo),
    ]
    return "".join(f"{comment} {line}".rstrip() + "\n" for line in lines)


def _cores(cores: float | None) -> str:
    return "an unknown number of cores" if cores is None else f"{cores:g} core{'' if cores == 1 else 's'}"
