"""The experiment file: what a sweep is to find out.

TOML, validated with the line of each fault; its JSON Schema is ``jvbtune sweep --schema``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from jvbtune.errors import ConfigError
from jvbtune.load.base import Mix
from jvbtune.settings.catalogue import CATALOGUE, PERF_SETTINGS
from jvbtune.toml import load_toml

SettingValue = int | str
BASELINE = "baseline"

PositiveFloat = Annotated[float, Field(gt=0)]
Ratio = Annotated[float, Field(gt=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MixSection(_Strict):
    """The shape of one conference; load grows by adding conferences of it."""

    participants: Annotated[int, Field(ge=2, le=500)] = 5
    senders: Annotated[int, Field(ge=1)] = 3
    stream_pps: Annotated[float, Field(gt=0, le=1000)] = 50.0
    payload_bytes: Annotated[int, Field(ge=16, le=1200)] = 80

    @model_validator(mode="after")
    def _senders_take_part(self) -> MixSection:
        if self.senders > self.participants:
            raise ValueError(f"senders = {self.senders} is more than participants = {self.participants}")
        return self

    def mix(self, burst_packets: int = 1) -> Mix:
        return Mix(self.participants, self.senders, self.stream_pps, self.payload_bytes, burst_packets)


class AutoLevels(_Strict):
    """Find the levels on the host: double the packet rate until a limit is met, then spread levels below it."""

    start_pps: PositiveFloat = 4000
    levels: Annotated[int, Field(ge=2, le=20)] = 5
    lowest_ratio: Ratio = 0.3  #: of the highest packet rate that met no limit
    probe_seconds: Annotated[float, Field(ge=2, le=60)] = 6


class BurstSection(_Strict):
    """One more trial a step, in aligned bursts: what fills a receive buffer, which smooth load never does."""

    packet_rate_pps: PositiveFloat
    burst_packets: Annotated[int, Field(ge=2, le=1000)] = 16
    trial_seconds: Annotated[float, Field(ge=2, le=600)] | None = None


class LoadSection(_Strict):
    packet_rates_pps: tuple[PositiveFloat, ...] | None = None
    auto: AutoLevels | None = None
    max_packet_rate_pps: PositiveFloat = 200_000  #: no trial intends more, whatever the probe finds
    mix: MixSection = MixSection()
    #: Further shapes, held at two of the packet rates: by them the costs of a packet in and out can be told apart. The
    #: figures stay those of ``mix``; what is exported holds for the dearest shape that was run.
    other_mixes: tuple[MixSection, ...] = ()
    burst: BurstSection | None = None

    @model_validator(mode="after")
    def _each_mix_once(self) -> LoadSection:
        if len({self.mix, *self.other_mixes}) <= len(self.other_mixes):
            raise ValueError("other_mixes has the shape of mix, or one shape twice")
        return self

    @model_validator(mode="after")
    def _one_way_to_levels(self) -> LoadSection:
        if (self.packet_rates_pps is None) == (self.auto is None):
            raise ValueError("give either packet_rates_pps or a table [load.auto]")
        if self.packet_rates_pps is not None:
            if not self.packet_rates_pps:
                raise ValueError("packet_rates_pps is empty")
            above = [rate for rate in self.packet_rates_pps if rate > self.max_packet_rate_pps]
            if above:
                raise ValueError(f"packet_rates_pps has {above[0]:g}, above max_packet_rate_pps")
        return self


class Durations(_Strict):
    """Seconds. A restart is followed by ``warm_up_seconds`` of load that is not measured (JIT, caches)."""

    warm_up_seconds: Annotated[float, Field(ge=0, le=600)] = 60
    settle_seconds: Annotated[float, Field(ge=0, le=120)] = 30
    trial_seconds: Annotated[float, Field(ge=2, le=3600)] = 60
    extend_seconds: Annotated[float, Field(ge=0, le=3600)] = 60  #: once, when a trial is not steady; 0: never


class SettingSection(_Strict):
    """One swept setting: a step for each of its values, all else as found on arrival."""

    name: str
    values: Annotated[tuple[SettingValue, ...], Field(min_length=1)]
    together_with: dict[str, SettingValue] = {}  #: applied in the same steps
    negative_control: bool = False  #: known to have no effect: a method that finds one is wrong

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        swept = sorted(known for known in CATALOGUE if known not in PERF_SETTINGS)
        if name not in swept:
            raise ValueError(f"unknown setting {name!r}; known are {', '.join(swept)}")
        return name

    @model_validator(mode="after")
    def _values_in_range(self) -> SettingSection:
        for name, value in [*((self.name, value) for value in self.values), *self.together_with.items()]:
            if name not in CATALOGUE:
                raise ValueError(f"together_with: unknown setting {name!r}")
            CATALOGUE[name].check(value)
        if self.name in self.together_with:
            raise ValueError(f"together_with names {self.name} itself")
        if len({str(value) for value in self.values}) < len(self.values):
            raise ValueError("values has the same value twice")
        return self


class ProfileSection(_Strict):
    """Profiled trials: in the last ``blocks`` blocks, after each step's measured trials. Their figures enter no fit."""

    at: Annotated[tuple[Literal["lowest", "highest", "all"] | PositiveFloat, ...], Field(min_length=1)] = (
        "lowest",
        "highest",
    )  #: of the packet rates that are swept; or packet rates of their own
    steps: tuple[str, ...] = ()  #: "baseline", "NAME=VALUE" as the plan names them; none: all
    engine: Literal["auto", "async-profiler", "perf", "jfr"] = "auto"
    event: Literal["cpu", "ctimer", "wall", "alloc", "lock"] = "cpu"
    slices: Annotated[int, Field(ge=2, le=100)] = 6
    slice_seconds: Annotated[float, Field(ge=1, le=300)] = 10
    interval_ms: Annotated[float, Field(ge=1, le=1000)] = 10
    blocks: Annotated[int, Field(ge=1, le=50)] = 1
    cost: bool = True  #: a window without the profiler before each slice: the profile takes twice as long


class LimitsSection(_Strict):
    """What the max packet rate has to keep."""

    cpu_ratio: Ratio = 0.8
    loss_ratio: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    delay_p99_ms: PositiveFloat = 50.0
    rx_thread_ratio: Ratio = 0.7


class StopSection(_Strict):
    """End before ``blocks`` are done: when every question is answered, or the time is spent."""

    min_blocks: Annotated[int, Field(ge=2, le=50)] = 3  #: no look at the results before that many
    budget_minutes: PositiveFloat | None = None  #: no further block is begun that would not fit
    relative_width: Ratio | None = 0.2  #: of the max packet rate's interval, (high − low) / rate

    def looks(self, blocks: int) -> int:
        """How often the results are looked at, the last time after all ``blocks``."""
        return max(1, blocks - self.min_blocks + 1)


class Experiment(_Strict):
    """A whole experiment file."""

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None  #: drawn and recorded where it is not given
    blocks: Annotated[int, Field(ge=1, le=50)] = 4
    lease_seconds: Annotated[float, Field(ge=5, le=600)] = 30
    load: LoadSection
    durations: Durations = Durations()
    settings: tuple[SettingSection, ...] = ()
    profile: ProfileSection | None = None
    limits: LimitsSection = LimitsSection()
    stop: StopSection | None = None

    @model_validator(mode="after")
    def _each_setting_once(self) -> Experiment:
        names = [section.name for section in self.settings]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{sorted(twice)[0]} is swept by two [[settings]] tables: put all values into one")
        return self

    @model_validator(mode="after")
    def _profile_within_the_sweep(self) -> Experiment:
        if self.profile is None:
            return self
        rates = [rate for rate in self.profile.at if not isinstance(rate, str)]
        above = [rate for rate in rates if rate > self.load.max_packet_rate_pps]
        if above:
            raise ValueError(f"profile.at has {above[0]:g}, above max_packet_rate_pps")
        if self.profile.blocks > self.blocks:
            raise ValueError(f"profile.blocks = {self.profile.blocks} is more than blocks = {self.blocks}")
        steps = [name for name, _ in self.combinations()]
        for name in self.profile.steps:
            if name not in steps:
                raise ValueError(f"profile.steps has {name!r}; the steps are {', '.join(steps)}")
        return self

    def combinations(self) -> list[tuple[str, dict[str, SettingValue]]]:
        """(step name, values) of every step, the baseline first; one setting at a time."""
        steps: list[tuple[str, dict[str, SettingValue]]] = [(BASELINE, {})]
        for section in self.settings:
            for value in section.values:
                text = str(value).replace(" ", "-")
                steps.append((f"{section.name}={text}", {section.name: value, **section.together_with}))
        return steps

    def touched_settings(self) -> tuple[str, ...]:
        """Every setting that a step may write."""
        names: dict[str, None] = {}
        for section in self.settings:
            names[section.name] = None
            names.update(dict.fromkeys(section.together_with))
        return tuple(names)


def load_experiment(path: Path) -> Experiment:
    """Read an experiment file. Raises ConfigError with file, line and key of the fault."""
    return load_toml(path, Experiment)


def read_experiment(data: Mapping[str, Any]) -> Experiment:
    """An experiment as a manifest keeps it. Raises ConfigError."""
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"the run's experiment is not one that this jvbtune reads: {error}") from error


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of experiment files."""
    schema = Experiment.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
