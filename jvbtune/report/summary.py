"""The first screen of the report: what to set, what limits the bridge, what the figure does not hold for. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from jvbtune.agent.settings import RMEM_MAX
from jvbtune.export.settings import Line, is_sysctl, lines_of
from jvbtune.fit.buffers import BufferAdvice
from jvbtune.fit.compare import EQUIVALENCE, Verdict
from jvbtune.fit.reasons import Code
from jvbtune.report import words
from jvbtune.report.limits import METHODS
from jvbtune.result.model import RunResult, Source, Status, Traffic


class Tone(StrEnum):
    GOOD = "good"
    OPEN = "open"
    BAD = "bad"


@dataclass(frozen=True)
class Action:
    """One line to set. ``code``: as it is written to the file that ``where`` names."""

    where: str
    code: str
    why: str


@dataclass(frozen=True)
class Caveat:
    name: str
    text: str


@dataclass(frozen=True)
class Summary:
    """``figure``, ``interval``: of the max packet rate, as text; None if there is no recommendation."""

    tone: Tone
    verdict: str
    figure: str | None
    interval: str | None
    limit: tuple[str, str] | None  #: what decides, and what would be next
    actions: tuple[Action, ...]
    export: str | None  #: the command that writes the files
    reasons: tuple[tuple[str, str], ...]  #: why there is no recommendation, with what to do
    estimates: tuple[tuple[str, str, str], ...]  #: name, figure, interval: what there is without a recommendation
    caveats: tuple[Caveat, ...]


#: Remarks that the summary tells in its own words, or that say what it already says.
_TOLD = {Code.DEPLOYED_ESTIMATE, Code.COSTS_UNKNOWN, Code.BUFFER_CLAMPED, Code.LIMIT_NOTE, Code.MISSING_COLUMN}
_REMARKS = {
    Code.SETTINGS_FIRST: "Settings first",
    Code.NOT_COMBINED: "Settings",
    Code.AUDIO_ONLY: "Video",
    Code.EXTRAPOLATED: "Extrapolated",
    Code.PRODUCTION_MIX: "Production traffic",
    Code.OTHER_SHAPE: "Other conferences",
    Code.IMPLAUSIBLE: "Plausibility",
}


def summary(result: RunResult) -> Summary:
    found = result.recommendation
    tone, verdict = _verdict(result)
    return Summary(
        tone=tone,
        verdict=verdict,
        figure=None if found is None else words.count(found.max_packet_rate_pps),
        interval=None if found is None else words.pps_interval(found.interval_pps),
        limit=_limit(result),
        actions=tuple(_actions(result)),
        export=f"jvbtune export {result.id}" if tone is Tone.GOOD else None,
        reasons=tuple((words.prose(reason.text), words.prose(reason.advice)) for reason in result.reasons),
        estimates=() if found is not None else tuple(_estimates(result)),
        caveats=tuple(_caveats(result)),
    )


def _verdict(result: RunResult) -> tuple[Tone, str]:
    if result.status is Status.RUNNING:
        return Tone.OPEN, "The run is still going on; figures may change"
    if result.recommendation is None:
        return Tone.BAD, "No recommendation: set nothing from this run"
    if result.source is Source.SIMULATED:
        return Tone.OPEN, "Simulated host: nothing to deploy"
    if result.reasons or result.status is not Status.DONE:
        return Tone.OPEN, "Provisional: do not deploy these figures yet"
    return Tone.GOOD, "Recommendation ready to deploy"


def _limit(result: RunResult) -> tuple[str, str] | None:
    found = result.recommendation
    if found is None:
        return None
    fit = next((one for one in result.limit_fits if one.name == found.binding_limit), None)
    what = words.limit(found.binding_limit)
    if fit is not None:
        what = f"{what}, {words.fit_limit(fit)}"
    if found.next_limit is None:
        return what, ""
    following = words.limit(found.next_limit)
    behind = f"Next limit: {following[:1].lower() + following[1:] if following != 'CPU' else following}"
    if found.next_limit_pps is not None:
        return what, f"{behind}, at {words.pps(found.next_limit_pps)}."
    return what, f"{behind}, not reached at up to {words.pps(found.highest_tested_pps)}."


def _actions(result: RunResult) -> Iterator[Action]:
    found = result.thresholds
    if found is not None and result.recommendation is not None:
        restarts = result.recommendation.restarts
        yield Action(
            "jvb.conf",
            f"load-threshold = {int(found.load_threshold_pps)}",
            f"95{words.THIN}% of restarts stay within every limit at this packet rate ({restarts} measured).",
        )
        yield Action(
            "jvb.conf",
            f"recovery-threshold = {int(found.recovery_threshold_pps)}",
            f"80{words.THIN}% of it, as in JVB's own defaults.",
        )
    for line in _lines(result):
        buffer = result.receive_buffer
        where = "sysctl" if is_sysctl(line.name) else "jvb.conf"
        why = words.prose(line.why)
        if buffer is not None and line.name == RMEM_MAX and line.value == buffer.rmem_max_bytes:
            why = _buffer(buffer)
        yield Action(where, f"{line.name} = {line.value}", why)


def _lines(result: RunResult) -> list[Line]:
    """What an export would set; nothing if it would refuse (a name or a value that is in no catalogue)."""
    try:
        return lines_of(result)
    except ValueError:
        return []


def _buffer(advice: BufferAdvice) -> str:
    text = f"{words.size(advice.rmem_max_bytes)}: holds {_seconds(advice.holds_seconds)} of video at the load threshold"
    if advice.found_rcvbuf_bytes is None:
        return f"{text}."
    if advice.enough:
        return f"{text}; this host has it already."
    return f"{text}; this host has {words.size(advice.found_rcvbuf_bytes / 2)}."


def _seconds(value: float) -> str:
    return f"{value:.1f}{words.THIN}s" if value >= 1 else f"{1000 * value:.0f}{words.THIN}ms"


def _caveats(result: RunResult) -> Iterator[Caveat]:
    """What the figure does not hold for, or the run did not show. The most important first."""
    traffic = result.traffic
    if traffic is not None:
        yield Caveat("Traffic mix", f"{traffic_words(traffic)} Another mix has another max packet rate.")
    for remark in result.remarks:
        if remark.code not in _TOLD:
            advice = f" {words.prose(remark.advice)}" if remark.advice else ""
            yield Caveat(_REMARKS.get(remark.code, "Note"), words.prose(remark.text) + advice)
    unresolved = [s.name for s in result.settings if s.verdict is Verdict.UNRESOLVED]
    if unresolved:
        yield Caveat(
            "Not shown",
            f"Whether {_listed(unresolved)} {'helps' if len(unresolved) == 1 else 'help'}: more blocks are needed.",
        )
    to_set = {line.name for line in _lines(result)}  # the receive buffer is advised for more than this load
    same = [s for s in result.settings if s.verdict is Verdict.NO_DIFFERENCE and s.name not in to_set]
    if same:
        margins = {words.percent(EQUIVALENCE[s.metric]) for s in same if s.metric is not None}
        above = f" above {' or '.join(sorted(margins))}" if margins else ""
        yield Caveat("No difference", f"{_listed([s.name for s in same])} made no difference{above}: leave as found.")
    worse = [f"{s.name} = {value}" for s in result.settings for value in s.worse_values]
    if worse:
        it = "it" if len(worse) == 1 else "them"
        yield Caveat("Worse", f"{_listed(worse)} did worse than what was found on arrival: do not set {it}.")
    if result.recommendation is not None and result.compilation is not None:
        seconds = f"{result.compilation.warm_after_seconds:.0f}{words.THIN}s"
        yield Caveat(
            "Cold bridge",
            f"The figure holds for a warm bridge: after a start it needs {seconds} of load to compile its code.",
        )
    unused = [row for row in result.trials if not row["valid"]]
    if unused:
        because = Counter(str(reason).split(":")[0] for row in unused for reason in row["invalid_because"] or ())
        often = f", most often: {because.most_common(1)[0][0]}" if because else ""
        yield Caveat("Trials not used", f"{len(unused)} of {len(result.trials)}{often}.")
    machine = _machine(result)
    if machine:
        yield Caveat("Machine", f"Measured on {machine}. Measure again after a change of any of these.")


def traffic_words(traffic: Traffic) -> str:
    """``Conferences of 10 with 6 senders: 10 % of the packets in, 90 % out, 301 pps per endpoint.``"""
    names = {"in": "in", "out": "out", "relay": "relayed"}
    shares = [f"{words.percent(share, 0)} {names.get(name, name)}" for name, share in traffic.shares.items() if share]
    if shares:
        shares[0] = shares[0].replace(f"{words.THIN}%", f"{words.THIN}% of the packets", 1)
    if traffic.packets_per_endpoint_pps is not None:
        shares.append(f"{words.pps(traffic.packets_per_endpoint_pps)} per endpoint")
    mix = ", ".join(shares) or traffic.description
    return words.sentence(f"conferences of {traffic.shape}: {mix}" if traffic.shape else mix)


def _estimates(result: RunResult) -> Iterator[tuple[str, str, str]]:
    for one in result.estimates:
        ends = "no interval" if one.interval_pps[0] == one.interval_pps[1] else words.pps_interval(one.interval_pps)
        yield METHODS[one.method], words.pps(one.max_packet_rate_pps), f"{ends}, {words.limit(one.binding_limit)}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _machine(result: RunResult) -> str:
    p = result.provenance
    cores = None if p.cores is None else f"{p.cores:g} {'core' if p.cores == 1 else 'cores'} for the bridge"
    kernel = None if p.kernel is None else f"kernel {p.kernel}"
    java = None if p.java is None else f"Java {p.java}"
    return ", ".join(part for part in (p.cpu, cores, kernel, p.jvb_version, java) if part)
