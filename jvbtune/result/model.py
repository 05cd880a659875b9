"""A run's result: one typed object, computed once when a run ends, stored with it, and read by all that follows.

Everything here is plain data: numbers, texts, tuples and mappings of these, enumerations. ``schema`` makes the JSON
Schema of ``show --json`` from it, and ``stored`` writes and reads it. Units are in the names; what was not measured, or
has no end, is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jvbtune.capacity.result import Search
from jvbtune.fit.buffers import BufferAdvice
from jvbtune.fit.compare import SettingVerdict
from jvbtune.fit.limits import Limits
from jvbtune.fit.reasons import Code, Reason
from jvbtune.fit.thresholds import Thresholds

#: Version of the JSON of a result. A new key does not change it; a key that goes away, or changes its meaning, does.
SCHEMA_VERSION = 2

Interval = tuple[float | None, float | None]  #: low and high end, 95 % unless something else is said


class Status(StrEnum):
    """How a run ended, or that it still goes on."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class Source(StrEnum):
    """Where a run's trials come from."""

    SWEEP = "sweep"
    CAPACITY = "capacity"
    CSV = "csv"
    SIMULATED = "simulated"


class Method(StrEnum):
    """How a max packet rate was estimated."""

    CURVE = "curve"  #: where the fitted curves meet the limits
    SEARCH = "search"  #: between the packet rates that kept and broke the limits, over restarts


@dataclass(frozen=True)
class Estimate:
    """One estimate of the max packet rate of the average restart."""

    method: Method
    max_packet_rate_pps: float
    interval_pps: Interval
    binding_limit: str
    restart_low_pps: float | None  #: what 95 % of restarts sustain within every limit
    deployed: bool = False


@dataclass(frozen=True)
class Recommendation:
    """What the run recommends. Half of all restarts break a limit at the max packet rate: configure the load threshold.

    ``load_threshold_pps``: what 95 % of restarts sustain within every limit, for the most expensive mix of packets that
    is known, and never above the highest load that was run.
    """

    max_packet_rate_pps: float
    interval_pps: Interval
    load_threshold_pps: float
    binding_limit: str
    next_limit: str | None
    next_limit_pps: float | None
    method: Method
    model: str | None
    restart_low_pps: float
    highest_tested_pps: float
    extrapolated: bool
    steps: tuple[str, ...]  #: combinations of settings whose trials were used
    restarts: int
    trials: int


@dataclass(frozen=True)
class Curve:
    """A fitted quantity over packet rate. ``low``, ``high``: 95 % of the mean; ``trial_low``, ``trial_high``: of a
    further restart's trial (None where that is not known)."""

    packet_rate_pps: tuple[float, ...]
    mean: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    trial_low: tuple[float | None, ...] | None = None
    trial_high: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class Residuals:
    """Of one curve: one value a trial, with its restart's own effect taken out; effects: one a restart."""

    relative: bool  #: as a ratio (log), else a difference of logarithms
    packet_rate_pps: tuple[float, ...]
    restart: tuple[int, ...]
    residual: tuple[float, ...]
    restart_effect: tuple[float, ...]


@dataclass(frozen=True)
class LimitFit:
    """Where one limit is met. ``estimate_pps`` None: not at any packet rate that was run."""

    name: str  #: cpu | rx_thread | gc | loss | delay
    limit: float
    unit: str
    estimate_pps: float | None
    interval_pps: Interval
    restart_low_pps: float | None
    model: str
    formula: str
    prediction_errors: Mapping[str, float]  #: form -> root mean squared error of restarts that were left out
    restart_sd: float  #: standard deviation of the logarithm, between restarts
    noise_sd: float  #: within one restart
    note: str
    diagnostics: tuple[str, ...]
    curve: Curve
    residuals: Residuals | None
    column: str = ""  #: of the trials, that the curve is of; empty: the one that bears the limit's name


@dataclass(frozen=True)
class Cost:
    """CPU of one more packet a second, in µs, or of one more endpoint, in µs a second."""

    name: str  #: in | out | relay | packets | endpoints
    estimate_us: float
    interval_us: Interval | None


@dataclass(frozen=True)
class Traffic:
    """The packets for which the figures hold."""

    shape: str  #: of the conferences that were run; empty if it is not known
    description: str
    shares: Mapping[str, float]  #: of in, out and relay
    packets_per_endpoint_pps: float | None
    worst_description: str
    worst_rate_ratio: float  #: packet rate of the most expensive plausible mix, to that of this one
    worst_cost_ratio: float
    worst_source: str  #: trials | history
    costs: tuple[Cost, ...]
    costs_known: bool
    shape_cost_ratios: Mapping[str, float]
    condition_number: float | None
    explanation: str


@dataclass(frozen=True)
class Provenance:
    """What the figures hold for. Texts from the host are cleaned: one line, printable, at most 200 characters."""

    jvbtune_version: str | None
    kernel: str | None
    os: str | None
    cpu: str | None
    cores: float | None
    jvb_version: str | None
    java: str | None
    heap_mib: int | None = None  #: -Xmx
    collector: str | None = None  #: such as G1GC


@dataclass(frozen=True)
class Compilation:
    """What a bridge pays after each start until its code is compiled; it is in no figure of this result.

    Of the run's own restarts, each under the load of its warm-up; medians where nothing else is said.
    """

    restarts: int
    still_compiling: int  #: of these, with compilers at work at the end of the longest warm-up
    warm_after_seconds: float  #: of load
    longest_seconds: float
    compiler_core_seconds: float | None  #: since the start of the process
    bridge_core_seconds: float | None  #: and all of the bridge in that time, the compilers included


@dataclass(frozen=True)
class Capture:
    """One profile that was taken in the run."""

    path: str
    id: str
    engine: str
    event: str
    step: str
    intended_pps: float
    cost: Mapping[str, Any] | None


@dataclass(frozen=True)
class RunResult:
    """Everything that a run found."""

    schema_version: int
    id: str
    host: str
    labels: Mapping[str, str]
    experiment: str
    source: Source
    status: Status
    created_unix: float
    limits: Limits
    recommendation: Recommendation | None
    reasons: tuple[Reason, ...]  #: why there is no recommendation
    remarks: tuple[Reason, ...]  #: what else has to be known
    estimates: tuple[Estimate, ...]
    search: Search | None
    thresholds: Thresholds | None
    limit_fits: tuple[LimitFit, ...]
    traffic: Traffic | None
    settings: tuple[SettingVerdict, ...]
    receive_buffer: BufferAdvice | None
    measured_with: Mapping[str, int | str]  #: settings in force at the baseline, by their catalogued names
    provenance: Provenance
    captures: tuple[Capture, ...] = ()
    compilation: Compilation | None = None
    trials: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @property
    def settings_first(self) -> bool:
        """Whether the figures hold only with the settings that were found better (``compare.deployed``)."""
        return any(remark.code is Code.SETTINGS_FIRST for remark in self.remarks)

    @property
    def going_on(self) -> str:
        """The command that goes on with a run that did not end; of a search, that begins it again."""
        command = f"jvbtune {self.source.value} --host {self.host}"
        return f"{command} --resume {self.id}" if self.source is Source.SWEEP else command
