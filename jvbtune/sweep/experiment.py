"""The experiment file: what a sweep is to find out.

TOML, validated with the line of each fault; its JSON Schema is ``jvbtune sweep --schema``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from jvbtune.errors import ConfigError
from jvbtune.fit.limits import Limits
from jvbtune.load.mixfile import MixSection
from jvbtune.settings.catalogue import CATALOGUE, PERF_SETTINGS
from jvbtune.sweep.keys import KEYS, describe
from jvbtune.text import did_you_mean
from jvbtune.toml import load_toml
from jvbtune.units import parse_rate

SettingValue = int | str
BASELINE = "baseline"

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: A number, or text such as ``50k``.
PacketRate = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(parse_rate),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}),
]
Ratio = Annotated[float, Field(gt=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AutoLevels(_Strict):
    """Find the levels on the host: double the packet rate until a limit is met, then spread levels below it."""

    start_pps: PacketRate = 4000
    levels: Annotated[int, Field(ge=2, le=20)] = 5
    lowest_ratio: Ratio = 0.3  #: of the highest packet rate that met no limit
    probe_seconds: Annotated[float, Field(ge=2, le=60)] = 6


class BurstSection(_Strict):
    """One more trial a step, in aligned bursts: what fills a receive buffer, which smooth load never does.

    A burst is ``burst_packets`` of every sender at once, every ``burst_packets / stream_pps`` seconds. To tell two
    buffers apart it has to be several times what the smaller one holds (rcvbuf / truesize: 512 packets of Opus at
    rmem_max 212992), and a trial needs several bursts: each is a replicate within its restart.
    """

    packet_rate_pps: PacketRate
    burst_packets: Annotated[int, Field(ge=2, le=1000)] = 64
    trial_seconds: Annotated[float, Field(ge=2, le=600)] | None = None


class LoadSection(_Strict):
    packet_rates_pps: tuple[PacketRate, ...] | None = None
    auto: AutoLevels | None = None
    max_packet_rate_pps: PacketRate = 200_000  #: no trial intends more, whatever the probe finds
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


#: Of audio, a real bridge and the lab's were compiled after 10 to 25 s of load, most often about this.
USUAL_WARM_UP_SECONDS = 18.0
#: Of meetings with video the lab's after 22 to 43 s, a real one after 45 to 51 s.
USUAL_WARM_UP_SECONDS_OF_VIDEO = 40.0


class Durations(_Strict):
    """Seconds. A restart is followed by load that is not measured, until the bridge's code is compiled."""

    warm_up_seconds: Annotated[float, Field(ge=0, le=600)] = 10  #: at least; 0: no warm-up at all,
    max_warm_up_seconds: Annotated[float, Field(ge=0, le=600)] | None = None  #: at most; six times that by default
    settle_seconds: Annotated[float, Field(ge=0, le=120)] = 30
    trial_seconds: Annotated[float, Field(ge=2, le=3600)] = 60
    extend_seconds: Annotated[float, Field(ge=0, le=3600)] = 60  #: once, when a trial is not steady; 0: never

    def expected_warm_up_seconds(self, *, video: bool) -> float:
        """What a warm-up takes as a rule."""
        usual = USUAL_WARM_UP_SECONDS_OF_VIDEO if video else USUAL_WARM_UP_SECONDS
        return min(max(self.warm_up_seconds, usual), self.longest_warm_up_seconds())

    def longest_warm_up_seconds(self) -> float:
        if self.warm_up_seconds == 0:
            return 0.0
        return self.max_warm_up_seconds if self.max_warm_up_seconds is not None else 6 * self.warm_up_seconds

    @model_validator(mode="after")
    def _least_before_most(self) -> Durations:
        least, longest = self.warm_up_seconds, self.longest_warm_up_seconds()
        if longest < least:
            raise ValueError(f"max_warm_up_seconds = {longest:g} is below warm_up_seconds = {least:g}")
        return self


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
            raise ValueError(f"unknown setting {name!r}{did_you_mean(name, swept)}; known are {', '.join(swept)}")
        return name

    @field_validator("values")
    @classmethod
    def _values_in_range(cls, values: tuple[SettingValue, ...], info: ValidationInfo) -> tuple[SettingValue, ...]:
        name = info.data.get("name")
        return values if name is None else tuple(CATALOGUE[name].read(value) for value in values)

    @field_validator("together_with")
    @classmethod
    def _others_in_range(cls, values: dict[str, SettingValue]) -> dict[str, SettingValue]:
        for name in values:
            if name not in CATALOGUE:
                raise ValueError(f"unknown setting {name!r}{did_you_mean(name, CATALOGUE)}")
        return {name: CATALOGUE[name].read(value) for name, value in values.items()}

    @model_validator(mode="after")
    def _each_once(self) -> SettingSection:
        if self.name in self.together_with:
            raise ValueError(f"together_with names {self.name} itself")
        if len({str(value) for value in self.values}) < len(self.values):
            raise ValueError("values has the same value twice")
        return self


def step_name(setting: str, value: SettingValue) -> str:
    """As the plan names the step of one value."""
    return f"{setting}={str(value).replace(' ', '-')}"


class ProfileSection(_Strict):
    """Profiled trials: in the last ``blocks`` blocks, after each step's measured trials. Their figures enter no fit."""

    at: Annotated[tuple[Literal["lowest", "highest", "all"] | PacketRate, ...], Field(min_length=1)] = (
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

    @field_validator("steps")
    @classmethod
    def _as_the_plan_names_them(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        parts = [step.partition("=") for step in steps]
        return tuple(
            step_name(name, CATALOGUE[name].read(value)) if name in CATALOGUE else name + sign + value
            for name, sign, value in parts
        )


class LimitsSection(_Strict):
    """What the max packet rate has to keep. The defaults are those of ``fit.limits``."""

    cpu_ratio: Ratio = Limits.cpu_ratio
    loss_ratio: Annotated[float, Field(gt=0, lt=1)] = Limits.loss_ratio
    delay_p99_ms: PositiveFloat = Limits.delay_p99_ms
    rx_thread_ratio: Ratio = Limits.rx_thread_ratio
    gc_ratio: Ratio = Limits.gc_ratio

    def limits(self) -> Limits:
        return Limits(**self.model_dump())


class StopSection(_Strict):
    """End before ``blocks`` are done: when every question is answered, or the time is spent."""

    min_blocks: Annotated[int, Field(ge=2, le=50)] = 3  #: no look at the results before that many
    budget_minutes: PositiveFloat | None = None  #: no further block is begun that would not fit
    relative_width: Ratio | None = 0.2  #: of the max packet rate's interval, (high − low) / rate

    def looks(self, blocks: int) -> int:
        """How often the results are looked at, the last time after all ``blocks``."""
        return max(1, blocks - self.min_blocks + 1)


@dataclass(frozen=True)
class Needs:
    """What traffic mixes need of a bridge, beside that it takes media."""

    channel: bool = False
    relays: bool = False

    @classmethod
    def of(cls, sections: Iterable[MixSection]) -> Needs:
        mixes = [section.mix() for section in sections]
        return cls(any(mix.meeting for mix in mixes), any(mix.relayed is not None for mix in mixes))


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
                steps.append((step_name(section.name, value), {section.name: value, **section.together_with}))
        return steps

    def as_found(self, found: Mapping[str, Any]) -> tuple[str, ...]:
        """The steps that would set what the host has already, by ``found``: they are the baseline again. A negative
        control's are wanted nevertheless: they show what two equal steps differ by."""
        controls = {section.name for section in self.settings if section.negative_control}
        return tuple(
            name
            for name, values in self.combinations()
            if values
            and not controls & values.keys()
            and all(str(found.get(setting)) == str(value) for setting, value in values.items())
        )

    def touched_settings(self) -> tuple[str, ...]:
        """Every setting that a step may write."""
        names: dict[str, None] = {}
        for section in self.settings:
            names[section.name] = None
            names.update(dict.fromkeys(section.together_with))
        return tuple(names)

    def needs(self) -> Needs:
        """What its mixes need."""
        return Needs.of((self.load.mix, *self.load.other_mixes))

    def audio_only(self) -> bool:
        """Whether no mix of it has video."""
        return all(mix.video is None for mix in (self.load.mix, *self.load.other_mixes))


def load_experiment(path: Path) -> Experiment:
    """Read an experiment file. Raises ConfigError with file, line and key of the fault."""
    return load_toml(path, Experiment)


def read_experiment(data: Mapping[str, Any]) -> Experiment:
    """An experiment as a manifest keeps it. Raises ConfigError."""
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"the run's experiment is not one that this jvbtune reads: {error}") from error


def with_mix(experiment: Experiment, mix: MixSection) -> Experiment:
    """The same experiment with another traffic mix; further mixes are left out. Raises ConfigError."""
    data = experiment.model_dump()
    data["load"] |= {"mix": mix.model_dump(), "other_mixes": ()}
    return read_experiment(data)


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of experiment files."""
    schema = describe(Experiment.model_json_schema(), "Experiment", KEYS)
    mix = schema["$defs"]["LoadSection"]["properties"]["mix"]
    mix["anyOf"] = [{"type": "string"}, {"$ref": mix.pop("$ref")}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
