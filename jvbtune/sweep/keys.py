"""What each key of an experiment file means: for the JSON Schema, and for docs/reference/experiment.md.

One table for each model of ``jvbtune.sweep.experiment``; a test fails if a key is missing here, or is here and nowhere
else.
"""

from __future__ import annotations

from typing import Any

KEYS: dict[str, dict[str, str]] = {
    "Experiment": {
        "schema_version": "Version of this file format.",
        "name": "Name of the experiment. It is part of the run's id.",
        "description": "What the experiment is for, in one sentence.",
        "seed": "Seed of the random order. Default: jvbtune draws one and records it.",
        "blocks": "Repetitions of the whole sweep. Each block runs every step once, in an order of its own.",
        "lease_seconds": "The guard on the host puts everything back if jvbtune is silent for this long.",
        "load": "Which packet rates are held, and with which conferences.",
        "durations": "How long the load is held before and during a trial.",
        "settings": "Settings to sweep: one `[[settings]]` table for each. Without any, only packet rates are swept.",
        "profile": "Profiles of the bridge at some of the packet rates. Default: none.",
        "limits": "What the max packet rate has to keep.",
        "stop": "When to end before all blocks are done. Default: all blocks run.",
    },
    "LoadSection": {
        "packet_rates_pps": "Packet rates to hold (received + sent by the bridge). Give either these or `[load.auto]`.",
        "auto": "Find the packet rates on the host. Give either this table or `packet_rates_pps`.",
        "max_packet_rate_pps": "No trial offers more, whatever the search for packet rates finds.",
        "mix": "Shape of one conference: a table, or the name of a mix that comes with jvbtune, such as "
        '`"meeting-5"`. The load grows by adding conferences, never by raising the rate of a sender.',
        "other_mixes": "Further shapes, each held at two of the packet rates. They separate the cost of a packet in "
        "from that of a packet out and of an endpoint. Two further shapes are enough for that.",
        "burst": "One more trial for each step, in bursts: only bursts show the effect of a receive buffer.",
    },
    "MixSection": {
        "file": "Read the mix from this file, relative to the experiment. No other key may be given with it.",
        "name": "Name of the mix.",
        "description": "What the mix stands for, in one sentence.",
        "sources": "Where its figures come from.",
        "participants": "Participants of a conference.",
        "senders": "How many of them send audio.",
        "stream_pps": "Packets of audio per second of each sender.",
        "payload_bytes": "Payload of each packet of audio.",
        "dtx": "Send one packet in 400 ms while a microphone is silent. Only with video.",
        "red": "Redundant audio (RFC 2198): each packet has the one before it too. Only with video or a relay.",
        "video": "Cameras and what the receivers ask for. Without it the load is audio only.",
        "transport_cc": "Transport-wide congestion control: sequence numbers on every packet, feedback both ways. Only "
        "with video.",
        "remb": "Bandwidth estimates of clients and of the bridge (REMB), as browsers send them where transport-cc is "
        "not negotiated. Only with video and transport_cc = false.",
        "rtcp": "Send sender reports and receiver reports. Only with video.",
        "ssrc_rewriting": "Let the bridge send every source under an SSRC of its own and tell by the channel which "
        "one, as Jitsi Meet does by default. Only with video or a relay.",
        "mid_demux": "Let the bridge mark what it sends with the mid of the source's slot, as Jicofo allows since July "
        "2026 to clients that ask for it. Only with ssrc_rewriting.",
        "nack_ratio": "Ask again for this share of the video packets, as if they had been lost. Only with video.",
        "joins_per_second": "Mean rate at which participants join when load is added, a whole conference at a time. "
        "0: as fast as the bridge takes them.",
        "remote": "Participants of the same conference on a second bridge. jvbtune plays that bridge, at the other end "
        "of a relay. Default: none.",
    },
    "RemoteSection": {
        "participants": "Participants on the second bridge.",
        "senders": "How many of them send audio.",
        "cameras": "How many of them send video, as `[load.mix.video]` says.",
        "stage_views": "How many of them see the speaker large. The rest see a grid.",
    },
    "VideoSection": {
        "senders": "How many participants send video.",
        "codec": "`vp8` sends the layers as simulcast. `vp9` and `av1` send them as spatial layers under one SSRC.",
        "layers": "Simulcast or spatial layers, lowest first: one `[[load.mix.video.layers]]` table for each. Default: "
        "the three layers of that codec at 720p in Jitsi's clients.",
        "frames_per_second": "Frames per second of each layer.",
        "desktop": "The video is a shared screen.",
        "stage_views": "How many participants see the speaker large and the others as thumbnails. The rest see a grid.",
        "stage_height": "Height that a stage view asks for, for the speaker. 0: none.",
        "thumbnail_height": "Height that a stage view asks for, for each of the others. 0: none.",
        "grid_height": "Height that a grid asks for, for each participant. 0: none.",
        "visible": "Most videos that one participant receives at a time (lastN).",
    },
    "LayerSection": {
        "height": "Height of the picture, in pixels.",
        "bitrate_kbps": "Mean bit rate of the layer's payload. With `vp9` and `av1`: of all layers up to this one "
        "together, while nobody asks for a higher one.",
    },
    "AutoLevels": {
        "start_pps": "First packet rate. It is doubled until a limit is met.",
        "levels": "Number of packet rates to hold, spread below that limit.",
        "lowest_ratio": "The lowest of them, relative to the highest that met no limit.",
        "probe_seconds": "Seconds of each trial of this search.",
    },
    "BurstSection": {
        "packet_rate_pps": "Mean packet rate of the burst trial.",
        "burst_packets": "Packets that every sender sends at once. The burst must be several times what the smaller "
        "buffer holds (512 Opus packets at `rmem_max` 212992).",
        "trial_seconds": "Length of the burst trial. It needs several bursts; one comes every `burst_packets / "
        "stream_pps` seconds. Default: `durations.trial_seconds`.",
    },
    "Durations": {
        "warm_up_seconds": "Least seconds of load after a restart. 0 switches the warm-up off.",
        "max_warm_up_seconds": "Most seconds of load after a restart. The warm-up ends when the JVM's compilers are "
        "quiet. Default: six times `warm_up_seconds`.",
        "settle_seconds": "Seconds of load before each trial.",
        "trial_seconds": "Length of a trial.",
        "extend_seconds": "A trial that is not steady goes on once for this long. 0: never.",
    },
    "SettingSection": {
        "name": "Name of the setting, from [the list of settings](settings.md).",
        "values": "Values to try, one step for each. All other settings keep the value found on arrival.",
        "together_with": "Other settings to apply in the same steps.",
        "negative_control": "The setting is known to have no effect. If the sweep finds one, the method is at fault.",
    },
    "ProfileSection": {
        "at": 'Packet rates to profile at: `"lowest"`, `"highest"`, `"all"`, or numbers.',
        "steps": 'Steps to profile, as the plan names them: `"baseline"`, `"NAME=VALUE"`. Default: all.',
        "engine": "Profiler. `auto` takes the one that sees most on this host.",
        "event": "What to sample.",
        "slices": "Slices of each profile. Their spread is the noise that a comparison allows for.",
        "slice_seconds": "Length of a slice.",
        "interval_ms": "Time between two samples.",
        "blocks": "Profile in this many of the last blocks.",
        "cost": "Measure what profiling costs: a window without the profiler before each slice. It doubles the time.",
    },
    "LimitsSection": {
        "cpu_ratio": "CPU, as a share of the cores that the bridge may use.",
        "loss_ratio": "Packets lost of packets offered, end to end.",
        "delay_p99_ms": "99th percentile of the delay through the bridge.",
        "rx_thread_ratio": "CPU of the thread that receives, as a share of one core.",
        "gc_ratio": "Share of the time that the JVM stands still in garbage collections.",
    },
    "StopSection": {
        "min_blocks": "Blocks that run before the first look at the results.",
        "budget_minutes": "No block begins that would not end within this time. Default: no limit.",
        "relative_width": "The max packet rate is known well enough when its 95 % interval is this narrow: "
        "(high − low) / rate.",
    },
}


def describe(schema: dict[str, Any], top: str, keys: dict[str, dict[str, str]]) -> dict[str, Any]:
    """A JSON Schema of pydantic's with a description for each key. ``top``: the model at its root."""
    for model, described in keys.items():
        properties = (schema if model == top else schema["$defs"][model])["properties"]
        for key, text in described.items():
            properties[key]["description"] = text
    return schema
