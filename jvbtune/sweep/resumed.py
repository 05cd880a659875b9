"""Whether a run that goes on meets the host that it was begun on: trials of two hosts would be compared as of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jvbtune.errors import UsageError
from jvbtune.settings.catalogue import CATALOGUE
from jvbtune.store.run import inside
from jvbtune.text import clean

#: Of the provenance: what trials depend on, by where it stands, and what it is called.
FACTS = {
    ("kernel",): "kernel",
    ("cpu", "model"): "CPU",
    ("cpu", "cores"): "cores of the host",
    ("bridge", "cores"): "cores of the bridge",
    ("jvb_version",): "JVB",
    ("bridge", "java", "version"): "Java",
    ("bridge", "jvm_options"): "options of the JVM",
}


def refuse_changed(host: str, run_id: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """``before``, ``now``: provenance of the run's beginning and of this moment. Raises UsageError if they differ in
    what trials depend on; what was not known at one of them is no difference."""
    found = [*_facts(before, now), *_values(before.get("sysctl") or {}, now.get("sysctl") or {})]
    _refuse(host, run_id, found)


def refuse_other_values(host: str, run_id: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """The same of the baseline: name -> value of each swept setting."""
    _refuse(host, run_id, list(_values(before, now)))


def _refuse(host: str, run_id: str, found: list[str]) -> None:
    if found:
        raise UsageError(
            f"{host} is not as it was when run {run_id} began: {'; '.join(found)}",
            hint="Trials of both would be taken for those of one host. Begin another sweep, or put it back to what it "
            "was.",
        )


def _facts(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for keys, name in FACTS.items():
        one, other = inside(before, *keys), inside(now, *keys)
        if one is not None and other is not None and one != other:
            yield f"{name} {_shown(one)}, now {_shown(other)}"


def _values(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(CATALOGUE.keys() & before.keys() & now.keys()):
        if str(before[name]).split() != str(now[name]).split():
            yield f"{name} {_shown(before[name])}, now {_shown(now[name])}"


def _shown(value: Any) -> str:
    return clean(" ".join(map(str, value)) if isinstance(value, list) else str(value), 120)
