"""From a mix to what each endpoint of a conference sends and asks for."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from jvbtune.load.colibri import Sources
from jvbtune.load.mix import Mix, Video
from jvbtune.protocol import worker as messages


def _ssrc() -> int:
    return secrets.randbelow(1 << 31) + 1


def sources_of(mix: Mix) -> tuple[Sources, ...]:
    """Of each endpoint of a conference: the first ones have microphones and cameras."""
    return _sources(mix, mix.participants, mix.senders, mix.video.senders if mix.video else 0)


def sources_behind(mix: Mix) -> tuple[Sources, ...]:
    """Likewise of each that is behind the relay; none where there is no relay."""
    remote = mix.relayed
    return _sources(mix, remote.participants, remote.senders, remote.cameras) if remote is not None else ()


def _sources(mix: Mix, participants: int, microphones: int, cameras: int) -> tuple[Sources, ...]:
    video = mix.video if mix.meeting else None
    found = []
    for number in range(participants):
        layers = tuple((_ssrc(), _ssrc()) for _ in range(video.streams)) if video and number < cameras else ()
        found.append(
            Sources(
                audio=_ssrc() if number < microphones else None,
                layers=layers,
                desktop=video is not None and video.desktop,
                clients=mix.meeting,
                transport_cc=mix.meeting and mix.transport_cc,
                codec=video.codec if video is not None else "vp8",
                red=mix.meeting and mix.red,
                rewriting=mix.meeting and mix.ssrc_rewriting,
                mids=mix.meeting and mix.mid_demux,
                remb=mix.meeting and mix.remb,
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class Behind:
    """A relay by the id of the bridge at its other end, and who is there."""

    relay: str
    endpoints: tuple[str, ...]
    sources: tuple[Sources, ...]

    @property
    def cameras(self) -> list[str]:
        return [f"{name}-v0" for name, source in zip(self.endpoints, self.sources, strict=True) if source.layers]

    def sends(self) -> bool:
        return any(source.audio is not None or source.layers for source in self.sources)


def hear_nothing(names: Sequence[str], sources: Sequence[Sources], behind: Behind | None = None) -> list[str]:
    """The endpoints of a conference, and its relay, that nobody else sends anything to."""
    sends = [name for name, source in zip(names, sources, strict=True) if source.audio is not None or source.layers]
    remote = behind is not None and behind.sends()
    deaf = [name for name in names if not set(sends) - {name} and not remote]
    return deaf + ([behind.relay] if behind is not None and not sends else [])


def participants(
    mix: Mix,
    names: Sequence[str],
    sources: Sequence[Sources],
    *,
    seed: int,
    behind: Behind | None = None,
    channel: bool = True,
) -> list[messages.Participant]:
    """What the worker's clients are to do. ``seed``: of the conference, so that no two are alike. Without a
    ``channel`` nobody tells a camera which layers are needed: it sends those that the mix's views need."""
    video = mix.video
    heights = video.needed_heights(mix.participants) if video is not None and not channel else [-1] * len(names)
    cameras = [f"{name}-v0" for name, source in zip(names, sources, strict=True) if source.layers]
    cameras += behind.cameras if behind is not None else []
    found = []
    for number, (name, source) in enumerate(zip(names, sources, strict=True)):
        found.append(
            messages.Participant(
                endpoint=name,
                receives=len(names) - 1 + (behind is not None),
                microphone=_microphone(mix, source, number, seed),
                camera=_camera(mix, name, source, seed * 1000 + number * 10, heights[number] if source.layers else -1),
                view=view_of(video, number) if video is not None else None,
                cameras=[camera for camera in cameras if camera != f"{name}-v0"],
                transport_cc=mix.transport_cc,
                rtcp=mix.rtcp,
                nack_ratio=mix.nack_ratio,
                remb=mix.remb,
            )
        )
    return found


def view_of(video: Video, number: int) -> messages.View:
    """What the participant of that number sees: the first ones have somebody on stage."""
    if number < video.stage_views:
        return messages.View(video.stage_height, video.thumbnail_height, video.visible)
    return messages.View(0, video.grid_height, video.visible)


def peer(mix: Mix, names: Sequence[str], sources: Sequence[Sources], behind: Behind, *, seed: int) -> messages.Peer:
    """What the bridge behind the relay is to do, in the same conference."""
    remote, video = mix.relayed, mix.video
    assert remote is not None
    microphones = [_microphone(mix, source, mix.senders + at, seed) for at, source in enumerate(behind.sources)]
    first = seed * 1000 + 10 * len(names)
    cameras = [
        _camera(mix, name, source, first + 10 * at)
        for at, (name, source) in enumerate(zip(behind.endpoints, behind.sources, strict=True))
    ]
    return messages.Peer(
        endpoint=behind.relay,
        ssrc=_ssrc(),
        participants=remote.participants,
        receives=len(names),
        speakers=mix.senders + remote.senders,
        floor_seed=seed,
        microphones=[one for one in microphones if one is not None],
        cameras=[one for one in cameras if one is not None],
        watched=[
            messages.Watched(f"{name}-v0", source.layers[0][0], number if source.audio is not None else -1)
            for number, (name, source) in enumerate(zip(names, sources, strict=True))
            if source.layers
        ],
        stage_height=video.stage_height if video is not None and remote.stage_views else 0,
        small_height=video.small_height(remote.participants, remote.stage_views) if video is not None else 0,
        rtcp=mix.rtcp,
    )


def _microphone(mix: Mix, source: Sources, number: int, seed: int) -> messages.Microphone | None:
    if source.audio is None:
        return None
    speakers = mix.senders + (mix.relayed.senders if mix.relayed is not None else 0)
    return messages.Microphone(
        source.audio, number, speakers, seed, mix.stream_pps, mix.payload_bytes, mix.dtx, mix.red
    )


def _camera(mix: Mix, name: str, source: Sources, seed: int, max_height: int = -1) -> messages.Camera | None:
    if not source.layers or mix.video is None:
        return None
    video = mix.video
    ssrcs = source.layers * (len(video.layers) // video.streams)
    layers = [
        messages.Layer(primary, rtx, layer.height, layer.bitrate_kbps * 1000)
        for (primary, rtx), layer in zip(ssrcs, video.layers, strict=True)
    ]
    fps = video.frames_per_second
    return messages.Camera(f"{name}-v0", seed, fps, layers, video.desktop, max_height, video.codec)
