"""A result as text for people: what to set and what to do next first, then why, then how sure it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jvbtune.agent.settings import RMEM_MAX
from jvbtune.fit.compare import SettingVerdict, Verdict
from jvbtune.fit.reasons import Code, Reason
from jvbtune.result.model import Compilation, Interval, RunResult, Source, Status
from jvbtune.text import counted

LIMITS = {
    "cpu": "CPU",
    "rx_thread": "the receive thread",
    "gc": "garbage collection",
    "loss": "packet loss",
    "delay": "delay",
}


def pps(value: float | None) -> str:
    """``46 750 pps``, with a narrow no-break space between thousands."""
    return "–" if value is None else f"{value:,.0f} pps".replace(",", "\u202f")


def interval(ends: Interval) -> str:
    low, high = (None if end is None else pps(end).removesuffix(" pps") for end in ends)
    return f"{low or 0} to {high}" if high is not None else f"{low or 0} or more"


def limit(name: str) -> str:
    return LIMITS.get(name, name)


def summary(result: RunResult, *, stored: bool = True) -> list[str]:
    """At most eight lines: what to set, whether it is safe, what to do next.

    ``stored``: False of a fit with other limits, which is not what an export has.
    """
    found = result.recommendation
    if found is None:
        return _no_recommendation(result)
    to_set = result.status is Status.DONE and result.source is not Source.SIMULATED and stored
    said = "set the load threshold to" if to_set else "load threshold, not to be set yet:"
    lines = [f"{result.host}: {said} {pps(found.load_threshold_pps)}"]
    lines += [f"  Safe because     95 % of restarts stay within every limit at this rate ({found.restarts} measured)"]
    behind = "" if found.next_limit is None else f"; {limit(found.next_limit)} would be next"
    lines += [
        f"  Max packet rate  {pps(found.max_packet_rate_pps)} (95 % interval {interval(found.interval_pps)}), "
        f"limited by {limit(found.binding_limit)}{behind}"
    ]
    lines += _settings(result)
    audio = any(remark.code == Code.AUDIO_ONLY for remark in result.remarks)
    if result.traffic is not None and result.traffic.shape:
        only = "audio only, " if audio else ""
        lines.append(f"  Traffic mix      {only}conferences of {result.traffic.shape}")
    if audio:
        lines.append("  For video        sweep again with --mix meeting-5; until then, divide the threshold by 1.7")
    lines.append(f"  Next             {_next(result, stored)}")
    return lines


def _no_recommendation(result: RunResult) -> list[str]:
    lines = [f"{result.host}: no recommendation"]
    lines += [f"  {reason.text}." for reason in result.reasons[:3]]
    advice = [reason.advice for reason in result.reasons[:3] if reason.advice]
    if result.status == Status.INTERRUPTED:
        advice.append(f"Go on with: {result.going_on}")
    lines += [f"  To do: {text}" for text in advice[:2]]
    return lines + _settings(result)


def _settings(result: RunResult) -> list[str]:
    """One line for the settings, one for the receive buffer."""
    lines = []
    if result.settings:
        of_each = "; ".join(_setting(s, _at_least(result, s), result.settings_first) for s in result.settings)
        lines.append(f"  Settings         {of_each}")
    if result.receive_buffer is not None:
        lines.append(f"  Receive buffer   {result.receive_buffer.sentence()}")
    return lines


def _at_least(result: RunResult, setting: SettingVerdict) -> Any:
    """The value that is exported: of the receive buffer the larger of what was found better and what is advised."""
    advice = result.receive_buffer
    if setting.name == RMEM_MAX and advice is not None and isinstance(setting.recommended, int):
        return max(setting.recommended, advice.rmem_max_bytes)
    return setting.recommended


def _setting(found: SettingVerdict, recommended: Any, first: bool) -> str:
    if found.verdict is Verdict.BETTER:
        return f"set {found.name} = {recommended}" + (" first: the threshold needs it" if first else "")
    if found.verdict is Verdict.WORSE:
        return f"{found.name} = {' or '.join(map(str, found.worse_values))} is worse than what was found"
    return f"{found.name}: {found.verdict}"


def _next(result: RunResult, stored: bool) -> str:
    if result.status is Status.RUNNING:
        return "the run still goes on: wait for its end"
    if result.source is Source.SIMULATED:
        return "a simulated host has nothing to set: jvbtune sweep --host HOST"
    if result.status is not Status.DONE:
        return f"the run did not end, and is not exported: {result.going_on}"
    if not stored:
        return "these limits are not the run's, and exports do not have them: write them into its experiment"
    return f"jvbtune export {result.id} --format sysctl (or jvb-conf, docker); jvbtune explain"


def details(result: RunResult, *, with_trials: bool = False) -> list[str]:
    """What ``show -v`` adds: reasons, verdicts with their evidence, estimates, trials, profiles."""
    labels = "".join(f", {key}={value}" for key, value in result.labels.items())
    lines = [f"Run {result.id} on {result.host}: {result.status.value}, {result.experiment}{labels}"]
    lines += _section("Why there is no recommendation", _reasons(result.reasons))
    lines += _section("Remarks", _reasons(result.remarks))
    lines += _section("Settings", [f"{s.name}: {s.verdict}. {s.reason}" for s in result.settings])
    if result.search is not None:
        lines += _section("Search", search_lines(result))
    if result.compilation is not None:
        lines += _section("After a restart", compilation_lines(result.compilation))
    invalid = [trial for trial in result.trials if not trial["valid"]]
    lines += _section(
        f"{counted(len(result.trials), 'trial')}, {len(invalid)} of them not used",
        [_trial(trial) for trial in (result.trials if with_trials else invalid[:10])],
    )
    profiles = [f"{one.step} at {pps(one.intended_pps)}: {one.path}" + _cost(one.cost) for one in result.captures]
    return lines + _section("Profiles", profiles)


def _section(title: str, lines: Iterable[str]) -> list[str]:
    shown = [f"  {line}" for line in lines]
    return ["", title, *shown] if shown or title[:1].isdigit() else []


def _reasons(reasons: Iterable[Reason]) -> list[str]:
    return [f"- {reason.text}.{' ' + reason.advice if reason.advice else ''}" for reason in reasons]


def search_lines(result: RunResult) -> list[str]:
    """A line for each goal of a search."""
    search = result.search
    if search is None:
        return []
    lines = []
    for rate in search.rates:
        if rate.pps is None:
            lines.append(f"{rate.label}: {rate.state.value.replace('_', ' ')}")
        elif rate.state in ("kept", "generator"):
            why = "; above it the generator is the limit" if rate.state == "generator" else ""
            lines.append(f"{rate.label}: not reached, kept up to {pps(rate.pps)}{why}")
        else:
            ends = "one restart: no interval" if rate.interval_pps is None else f"95 % {interval(rate.interval_pps)}"
            lines.append(f"{rate.label}: {pps(rate.pps)} ({ends}), bracket {rate.relative_width or 0:.1%} wide")
    return [*lines, f"{counted(search.restarts, 'restart')}, {search.minutes:.1f} min"]


def compilation_lines(found: Compilation) -> list[str]:
    """What the JVM's compilers took after the run's restarts."""
    spent = ""
    if found.compiler_core_seconds is not None:
        spent = f", and its compilers use {found.compiler_core_seconds:.1f} s of CPU"
    lines = [
        f"The bridge needs {found.warm_after_seconds:.0f} s of load until its code is compiled "
        f"(at most {found.longest_seconds:.0f} s in {counted(found.restarts, 'restart')}){spent}.",
        "The figures above hold for a warm bridge: they are without the CPU of the compilers.",
    ]
    if found.still_compiling:
        were = "restart was" if found.still_compiling == 1 else "restarts were"
        lines.append(
            f"{found.still_compiling} {were} still compiling at the end of the longest warm-up: raise "
            "max_warm_up_seconds, or measure at lower packet rates."
        )
    return lines


def _cost(cost: Mapping[str, Any] | None) -> str:
    from jvbtune.capture.cost import Cost

    return "" if cost is None else f"; profiling cost {Cost.from_json(cost)}"


def _trial(trial: Mapping[str, Any]) -> str:
    def number(name: str, form: str) -> str:
        value = trial.get(name)
        return "-" if value is None else format(value, form)

    because = "" if trial["valid"] else "  " + "; ".join(trial["invalid_because"] or ())
    return (
        f"{trial['trial']}: {number('bridge_pps', '.0f')} pps, {number('cpu_cores', '.2f')} cores, "
        f"loss {number('loss_ratio', '.2g')}, p99 {number('delay_p99_ms', '.1f')} ms{because}"
    )
