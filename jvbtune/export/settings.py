"""Which settings are exported, with which values, and the evidence for each.

A setting is exported if a value was found better than the one in force, or if it is part of the receive buffer that
this host needs. What made no difference is a comment. Only catalogued names, and only values in canonical form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from jvbtune.agent.settings import ICE4J_BUFFER, RMEM_MAX, canonical
from jvbtune.fit.compare import SettingVerdict, Verdict, deployed
from jvbtune.result.model import RunResult
from jvbtune.settings.catalogue import CATALOGUE, DEFAULT_ICE4J_BUFFER_BYTES


@dataclass(frozen=True)
class Line:
    """One assignment, and why. ``at_least``: a host that has more keeps it."""

    name: str
    value: int | str
    why: str
    at_least: bool = False


@dataclass(frozen=True)
class OfHost:
    """What is known of the one host that an export is for, by sysctl. ``in_force``: its values. ``earlier``: what an
    earlier apply set there."""

    in_force: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)


NOTHING_KNOWN = OfHost()


def lines_of(result: RunResult, *, pin: bool = False, host: OfHost = NOTHING_KNOWN) -> list[Line]:
    """Every setting to be set, by name. ``pin``: also those that the run was measured with.

    Where the host has more than the receive buffer needs, it keeps that: net.core.rmem_max is a limit for programs that
    ask, and others on the host may need it. What an earlier apply set stays if the run was measured with it.
    """
    pinned = [Line(name, value, "the run was measured with it") for name, value in result.measured_with.items()]
    kept = [
        Line(name, value, "an earlier run set it, and this one was measured with it")
        for name, value in host.earlier.items()
        if name in result.measured_with and canonical(name, result.measured_with[name]) == value
    ]
    better = {
        verdict.name: Line(verdict.name, _text_or_number(verdict.recommended), f"better: {verdict.reason}")
        for verdict in result.settings
        if verdict.verdict == Verdict.BETTER and verdict.recommended is not None
    }
    for name, value in deployed(result.settings).values.items():  # what was set together with it is needed too
        if name not in better or better[name].value != _text_or_number(value):
            better[name] = Line(name, _text_or_number(value), "part of what was found better")
    buffer = _buffer(result, better)
    found = {line.name: line for line in (*kept, *(pinned if pin else ()), *better.values(), *buffer)}
    asked, cap = found.get(ICE4J_BUFFER), found.get(RMEM_MAX)
    if asked is not None and (cap is None or int(cap.value) < int(asked.value)):
        why = f"the kernel gives a bridge that asks for {asked.value} no more than this"
        found[RMEM_MAX] = Line(RMEM_MAX, asked.value, why, at_least=True)
    return [_kept(_canonical(line), host.in_force) for _, line in sorted(found.items())]


def _kept(line: Line, in_force: Mapping[str, str]) -> Line:
    found = in_force.get(line.name)
    if not line.at_least or found is None or int(found) <= int(line.value):
        return line
    return replace(line, value=int(found), why=f"{line.why} This host has {found}, which is more, and keeps it.")


def _buffer(result: RunResult, better: Mapping[str, Line]) -> Iterable[Line]:
    """The receive buffer that this host needs, unless a larger one was found better. What the bridge asks for is set
    even where it was measured so: an apply replaces the file that made it ask, and other hosts have the default."""
    advice = result.receive_buffer
    if advice is None:
        return
    size = advice.rmem_max_bytes
    cap, asked = better.get(RMEM_MAX), better.get(ICE4J_BUFFER)
    if cap is None or int(cap.value) <= size:
        yield Line(RMEM_MAX, size, f"{advice.sentence()}. {advice.why()}", at_least=True)
    by_itself = min(advice.asked_bytes, DEFAULT_ICE4J_BUFFER_BYTES)
    if size > by_itself and (asked is None or int(asked.value) <= size):
        yield Line(ICE4J_BUFFER, size, f"the bridge must ask for it: measured, it asked for {advice.asked_bytes}")


def without_effect(result: RunResult) -> list[SettingVerdict]:
    """Swept settings that are not set, for the comments."""
    set_names = {line.name for line in lines_of(result)}
    return [verdict for verdict in result.settings if verdict.name not in set_names]


def evidence(verdict: SettingVerdict) -> str:
    """``name: no difference; why (tried: values)``."""
    values = ", ".join(str(value) for value in verdict.values)
    return f"{verdict.name}: not set. {verdict.verdict}: {verdict.reason} (tried: {values})"


def is_sysctl(name: str) -> bool:
    return name != ICE4J_BUFFER


def _text_or_number(value: int | float | str) -> int | str:
    return int(value) if isinstance(value, float) else value


def _canonical(line: Line) -> Line:
    """Raises ValueError for what is in no catalogue, or has no canonical form: it would be loaded as root."""
    if line.name not in CATALOGUE:
        raise ValueError(f"{line.name!r} is no setting that jvbtune knows")
    CATALOGUE[line.name].check(line.value)
    return replace(line, value=CATALOGUE[line.name].normalise(line.value))
