"""Which settings are exported: those whose measured difference is significant and better. All others are named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ICE4J_PREFIX = "ice4j."


def exported(result: Mapping[str, Any]) -> dict[str, Any]:
    """Setting -> recommended value."""
    return {s["name"]: s["recommended"] for s in result["settings"] if s["verdict"] == "better"}


def reasons(result: Mapping[str, Any], names: set[str]) -> Iterator[str]:
    """A line for each swept setting of ``names``: what was found, whether it is exported."""
    for setting in result["settings"]:
        if setting["name"] not in names:
            continue
        values = ", ".join(str(value) for value in setting["values"])
        if setting["verdict"] == "better":
            yield f"{setting['name']} = {setting['recommended']}: {_evidence(setting)} (swept: {values})"
        else:
            why = setting["reason"] or setting["verdict"]
            yield f"{setting['name']}: not set: {setting['verdict']}; {why} (swept: {values})"


def _evidence(setting: Mapping[str, Any]) -> str:
    if setting["effect"] is None or setting["interval"] is None:
        return str(setting["reason"] or "better")
    low, high = setting["interval"]
    text = f"{setting['metric']} {setting['effect']:+.1%} (95 % interval {low:+.1%} to {high:+.1%})"
    return f"{text}; {setting['reason']}" if setting["reason"] else text


def names(result: Mapping[str, Any], *, sysctl: bool) -> set[str]:
    """The swept settings that are sysctls, or those that are not."""
    every = {str(setting["name"]) for setting in result["settings"]}
    return {name for name in every if name.startswith(ICE4J_PREFIX) != sysctl}
