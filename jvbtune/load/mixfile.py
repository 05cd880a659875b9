"""A mix as a file: what one conference carries, with the sources of its figures.

The same keys are the table ``[load.mix]`` of an experiment, which may name a file instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from jvbtune.errors import ConfigError
from jvbtune.load.media import red
from jvbtune.load.media.codecs import CODECS
from jvbtune.load.media.rtp import MAX_PAYLOAD_BYTES
from jvbtune.load.mix import LAYERS, Layer, Mix, Remote, Video
from jvbtune.text import did_you_mean
from jvbtune.toml import load_toml

Height = Annotated[int, Field(ge=0, le=2160)]
SUFFIX = ".toml"
MAX_RED_BYTES = (MAX_PAYLOAD_BYTES - red.OVERHEAD_BYTES) // 2


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LayerSection(_Strict):
    """One simulcast layer, or one spatial layer."""

    height: Annotated[int, Field(ge=90, le=2160)]
    bitrate_kbps: Annotated[float, Field(ge=20, le=20_000)]


class VideoSection(_Strict):
    """Cameras or a shared screen, and what the receivers ask the bridge for."""

    senders: Annotated[int, Field(ge=1, le=500)]
    codec: Literal["vp8", "vp9", "av1"] = "vp8"
    layers: Annotated[tuple[LayerSection, ...], Field(max_length=3)] = ()  #: none: at 720p in Jitsi's clients
    frames_per_second: Annotated[float, Field(ge=1, le=60)] = 30.0
    desktop: bool = False
    stage_views: Annotated[int, Field(ge=0, le=500)] = 0
    stage_height: Height = 720
    thumbnail_height: Height = 180
    grid_height: Height = 360
    visible: Annotated[int, Field(ge=0, le=100)] = 25

    @model_validator(mode="after")
    def _layers_ascend(self) -> VideoSection:
        heights = [layer.height for layer in self.layers]
        if heights != sorted(set(heights)):
            raise ValueError("layers must be in ascending order of height, each height once")
        rates = [layer.bitrate_kbps for layer in self.layers]
        if CODECS[self.codec].svc and rates != sorted(rates):
            raise ValueError(
                f"a layer of {self.codec} has the bit rate of all layers up to it, so a higher layer cannot have less "
                "than a lower one"
            )
        return self


class RemoteSection(_Strict):
    """Participants of the conference on a second bridge, behind a relay."""

    participants: Annotated[int, Field(ge=1, le=500)]
    senders: Annotated[int, Field(ge=0)] = 1
    cameras: Annotated[int, Field(ge=0)] = 0
    stage_views: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _they_take_part(self) -> RemoteSection:
        for key in ("senders", "cameras", "stage_views"):
            if getattr(self, key) > self.participants:
                raise ValueError(f"{key} = {getattr(self, key)} is more than participants = {self.participants}")
        return self


class MixSection(_Strict):
    """The shape of one conference; load grows by adding conferences of it."""

    file: str | None = None
    name: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")] = ""
    description: str = ""
    sources: tuple[str, ...] = ()
    participants: Annotated[int, Field(ge=2, le=500)] = 5
    senders: Annotated[int, Field(ge=1)] = 3
    stream_pps: Annotated[float, Field(gt=0, le=1000)] = 50.0
    payload_bytes: Annotated[int, Field(ge=16, le=1168)] = 80
    dtx: bool = False
    red: bool = False
    video: VideoSection | None = None
    transport_cc: bool = True
    remb: bool = False
    rtcp: bool = True
    ssrc_rewriting: bool = True
    mid_demux: bool = False
    nack_ratio: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    joins_per_second: Annotated[float, Field(ge=0, le=1000)] = 0.0
    remote: RemoteSection | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_a_file(cls, data: Any, info: ValidationInfo) -> Any:
        """``"meeting-5"``, ``{"file": "mixes/own.toml"}``: the mix of that file takes its place."""
        named = {"file": data} if isinstance(data, str) else data
        if not isinstance(named, dict) or named.get("file") is None:
            return data
        if set(named) != {"file"}:
            other = next(key for key in named if key != "file")
            raise ValueError(f"file and {other} cannot both be given: change {other} in a copy of the file")
        directory = (info.context or {}).get("directory", Path())
        return load_mix(str(named["file"]), directory).model_dump()

    @model_validator(mode="after")
    def _senders_take_part(self) -> MixSection:
        if self.senders > self.participants:
            raise ValueError(f"senders = {self.senders} is more than participants = {self.participants}")
        for key in ("senders", "stage_views") if self.video else ():
            if getattr(self.video, key) > self.participants:
                number = getattr(self.video, key)
                raise ValueError(f"video.{key} = {number} is more than participants = {self.participants}")
        if self.remote is not None and self.remote.cameras and self.video is None:
            raise ValueError("remote.cameras needs the table [video], which says what a camera sends")
        if self.remb and self.transport_cc:
            raise ValueError("remb needs transport_cc = false: a bridge takes REMB only from clients without it")
        if self.remb and self.video is None:
            raise ValueError("remb needs the table [video]: it is an estimate of the bandwidth for video")
        if self.mid_demux and not self.ssrc_rewriting:
            raise ValueError("mid_demux needs ssrc_rewriting = true: a bridge marks only what it rewrites")
        if self.mid_demux and self.video is None and self.remote is None:
            raise ValueError("mid_demux needs the table [video] or [remote]: without it, the bridge rewrites no SSRCs")
        if self.red and self.video is None and self.remote is None:
            raise ValueError("red needs the table [video] or [remote]: without it, clients send plain Opus only")
        if self.red and self.payload_bytes > MAX_RED_BYTES:
            raise ValueError(
                f"payload_bytes = {self.payload_bytes} is too long for red: {MAX_RED_BYTES} fit twice in a packet"
            )
        return self

    def mix(self, burst_packets: int = 1) -> Mix:
        video = None
        if self.video is not None:
            own = self.video.model_dump()
            own["layers"] = tuple(Layer(**layer) for layer in own["layers"]) or LAYERS[self.video.codec]
            video = Video(**own)
        return Mix(
            self.participants,
            self.senders,
            self.stream_pps,
            self.payload_bytes,
            burst_packets,
            name=self.name,
            dtx=self.dtx,
            red=self.red,
            video=video,
            transport_cc=self.transport_cc,
            remb=self.remb,
            rtcp=self.rtcp,
            ssrc_rewriting=self.ssrc_rewriting,
            mid_demux=self.mid_demux,
            nack_ratio=self.nack_ratio,
            joins_per_second=self.joins_per_second,
            remote=Remote(**self.remote.model_dump()) if self.remote is not None else None,
        )


def shipped_mixes() -> dict[str, Path]:
    """The mixes that come with jvbtune, by name: of the checkout, or of the installed package."""
    package = Path(__file__).parents[1]
    for directory in (package.parent / "experiments" / "mixes", package / "experiments" / "mixes"):
        found = {path.stem: path for path in sorted(directory.glob(f"*{SUFFIX}"))}
        if found:
            return found
    return {}


def load_mix(name: str, directory: Path = Path()) -> MixSection:
    """A mix by the name of a shipped one, or by the path of a file, relative to ``directory``. Raises ConfigError."""
    shipped = shipped_mixes()
    path = directory / name
    if name in shipped:
        path = shipped[name]
    elif not path.suffix:
        known = ", ".join(shipped)
        raise ConfigError(
            f"no mix is named {name!r}{did_you_mean(name, shipped)}",
            hint=f"The mixes are {known}. A file of your own is named with its suffix: {name}{SUFFIX}",
        )
    return load_toml(path, MixSection)
