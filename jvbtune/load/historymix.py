"""A traffic mix from what a bridge carried: the conference whose packets and bits are nearest to an average one's.

A bridge tells sums (packets and bits each way, endpoints, conferences, who sends), not who watches what. So
conferences near the average in size are tried with each kind of view that Jitsi's clients have, the cameras' bit rates
are scaled to the bits that came in, and the one that is nearest in all quantities is taken. How near it is, is part of
the result. A shared screen cannot be told from a camera by sums: it becomes one.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jvbtune.errors import FormatError
from jvbtune.fit.history import Carried, busy_traffic, open_history
from jvbtune.load.mix import VP8_LAYERS, Layer, Mix, Remote, Video
from jvbtune.load.mixfile import MixSection

#: Fewer cameras than one in so many conferences are none.
LEAST_CAMERAS = 0.05
HEIGHTS = (180, 360, 720)
VISIBLE = (25, 9, 4)
SCALES = (0.25, 4.0)  #: of the cameras' usual bit rates
MOST_PARTICIPANTS = 100
#: Beyond this, as a ratio, a quantity of the mix is not what was carried.
NEAR_RATIO = 1.1
#: Less than this share of relayed packets is none.
LEAST_RELAYED = 0.01
#: How much a participant or a sender more or less counts beside packets and bits, as a weight of squares.
SENDERS_WEIGHT = 0.25


@dataclass(frozen=True)
class Quantity:
    """Of one endpoint: as it was carried, and as the mix makes it."""

    name: str
    unit: str
    carried: float
    mix: float

    @property
    def ratio(self) -> float:
        return self.mix / self.carried


@dataclass(frozen=True)
class HistoryMix:
    """``quantities``: packets, and bits if the file has them; ``notes``: what the mix does not show."""

    section: MixSection
    quantities: tuple[Quantity, ...]
    notes: tuple[str, ...]


def mix_of_history(path: Path) -> HistoryMix:
    """From a file of ``jvbtune history``, or an export with JVB's names. Raises ConfigError, FormatError."""
    history = open_history(path)
    carried = busy_traffic(history)
    if carried.participants > MOST_PARTICIPANTS:
        raise FormatError(
            f"{carried.participants:.0f} endpoints a conference are more than the {MOST_PARTICIPANTS} of one mix",
            file=path,
            hint="Are endpoints and conferences of the same bridge? Else write a mix by hand: jvbtune mix meeting-20.",
        )
    mix, quantities = nearest_mix(carried)
    hosts = sorted(set(history.rows["host"].drop_nulls()))
    of_hosts = f" of {', '.join(hosts[:3])}{', …' if len(hosts) > 3 else ''}" if hosts else ""
    section = _section(replace(mix, name=_name(path))).model_copy(
        update={
            "description": "The average conference of the busiest moments of a history.",
            "sources": (f"{path.name}: the {carried.rows} busiest of {history.rows.height} rows{of_hosts}.",),
        }
    )
    return HistoryMix(section, quantities, _notes(carried, quantities))


def nearest_mix(carried: Carried) -> tuple[Mix, tuple[Quantity, ...]]:
    """The mix, and how near each of its quantities is."""
    found = [(mix, _quantities(carried, mix)) for mix in _candidates(carried)]
    return min(found, key=lambda one: _distance(carried, *one))


def _candidates(carried: Carried) -> Iterator[Mix]:
    size = carried.participants
    for participants in sorted({max(2, math.floor(size)), max(2, math.ceil(size)), max(2, math.ceil(size) + 1)}):
        for senders in _near(carried.audio_senders, carried, participants, least=1):
            base = Mix(participants, senders)
            if not _has_video(carried):
                base = replace(base, stream_pps=_audio_rate(carried, base))
                yield from (replace(base, remote=remote) for remote in _behind_relays(carried, base, 0))
                continue
            for cameras in _near(carried.video_senders, carried, participants, least=1):
                yield from _with_cameras(carried, base, cameras)


def _relayed(carried: Carried) -> bool:
    """Whether the file tells enough of relays to model one: packets from other bridges and to them."""
    return carried.relay_ratio > LEAST_RELAYED and bool(carried.relay_in_pps) and bool(carried.relay_out_pps)


def _behind_relays(carried: Carried, base: Mix, cameras: int) -> Iterator[Remote | None]:
    """Who may be on other bridges: they send as much to this one as its own participants send to them, times the ratio
    of the packets that were relayed in and out. All other bridges are one."""
    if not _relayed(carried):
        yield None
        return
    assert carried.relay_in_pps is not None
    assert carried.relay_out_pps is not None
    ratio = carried.relay_in_pps / carried.relay_out_pps
    known = carried.remote_participants
    there = known * base.participants / carried.participants if known else base.participants * ratio
    participants = min(MOST_PARTICIPANTS, max(1, round(there)))

    def near(senders: int) -> list[int]:
        return sorted({min(participants, number(senders * ratio)) for number in (math.floor, math.ceil)})

    for senders, some in itertools.product(near(base.senders), near(cameras)):
        if senders or some:
            yield Remote(participants, senders, some)


def _near(known: float | None, carried: Carried, participants: int, *, least: int) -> list[int]:
    """Whole numbers of senders around what was carried; all of them where that is not known."""
    if known is None:
        return sorted({max(least, round(participants * part / 6)) for part in range(7)})
    share = known * participants / carried.participants
    return sorted({min(participants, max(least, number)) for number in (math.floor(share), math.ceil(share))})


def _has_video(carried: Carried) -> bool:
    """By the senders; where these are not known, by the size of a packet: Opus has at most 128 kbit/s."""
    if carried.video_senders is not None:
        return carried.video_senders >= LEAST_CAMERAS
    return carried.in_bps is not None and carried.in_bps / 8 / carried.in_pps > 400


def _audio_rate(carried: Carried, base: Mix) -> float:
    """Packets a second of a stream, so that packets in are right: 50 of Opus, fewer where many are silent."""
    share = carried.in_pps / carried.participants
    return min(1000.0, max(1.0, round(share * base.participants / base.senders, 1)))


def _with_cameras(carried: Carried, base: Mix, cameras: int) -> Iterator[Mix]:
    stages = sorted({round(base.participants * part / 4) for part in range(5)})
    for grid, stage_views, visible in itertools.product(HEIGHTS, stages, VISIBLE):
        if visible < VISIBLE[0] and visible >= base.participants - 1:
            continue  # the same as all
        video = Video(cameras, VP8_LAYERS, stage_views=stage_views, grid_height=grid, visible=visible)
        for remote in _behind_relays(carried, base, cameras):
            if remote is not None:  # they look at it as those here do
                share = remote.participants / base.participants
                remote = replace(remote, stage_views=min(remote.participants, round(stage_views * share)))
            scale = _scale(carried, replace(base, video=video, remote=remote))
            layers = tuple(Layer(layer.height, round(layer.bitrate_kbps * scale, 1)) for layer in VP8_LAYERS)
            yield replace(base, video=replace(video, layers=layers), remote=remote)


def _scale(carried: Carried, mix: Mix) -> float:
    """Of the cameras' bit rates, so that the bits that come in are right."""
    if carried.in_bps is None or mix.video is None:
        return 1.0
    video = sum(layer.bitrate_kbps * 1000 for layer in mix.video.sent(mix.participants, mix.relayed))
    video *= mix.local_share()
    wanted = carried.in_bps * mix.participants / carried.participants - (mix.in_bps() - video)
    return min(max(wanted / video, SCALES[0]), SCALES[1])


def _quantities(carried: Carried, mix: Mix) -> tuple[Quantity, ...]:
    """Of an endpoint, not of a conference: a bridge's cost is of packets and endpoints."""
    rows = [("packets in", "pps", carried.in_pps, mix.in_pps()), ("packets out", "pps", carried.out_pps, mix.out_pps())]
    if carried.in_bps is not None and carried.out_bps is not None and mix.video is not None:
        rows += [
            ("bits in", "bit/s", carried.in_bps, mix.in_bps()),
            ("bits out", "bit/s", carried.out_bps, mix.out_bps()),
        ]
    if mix.relayed is not None:
        rows += [
            ("from relays", "pps", carried.relay_in_pps or 0.0, mix.relay_in_pps()),
            ("to relays", "pps", carried.relay_out_pps or 0.0, mix.relay_out_pps()),
        ]
    return tuple(
        Quantity(name, unit, max(1e-9, was / carried.participants), is_now / mix.participants)
        for name, unit, was, is_now in rows
    )


def _distance(carried: Carried, mix: Mix, quantities: tuple[Quantity, ...]) -> float:
    apart = sum(math.log(one.ratio) ** 2 for one in quantities)
    apart += SENDERS_WEIGHT * math.log(mix.participants / carried.participants) ** 2
    senders = [(carried.audio_senders, mix.senders), (carried.video_senders, mix.video.senders if mix.video else 0)]
    for was, is_now in senders:
        if was is not None:
            difference = is_now / mix.participants - was / carried.participants
            apart += SENDERS_WEIGHT * difference**2
    return apart


def _notes(carried: Carried, quantities: tuple[Quantity, ...]) -> tuple[str, ...]:
    notes = [
        f"{one.name}: {abs(one.ratio - 1):.0%} {'more' if one.ratio > 1 else 'less'} than recorded"
        for one in quantities
        if max(one.ratio, 1 / one.ratio) > NEAR_RATIO
    ]
    if carried.in_bps is None:
        notes.append("the file has no bit rates, so the cameras have Jitsi's usual ones" * _has_video(carried))
    if carried.relay_ratio > LEAST_RELAYED and not _relayed(carried):
        told = carried.relay_in_pps is not None and carried.relay_out_pps is not None
        why = (
            "because all of them went in one direction"
            if told
            else "because the file does not tell what came from them (relay_in_pps) and what went to them "
            "(relay_out_pps)"
        )
        notes.append(f"{carried.relay_ratio:.0%} of the packets were relayed; the mix has no relays, {why}")
    return tuple(note for note in notes if note)


def _section(mix: Mix) -> MixSection:
    fields: dict[str, Any] = {"participants": mix.participants, "senders": mix.senders, "stream_pps": mix.stream_pps}
    fields |= {"name": mix.name, "remote": None if mix.remote is None else asdict(mix.remote)}
    if mix.video is None:
        return MixSection.model_validate(fields)
    video = mix.video
    return MixSection.model_validate(
        fields
        | {
            "video": {
                "senders": video.senders,
                "layers": [{"height": one.height, "bitrate_kbps": one.bitrate_kbps} for one in video.layers],
                "stage_views": video.stage_views,
                "grid_height": video.grid_height,
                "visible": video.visible,
            }
        }
    )


def _name(path: Path) -> str:
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in path.stem)
    return plain.strip("._-")[:64] or "history"


def to_toml(built: HistoryMix) -> str:
    """The mix as a file that ``load_mix`` reads, with what was carried beside it."""
    section, lines = built.section, ["# Recorded traffic as a traffic mix. For each endpoint:"]
    lines += [f"#   {q.name}: {q.carried:,.1f} {q.unit} recorded, {q.mix:,.1f} in this mix" for q in built.quantities]
    lines += [f"# {note}" for note in built.notes]
    lines += [f"name = {json.dumps(section.name)}", f"description = {json.dumps(section.description)}"]
    lines += [f"sources = {json.dumps(list(section.sources))}"]
    lines += [f"{key} = {getattr(section, key)}" for key in ("participants", "senders", "stream_pps")]
    if section.video is not None:
        video = section.video
        lines += ["[video]"]
        keys = ("senders", "stage_views", "grid_height", "visible")
        lines += [f"{key} = {getattr(video, key)}" for key in keys]
        lines += [f"[[video.layers]]\nheight = {one.height}\nbitrate_kbps = {one.bitrate_kbps}" for one in video.layers]
    if section.remote is not None:
        lines += ["[remote]", *(f"{key} = {value}" for key, value in section.remote.model_dump().items())]
    return "\n".join(lines) + "\n"
