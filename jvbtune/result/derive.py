"""From a run directory to its result: the only place where a run is fitted. Pure but for reading the run."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from jvbtune.agent.settings import ICE4J_BUFFER, RMEM_MAX
from jvbtune.capacity.result import Search
from jvbtune.capacity.stored import read_search
from jvbtune.capture.store import capture_documents
from jvbtune.errors import StoreError, UsageError
from jvbtune.fit import HostFit, Limits, compare_settings, recommend
from jvbtune.fit.buffers import (
    DEFAULT_ASKED_BYTES,
    OPUS_TRUESIZE_BYTES,
    BufferAdvice,
    buffer_advice,
    clamped,
    queued_seconds,
)
from jvbtune.fit.compare import BASELINE, Deployed, broken_controls, deployed
from jvbtune.fit.host_fit import floored
from jvbtune.fit.reasons import Code, Reason
from jvbtune.fit.thresholds import thresholds
from jvbtune.result.compilation import compilation_of
from jvbtune.result.curves import limit_fits
from jvbtune.result.estimates import Choice, choose
from jvbtune.result.history import history_of
from jvbtune.result.model import (
    SCHEMA_VERSION,
    Capture,
    Cost,
    Estimate,
    Provenance,
    Recommendation,
    RunResult,
    Source,
    Status,
    Traffic,
)
from jvbtune.settings.buffer import AskedBuffer
from jvbtune.settings.catalogue import CATALOGUE, PERF_SETTINGS
from jvbtune.store import Run
from jvbtune.store.directories import DAMAGED_HINT
from jvbtune.store.run import inside
from jvbtune.sweep.stopping import verdict_level
from jvbtune.text import clean
from jvbtune.trials.columns import SHOWN
from jvbtune.trials.delays import with_late_ratio
from jvbtune.trials.frame import main_shape
from jvbtune.trials.judge import with_drifting_blocks


def derive(run: Run, limits: Limits | None = None, *, force: bool = False) -> RunResult:
    """Fit a run. ``limits``: in place of the experiment's. ``force``: extrapolate beyond 15 %; never exported."""
    own = limits_of(run)
    limits = limits or own
    trials = with_late_ratio(with_drifting_blocks(run.trials()), limits.delay_p99_ms)
    status = Status(run.status())
    search = read_search(run) if limits == own else None  # it looked for where the run's own limits are met
    settings = tuple(compare_settings(trials, limits, level=verdict_level(run))) if trials.height else ()
    with_better = deployed(settings)
    fitted: HostFit | None = None
    if trials.height:
        (fitted,) = recommend(run.trials(), limits, reference=with_better.step, force=force, history=history_of(run))
    choice = choose(fitted, search)
    measured_with = _measured_with(run)
    asked = _asked(run, measured_with)
    reasons, recommendation = [*broken_controls(settings, _controls(run)), *choice.reasons], None
    if trials.height == 0:
        reasons.insert(0, Reason(Code.NO_TRIALS, "No trial was finished"))
    if choice.deployed is not None and fitted is not None and not reasons:
        recommendation = _recommendation(choice.deployed, fitted, search)
        if recommendation is None:
            reasons.append(
                Reason(Code.NO_THRESHOLD, "One restart tells nothing about the next one", "Run 3 restarts or more.")
            )
    unfinished = [_unfinished(run, status)] if status in (Status.FAILED, Status.INTERRUPTED) else []
    if recommendation is None:
        reasons[:0] = unfinished
    as_deployed = None if recommendation is None or fitted is None else _as_deployed(fitted, recommendation)
    return RunResult(
        schema_version=SCHEMA_VERSION,
        id=run.id,
        host=clean(run.host),
        labels={clean(key): clean(value) for key, value in (run.manifest.get("labels") or {}).items()},
        experiment=clean(run.experiment_name),
        source=_source(run, search),
        status=status,
        created_unix=float(run.manifest["created_unix"]),
        limits=limits,
        recommendation=recommendation,
        reasons=tuple(reasons),
        remarks=(
            # Trials are judged one by one, and fewer of them make the interval wider: what was measured holds.
            *(unfinished if recommendation is not None else ()),
            *(_of_which_settings(with_better, recommendation) if recommendation is not None else ()),
            *_audio_only(run, search, recommendation),
            *_cut_short(search),
            *_remarks(choice, fitted, trials, asked),
        ),
        estimates=choice.estimates,
        search=search,
        thresholds=None if as_deployed is None else thresholds(as_deployed),
        limit_fits=() if fitted is None else limit_fits(fitted),
        traffic=None if fitted is None else _traffic(fitted, trials),
        settings=settings,
        receive_buffer=None
        if as_deployed is None
        else _buffer(run, as_deployed, trials, asked.asked_bytes or DEFAULT_ASKED_BYTES),
        measured_with=measured_with,
        provenance=provenance_of(run),
        captures=tuple(_captures(run.path)),
        compilation=compilation_of(run),
        trials=tuple(_row(row) for row in trials.select(SHOWN).iter_rows(named=True)),
    )


def limits_of(run: Run) -> Limits:
    """The limits that the run's experiment states."""
    given = run.manifest["experiment"].get("limits") or {}
    try:
        return Limits(**{name: float(value) for name, value in given.items()})
    except (AttributeError, TypeError, ValueError, UsageError) as error:
        text = f"{run.path / 'manifest.json'}: damaged: experiment.limits are not limits of this jvbtune"
        raise StoreError(text, hint=DAMAGED_HINT) from error


def _controls(run: Run) -> set[str]:
    """The settings that the experiment knows to have no effect."""
    sections = run.manifest["experiment"].get("settings") or ()
    return {str(section["name"]) for section in sections if section.get("negative_control")}


def _asked(run: Run, measured_with: Mapping[str, int | str]) -> AskedBuffer:
    """What the bridge asked for at the baseline; of a run that did not record it, JVB's default."""
    asked = AskedBuffer(True, int(measured_with.get(ICE4J_BUFFER, DEFAULT_ASKED_BYTES)), "")
    for event in run.events("baseline"):
        found = event.get("asked_buffer")
        asked = asked if found is None else AskedBuffer(**found)
    return asked


def _audio_only(run: Run, search: Search | None, recommendation: Recommendation | None) -> Iterator[Reason]:
    """What video costs is no figure of this host's where none was sent, so that no threshold rests on it."""
    if recommendation is not None and _source(run, search) in (Source.SWEEP, Source.CAPACITY) and not _video(run):
        yield Reason(
            Code.AUDIO_ONLY,
            "The load was audio only. On a real bridge, a packet of VP8 with transport-cc feedback cost up to 1.7 "
            "times the CPU of a packet of audio",
            "If your meetings have video, measure with --mix meeting-5 or a mix like yours. Until then divide the load "
            "threshold by 1.7.",
        )


def _cut_short(search: Search | None) -> Iterator[Reason]:
    """Of a search that has a figure without some of its restarts."""
    if search is not None and search.unfinished:
        rest = search.restarts - search.unfinished
        yield Reason(
            Code.SEARCH_UNFINISHED,
            f"The time ran out in {search.unfinished} of {search.restarts} restarts. The search's figure is of the "
            f"other {rest}",
            "Allow more --minutes.",
        )


def _of_which_settings(with_better: Deployed, recommendation: Recommendation) -> Iterator[Reason]:
    """What a host must have before the figures hold for it."""
    if with_better.step == BASELINE:
        return
    more = {RMEM_MAX: " or more", ICE4J_BUFFER: " or more"}  # a larger buffer holds what a smaller one does
    values = " and ".join(f"{name} = {value}{more.get(name, '')}" for name, value in sorted(with_better.values.items()))
    if with_better.step in recommendation.steps:
        also = BASELINE in recommendation.steps  # by no steady metric were the two told apart
        yield Reason(
            Code.SETTINGS_FIRST,
            f"The figures hold with {values}" + ("" if also else ", and not with the values found on arrival"),
            "Set that before the load threshold.",
        )
    else:
        yield Reason(
            Code.NOT_COMBINED,
            f"Found better: {values}. The run has no figures of a host with all of that, so they are of the values "
            "found on arrival",
            "Set them, and run again to see what the host sustains then.",
        )


def _video(run: Run) -> bool:
    """Whether any of the run's mixes has video."""
    load = run.manifest["experiment"].get("load") or {}
    return any((mix or {}).get("video") for mix in (load.get("mix"), *(load.get("other_mixes") or ())))


def _remarks(choice: Choice, fitted: HostFit | None, trials: pl.DataFrame, asked: AskedBuffer) -> Iterator[Reason]:
    yield from choice.remarks
    if asked.known and asked.asked_bytes is not None:
        finding = clamped(trials, asked.asked_bytes) if trials.height else None
        if finding is not None:
            yield finding
    elif asked.known:
        yield Reason(
            Code.BUFFER_UNKNOWN,
            f"The bridge asks for no receive buffer and has net.core.rmem_default: {clean(asked.source)}",
            f"Set {ICE4J_BUFFER} to a number of bytes without a unit.",
        )
    else:
        yield Reason(
            Code.BUFFER_UNKNOWN,
            f"jvbtune cannot tell what receive buffer the bridge asks for: {clean(asked.source)}. "
            "Trials are compared with the buffer that it had on arrival",
        )
    yield from fitted.remarks if fitted is not None else ()


def _source(run: Run, search: Search | None) -> Source:
    if run.is_simulated():
        return Source.SIMULATED
    if search is not None or run.events("search_begun"):
        return Source.CAPACITY
    return Source(run.manifest.get("source") or Source.SWEEP)


def _unfinished(run: Run, status: Status) -> Reason:
    ended = run.events("run_finished")
    why = str(ended[-1].get("message") or "") if ended else ""
    return Reason(Code.RUN_UNFINISHED, f"The run is {status.value}" + (f": {clean(why)}" if why else ""))


def _recommendation(deployed: Estimate, fitted: HostFit, search: Search | None) -> Recommendation | None:
    """None where a single restart says nothing of the next one."""
    low, highest = deployed.restart_low_pps, fitted.highest_tested_pps
    if low is None or highest is None or floored(min(low, highest)) <= 0:
        return None
    rate, of_curve = floored(deployed.max_packet_rate_pps), deployed.max_packet_rate_pps == fitted.max_packet_rate_pps
    bottom, top = deployed.interval_pps
    return Recommendation(
        max_packet_rate_pps=rate,
        interval_pps=(min(bottom or 0.0, rate), None if top is None else max(top, rate)),
        load_threshold_pps=floored(min(low, highest)),
        binding_limit=deployed.binding_limit,
        next_limit=fitted.next_limit if of_curve else None,
        next_limit_pps=fitted.next_limit_pps if of_curve else None,
        method=deployed.method,
        model=fitted.model if of_curve else None,
        restart_low_pps=low,
        highest_tested_pps=highest,
        extrapolated=fitted.extrapolated if of_curve else False,
        steps=fitted.steps,
        restarts=fitted.restarts if of_curve or search is None else search.restarts - search.unfinished,
        trials=fitted.trials,
    )


def _as_deployed(fitted: HostFit, recommendation: Recommendation) -> HostFit:
    """The fit, with the figures that are deployed: thresholds and buffer follow from them."""
    return replace(
        fitted,
        max_packet_rate_pps=recommendation.max_packet_rate_pps,
        restart_low_pps=recommendation.restart_low_pps,
        binding_limit=recommendation.binding_limit,
        reasons=(),
    )


def _traffic(fitted: HostFit, trials: pl.DataFrame) -> Traffic | None:
    mix = fitted.mix
    if mix is None:
        return None
    costs = [
        Cost(cost.name, round(cost.estimate, 3), _ends(cost.low, cost.high, 3) if math.isfinite(cost.high) else None)
        for cost in mix.costs
    ]
    return Traffic(
        shape=main_shape(trials.filter((pl.col("kind") == "steady") & (pl.col("mix") != ""))),
        description=mix.in_words(),
        shares=dict(mix.shares),
        packets_per_endpoint_pps=mix.packets_per_endpoint_pps,
        worst_description=mix.worst_in_words(),
        worst_rate_ratio=mix.worst_rate_ratio,
        worst_cost_ratio=mix.worst_cost_ratio,
        worst_source=mix.worst_source,
        costs=tuple(costs),
        costs_known=mix.weights is not None,
        shape_cost_ratios=dict(mix.shape_cost_ratios),
        condition_number=mix.condition_number if math.isfinite(mix.condition_number) else None,
        explanation=mix.explanation,
    )


def _ends(low: float, high: float, digits: int) -> tuple[float | None, float | None]:
    return tuple(round(end, digits) if math.isfinite(end) else None for end in (low, high))  # type: ignore[return-value]


def _buffer(run: Run, found: HostFit, trials: pl.DataFrame, asked_bytes: int) -> BufferAdvice | None:
    """From the packet rate at the load threshold and from the socket's queue in every sample below it."""
    threshold = found.load_threshold_pps
    if threshold is None:
        return None
    sizes = run.provenance("before").get("udp_truesize_bytes") or {}
    charged = float(next(iter(sizes.values()), OPUS_TRUESIZE_BYTES))
    queued: list[float] = []
    steady = trials.filter(pl.col("valid") & (pl.col("kind") == "steady") & (pl.col("bridge_pps") <= threshold))
    for trial, in_pps in steady.select("trial", "in_pps").drop_nulls().iter_rows():
        try:
            queued += queued_seconds(run.samples(trial), in_pps, charged)
        except StoreError:
            continue
    return buffer_advice(trials, threshold, queued_seconds=queued, truesizes=sizes, asked_bytes=asked_bytes)


def _measured_with(run: Run) -> dict[str, int | str]:
    """The catalogued settings with the values that they had at the baseline; what is not canonical is left out."""
    values = dict(run.provenance("before").get("sysctl") or {})
    for event in run.events("baseline"):
        values |= event["values"]
    found = {}
    for name, setting in CATALOGUE.items():
        if name in values and name not in PERF_SETTINGS:
            with contextlib.suppress(ValueError):
                found[name] = setting.normalise(values[name])
    return found


def provenance_of(run: Run) -> Provenance:
    """What the figures hold for: kernel, machine, bridge, JVM."""
    before = run.provenance("before")
    cores = inside(before, "bridge", "cores")
    heap_mib, collector = _jvm(inside(before, "bridge", "jvm_options"))
    return Provenance(
        jvbtune_version=_known(run.manifest.get("jvbtune_version")),
        kernel=_known(before.get("kernel")),
        os=_known(inside(before, "os", "PRETTY_NAME")),
        cpu=_known(inside(before, "cpu", "model")),
        cores=float(cores) if isinstance(cores, int | float) else None,
        jvb_version=_known(before.get("jvb_version")),
        java=_known(inside(before, "bridge", "java", "version")),
        heap_mib=heap_mib,
        collector=collector,
    )


def _jvm(options: Any) -> tuple[int | None, str | None]:
    """Heap in MiB and collector, by the JVM's options; of an option that is given twice the later counts."""
    heap_mib, collector = None, None
    for option in options if isinstance(options, list) else ():
        heap = re.fullmatch(r"-Xmx([0-9]{1,7})([mMgG])", str(option))
        if heap:
            heap_mib = int(heap[1]) * (1024 if heap[2] in "gG" else 1)
        used = re.fullmatch(r"-XX:\+Use([A-Z][A-Za-z0-9]{0,30}GC)", str(option))
        if used:
            collector = used[1]
    return heap_mib, collector


def _known(value: Any) -> str | None:
    return None if value is None else clean(str(value))


def _captures(path: Path) -> list[Capture]:
    return [
        Capture(
            str(Path(one["path"]).relative_to(path)),
            str(one["id"]),
            str(one["engine"]),
            str(one["event"]),
            str(one["step"]),
            float(one["intended_pps"]),
            one.get("cost"),
        )
        for one in capture_documents(path)
    ]


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's shown columns; what is a list of one's own words stays one."""
    return {name: json.loads(value) if name == "settings" and value else value for name, value in row.items()}
