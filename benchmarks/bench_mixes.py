"""What a packet costs a real bridge, by what it carries. Needs root, and $JVBTUNE_JVB_HOME.

    bench_mixes.py run FILE [--blocks 4] [--mix NAME ...]     adds blocks to FILE; each takes about 13 minutes
    bench_mixes.py show FILE                                  the tables

A block has each mix once, in a random order, each on a bridge that was just restarted, at one packet rate, which is
another one in the next block: the conferences follow from a look at what one of them causes, and there is at least one.
The window begins when the JVM's compilers are quiet. CPU is the bridge's process without these compilers, of one pinned
core; a packet is one that the bridge received or sent, RTCP included, by its own queue counters.

    audio          five microphones of Opus
    vp8            five cameras in one layer of 360 lines that all others ask for, one microphone, no RTCP of clients
    vp8-pairs      two such participants
    vp8-feedback   as vp8, with transport-cc both ways, sender and receiver reports
    rewriting      the same, and the bridge rewrites SSRCs; of the other loads it does not
    nack           the same, and one video packet in a hundred is asked for again
    simulcast      as vp8-feedback, in three layers, of which each receiver has one large and the others small
    meeting-5, meeting-20, town-hall-60    the shipped mixes; the last one has half of its participants behind a relay
    pairs          two participants, two microphones: as many packets in as out
    wide           ten participants, two microphones: nine packets out for each in
    relay-out      pairs, and each packet goes to a relay too
    relay-in       two participants, one microphone here and three behind a relay

With all of them there is a second table: what a packet costs by its direction and by what it carries, and an endpoint
beside its packets, with what 95 % of redrawn restarts give (narrower than an interval with so few). Least squares of
relative errors, costs not negative;
what grows with the root of the packet rate, and what a bridge uses at rest, are told apart from them (docs/method.md: a
real bridge is concave). Which costs are told apart is chosen by leaving out one simple mix at a time.

The third table is a proof: these costs, fitted to the simple mixes, predict the CPU of the shipped ones, of which the
fit saw nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from scipy.optimize import nnls
from scipy.stats import t as student

from jvbtune.agent.jvmthreads import COMPILER, kind_of
from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import Generator, IntendedLoad, Mix, Offered, open_generator
from jvbtune.load.mix import VP8_LAYERS, Layer, Remote, Video
from jvbtune.load.mixfile import load_mix

Floats = npt.NDArray[np.float64]

PACKET_RATES_PPS, PILOT_PPS = (8_000.0, 16_000.0, 24_000.0), 2_500.0
LOOK_SECONDS, WINDOW_SECONDS = 4.0, 8.0
QUIET_RATIO, MOST_LOOKS = 0.05, 12  #: compilers, of the window's CPU seconds
MOST_LOSS_RATIO = 0.001
#: A mix is left out in turn if another one has at least this much of whatever it has.
SHARED = 0.2
HELD_OUT = ("meeting-5", "meeting-20", "town-hall-60")
VP8 = Mix(5, 1, video=Video(5, (Layer(360, 500.0),)), transport_cc=False, rtcp=False, ssrc_rewriting=False)
VP8_PAIRS = replace(VP8, participants=2, video=Video(2, (Layer(360, 500.0),)))
FEEDBACK = replace(VP8, transport_cc=True, rtcp=True)
SIMULCAST = replace(FEEDBACK, video=Video(5, VP8_LAYERS, stage_views=5))
MIXES = {
    "audio": Mix(5, 5),
    "vp8": VP8,
    "vp8-pairs": VP8_PAIRS,
    "vp8-feedback": FEEDBACK,
    "rewriting": replace(FEEDBACK, ssrc_rewriting=True),
    "nack": replace(FEEDBACK, nack_ratio=0.01),
    "simulcast": SIMULCAST,
    **{name: replace(load_mix(name).mix(), ssrc_rewriting=False) for name in HELD_OUT},
    "pairs": Mix(2, 2),
    "wide": Mix(10, 2),
    "relay-out": Mix(2, 2, remote=Remote(1, 0), ssrc_rewriting=False),
    "relay-in": Mix(2, 1, remote=Remote(3, 3), ssrc_rewriting=False),
}
#: What a packet costs, and beside that one of video or RTCP.
COSTS = {
    "one": "at rest, each second",
    "root_pps": "root of the packet rate",
    "in_pps": "packet in",
    "out_pps": "packet out",
    "relay_in_pps": "packet from a relay",
    "relay_out_pps": "packet to a relay",
    "endpoints": "endpoint, each second",
    "video_in_pps": "video packet in, more",
    "video_out_pps": "video packet out, more",
    "video_pps": "video packet, more",
    "rtcp_pps": "RTCP packet, more",
}
REDRAWN = 2000
WAYS = ("one", "root_pps", "in_pps", "out_pps", "relay_in_pps", "relay_out_pps")
#: Which costs are told apart, from few to many.
MODELS = (
    WAYS,
    (*WAYS, "endpoints"),
    (*WAYS, "video_pps"),
    (*WAYS, "video_pps", "endpoints"),
    (*WAYS, "video_pps", "rtcp_pps"),
    (*WAYS, "video_in_pps", "video_out_pps"),
    (*WAYS, "video_pps", "rtcp_pps", "endpoints"),
    (*WAYS, "video_in_pps", "video_out_pps", "rtcp_pps"),
    (*WAYS, "video_in_pps", "video_out_pps", "rtcp_pps", "endpoints"),
)


def cpu_seconds(pid: int) -> tuple[float, float]:
    """Of the bridge's process without its JVM's compilers, and of these."""
    process = psutil.Process(pid)
    names = {int(task.name): (task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir()}
    compiling = sum(
        thread.user_time + thread.system_time
        for thread in process.threads()
        if kind_of(names.get(thread.id, "")) == COMPILER
    )
    return float(sum(process.cpu_times()[:2])) - compiling, compiling


def warm(generator: Generator, load: IntendedLoad, pid: int) -> Offered:
    """Hold a load until the compilers are quiet, or long enough; the last look at it."""
    for _ in range(MOST_LOOKS):
        before = cpu_seconds(pid)[1]
        offered = generator.offer(load, LOOK_SECONDS, settle_seconds=2.0)
        if cpu_seconds(pid)[1] - before < QUIET_RATIO * LOOK_SECONDS and not offered.loss_ratio:
            break
    return offered


def measure(mix: Mix, name: str, packet_rate_pps: float) -> dict[str, Any]:
    """One restart: a new lab with a real bridge."""
    with Lab.up("bench-mixes", bridge_home=Path(os.environ["JVBTUNE_JVB_HOME"])) as lab:
        entry = lab.entry()
        pid = lab.bridge_pid()
        assert pid is not None
        with connect(entry) as host, open_generator(entry, host) as generator:
            client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
            load = IntendedLoad.for_packet_rate(PILOT_PPS, mix)
            pilot = generator.offer(load, LOOK_SECONDS, settle_seconds=4.0)
            each = pilot.offered_pps / load.conferences if mix.meeting else mix.packet_rate_pps()
            load = IntendedLoad(max(1, round(packet_rate_pps / each)), mix)
            warm(generator, load, pid)
            used: list[float] = []

            def edge() -> Any:
                used.append(cpu_seconds(pid)[0])
                return client.queue_stats()

            offered = generator.offer(load, WINDOW_SECONDS, settle_seconds=1.0, edge=edge)
        before, after = offered.extra.pop("edges")
        counts = bridge_counts(before, after, offered.duration_seconds, offered.relayed_in)
        spent = used[1] - used[0]
        return {
            "mix": name,
            "asked_pps": packet_rate_pps,
            "conferences": load.conferences,
            "endpoints": offered.endpoints,
            "duration_seconds": offered.duration_seconds,
            "in_pps": counts.in_pps,
            "out_pps": counts.out_pps,
            "relay_in_pps": counts.relay_in_pps,
            "relay_out_pps": counts.relay_out_pps,
            "cpu_cores": spent / offered.duration_seconds,
            "us_per_packet": spent / offered.duration_seconds / counts.packet_rate_pps * 1e6,
            "loss_ratio": offered.loss_ratio,
            "delay_p99_ms": offered.delay_ms.get("p99"),
            "generator_limited": offered.generator_limited_because,
            "generator_cpu_ratio": offered.cpu_ratio,
            "load_average": os.getloadavg()[0],
            "kinds": offered.extra["kinds"],
            "meetings": offered.extra["meetings"],
        }


def run(path: Path, blocks: int, names: list[str]) -> None:
    for block in range(blocks):
        rate = PACKET_RATES_PPS[block % len(PACKET_RATES_PPS)]
        for name in random.sample(names, len(names)):
            row = measure(MIXES[name], name, rate)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            packets = sum(row[f"{way}_pps"] for way in ("in", "out", "relay_in", "relay_out"))
            print(f"{name:<14} {packets:8.0f} pps  {row['us_per_packet']:6.1f} µs", flush=True)


def show(path: Path) -> None:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row for row in found if not row["generator_limited"] and row["loss_ratio"] < MOST_LOSS_RATIO]
    print(f"{len(found)} restarts measured, {len(found) - len(rows)} of them not used: loss, or a late generator\n")
    rows = [with_kinds(row) for row in rows]
    print_costs(rows)
    print_prediction(rows)


def print_costs(rows: list[dict[str, Any]]) -> None:
    """µs of CPU a packet at each packet rate, and against audio: by each block's own."""
    rates = "".join(f" at {rate:.0f} pps |" for rate in PACKET_RATES_PPS)
    print(f"| load | in : out |{rates} against audio (95 % interval) |")
    print("| --- " * (3 + len(PACKET_RATES_PPS)) + "|")
    audio = {rate: mean_cost(rows, "audio", rate) for rate in PACKET_RATES_PPS}
    for name in MIXES:
        of_mix = [row for row in rows if row["mix"] == name]
        if not of_mix:
            continue
        costs = {rate: mean_cost(rows, name, rate) for rate in PACKET_RATES_PPS}
        cells = "".join(f" {cost:.1f} |" if (cost := costs[rate]) is not None else " |" for rate in PACKET_RATES_PPS)
        each = [row["us_per_packet"] / of for row in of_mix if (of := audio[row["asked_pps"]]) is not None]
        low, high = interval(each) if each else (float("nan"), float("nan"))
        against = f"{statistics.mean(each):.2f} ({low:.2f} to {high:.2f})" if each else ""
        share = statistics.mean(row["out_pps"] / row["in_pps"] for row in of_mix)
        print(f"| {name} | 1 : {share:.1f} |{cells} {against} |")


def mean_cost(rows: list[dict[str, Any]], mix: str, asked_pps: float) -> float | None:
    found = [row["us_per_packet"] for row in rows if (row["mix"], row["asked_pps"]) == (mix, asked_pps)]
    return statistics.mean(found) if found else None


def with_kinds(row: dict[str, Any]) -> dict[str, Any]:
    """With packets per second of video and RTCP, which the generator counted; those of a relay are among them."""
    kinds, seconds = row["kinds"], row["duration_seconds"]
    of = {
        kind: (kinds.get(kind, {}).get("sent", 0), kinds.get(kind, {}).get("expected", 0)) for kind in ("video", "rtcp")
    }
    video_in, video_out = (count / seconds for count in of["video"])
    more = {"video_in_pps": video_in, "video_out_pps": video_out, "video_pps": video_in + video_out}
    total = sum(row[way] for way in ("in_pps", "out_pps", "relay_in_pps", "relay_out_pps"))
    return row | more | {"rtcp_pps": sum(of["rtcp"]) / seconds, "one": 1.0, "root_pps": total**0.5}


def fitted(rows: list[dict[str, Any]], names: Sequence[str]) -> Floats:
    """(names,) µs of CPU each, none below 0, by least squares of relative errors; each mix has the same weight."""
    count = Counter(row["mix"] for row in rows)
    spent = np.array([row["cpu_cores"] * 1e6 for row in rows])
    weights = np.array([count[row["mix"]] ** -0.5 for row in rows])
    design = np.array([[row[name] for name in names] for row in rows]) * (weights / spent)[:, None]
    scale = np.maximum(design.max(axis=0), 1e-300)
    return np.asarray(nnls(design / scale, weights)[0] / scale)


def redrawn(rows: list[dict[str, Any]], names: Sequence[str]) -> Floats:
    """(names, 2) 95 % intervals of the costs: restarts of each mix are drawn anew, with replacement."""
    rng = np.random.default_rng(0)
    mixes = [[row for row in rows if row["mix"] == mix] for mix in sorted({row["mix"] for row in rows})]
    found = [
        fitted([of_mix[at] for of_mix in mixes for at in rng.integers(len(of_mix), size=len(of_mix))], names)
        for _ in range(REDRAWN)
    ]
    return np.asarray(np.percentile(found, [2.5, 97.5], axis=0).T)


def predicted(rows: list[dict[str, Any]], names: Sequence[str], costs: Floats) -> float:
    """CPU, in cores: the mean over these restarts."""
    return float(np.mean(np.array([[row[name] for name in names] for row in rows]) @ costs)) / 1e6


def left_out_error(rows: list[dict[str, Any]], names: Sequence[str]) -> float:
    """Root mean square of the relative errors, of each mix by the others."""
    errors = []
    for mix in sorted({row["mix"] for row in rows}):
        of_mix = [row for row in rows if row["mix"] == mix]
        others = [row for row in rows if row["mix"] != mix]
        if any(max(row[name] for row in others) < SHARED * max(row[name] for row in of_mix) for name in names):
            continue  # nothing else tells of what only this one has
        costs = fitted(others, names)
        errors.append(predicted(of_mix, names, costs) / statistics.mean(row["cpu_cores"] for row in of_mix) - 1)
    return float(np.sqrt(np.mean(np.square(errors))))


def print_prediction(rows: list[dict[str, Any]]) -> None:
    """Where each simple mix was measured, and a shipped one."""
    simple = [row for row in rows if row["mix"] not in (*HELD_OUT, "rewriting")]
    held_out = [name for name in HELD_OUT if any(row["mix"] == name for row in rows)]
    if {row["mix"] for row in simple} != set(MIXES) - {*HELD_OUT, "rewriting"} or not held_out:
        return
    errors = {names: left_out_error(simple, names) for names in MODELS}
    print_choice(rows, simple, held_out, errors)
    names = min(errors, key=errors.__getitem__)
    costs = fitted(simple, names)
    print(f"\n| cost of a (each mix left out: off by {errors[names]:.1%}) | µs of CPU (95 % of redrawn restarts) |")
    print("| --- | --- |")
    for name, cost, (low, high) in zip(names, costs, redrawn(simple, names), strict=True):
        print(f"| {COSTS[name]} | {cost:.1f} ({low:.1f} to {high:.1f}) |")
    print()
    print("| load | CPU measured, % of a core | predicted | off by |\n| --- | --- | --- | --- |")
    for name in held_out:
        measured, expected = measured_and_predicted(rows, name, names, costs)
        print(f"| {name} | {measured:.1%} | {expected:.1%} | {expected / measured - 1:+.1%} |")


def print_choice(
    rows: list[dict[str, Any]],
    simple: list[dict[str, Any]],
    held_out: list[str],
    errors: dict[tuple[str, ...], float],
) -> None:
    """What each choice of costs predicts: of simple loads that it has not seen, then of the mixes that none has."""
    heads = "".join(f" {name} |" for name in held_out)
    print(f"\n| told apart beside the packets' ways | a load left out |{heads}\n{'| --- ' * (2 + len(held_out))}|")
    for names, error in errors.items():
        costs = fitted(simple, names)
        pairs = [measured_and_predicted(rows, name, names, costs) for name in held_out]
        cells = "".join(f" {expected / measured - 1:+.1%} |" for measured, expected in pairs)
        told = ", ".join(
            COSTS[name].removesuffix(", more").removesuffix(", each second") for name in names[len(WAYS) :]
        )
        print(f"| {told or 'nothing'} | {error:.1%} |{cells}")


def measured_and_predicted(
    rows: list[dict[str, Any]], mix: str, names: Sequence[str], costs: Floats
) -> tuple[float, float]:
    """CPU of a mix, in cores: means over its restarts."""
    of_mix = [row for row in rows if row["mix"] == mix]
    return statistics.mean(row["cpu_cores"] for row in of_mix), predicted(of_mix, names, costs)


def interval(values: list[float]) -> tuple[float, float]:
    """95 %, of the mean, by Student's t over restarts."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return float("nan"), float("nan")
    half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return mean - half, mean + half


def main() -> int:
    parser = argparse.ArgumentParser(description="What a packet costs a real bridge, by what it carries.")
    parser.add_argument("action", choices=["run", "show"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--mix", action="append", choices=list(MIXES), help="only these")
    wanted = parser.parse_args()
    if wanted.action == "run":
        if not os.environ.get("JVBTUNE_JVB_HOME"):
            print("JVBTUNE_JVB_HOME is not set: there is no real bridge to measure", file=sys.stderr)
            return 2
        run(wanted.file, wanted.blocks, wanted.mix or list(MIXES))
    show(wanted.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
