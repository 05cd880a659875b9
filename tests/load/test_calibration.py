"""The generator's own limit: searched against a sink, kept, and held against loads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jvbtune.cli import cli
from jvbtune.errors import LoadError, StoreError, UsageError
from jvbtune.hosts import connect
from jvbtune.inventory import BridgeEntry, GeneratorEntry, HostEntry
from jvbtune.load import IntendedLoad, Mix, Offered, calibration
from jvbtune.load.calibration import Limit, Trial, keep, limit_for, reachable_pps, refuse_above, stored
from jvbtune.load.generator import WorkerGenerator
from jvbtune.load.mix import LAYERS
from jvbtune.load.mixfile import load_mix
from jvbtune.load.sink import ADDRESS, Sink, Usage
from jvbtune.sweep.experiment import read_experiment
from jvbtune.sweep.plan import make_plan
from jvbtune.sweep.run import refuse_planned
from tests.load.offers import went_well

MEETING = load_mix("meeting-5").mix()
ENTRY = HostEntry("h", "h", bridge=BridgeEntry("198.51.100.7", allowed_media_addresses=("198.51.100.7",)))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def limit(limit_pps: float, mix: Mix = MEETING, **more: Any) -> Limit:
    made = Limit(
        machine=calibration.machine(),
        cores=calibration.cores_of(ENTRY),
        mix_name=mix.name,
        mix_key=calibration.key_of(mix),
        version=calibration.__version__,
        limit_pps=limit_pps,
        sent_pps=1.0,
        received_pps=2.0,
        lateness_p99_ms=3.0,
        cpu_ratio=0.8,
        limited_by="generator",
        because=("its CPU is at 86% of a core",),
        measured_unix=time.time(),
    )
    return replace(made, **more)


# -- kept and held against loads -----------------------------------------------------------------------------------


def test_a_load_above_the_limit_is_refused_with_the_figure_and_the_way_out() -> None:
    refuse_above(ENTRY, IntendedLoad(1000, MEETING))  # nothing is known of this machine yet
    keep(limit(20_000))
    refuse_above(ENTRY, IntendedLoad.for_packet_rate(20_000, MEETING, 20_000))
    with pytest.raises(LoadError) as refused:
        refuse_above(ENTRY, IntendedLoad.for_packet_rate(25_000, MEETING))
    today = time.strftime("%Y-%m-%d")
    assert "20000 pps, as jvbtune load --calibrate measured on " + today in refused.value.message
    assert "generator.cpus" in str(refused.value.hint)
    assert "--calibrate --mix meeting-5" in str(refused.value.hint)
    assert (reachable_pps(ENTRY, MEETING, 1e6), reachable_pps(ENTRY, MEETING, 1000)) == (20_000, 1000)


@pytest.mark.parametrize(
    "other",
    [{"machine": "another"}, {"cores": (4000,)}, {"version": "0.0.1"}, {"mix_key": "another"}, {"limited_by": "sink"}],
)
def test_a_limit_is_of_its_machine_cores_mix_and_version_and_of_the_generator(other: dict[str, Any]) -> None:
    keep(limit(1000, **other))
    assert limit_for(ENTRY, MEETING) is None
    refuse_above(ENTRY, IntendedLoad(1000, MEETING))


def test_names_and_joins_make_no_other_mix_but_shapes_do() -> None:
    assert calibration.key_of(replace(MEETING, name="mine", joins_per_second=3.0)) == calibration.key_of(MEETING)
    assert calibration.key_of(replace(MEETING, transport_cc=False)) != calibration.key_of(MEETING)
    assert calibration.key_of(Mix()) == calibration.key_of(load_mix("audio").mix())


def test_bursts_are_not_judged() -> None:
    keep(limit(1000, Mix()))
    refuse_above(ENTRY, IntendedLoad(1000, Mix(burst_packets=64)))
    with pytest.raises(LoadError):
        refuse_above(ENTRY, IntendedLoad(1000, Mix()))


def test_a_later_calibration_takes_the_place_of_an_earlier_one() -> None:
    keep(limit(1000))
    keep(limit(500, Mix()))
    path = keep(limit(2000))
    assert [one.limit_pps for one in stored()] == [500, 2000]
    assert json.loads(path.read_text())["schema_version"] == 1
    assert stored()[1] == replace(limit(2000), measured_unix=stored()[1].measured_unix)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema_version": 2, "limits": []}', '{"schema_version": 1, "limits": [{}]}']
)
def test_a_damaged_file_is_named(text: str) -> None:
    path = keep(limit(1000))
    path.write_text(text)
    with pytest.raises(StoreError, match=r"generator-limits\.json"):
        limit_for(ENTRY, MEETING)


def test_a_sweep_with_such_a_packet_rate_is_refused_before_it_begins() -> None:
    experiment = read_experiment({"name": "x", "load": {"packet_rates_pps": [3000, 9000]}})
    plan = make_plan(experiment, (3000.0, 9000.0), seed=1)
    keep(limit(9000, Mix()))
    refuse_planned(ENTRY, plan)
    keep(limit(8000, Mix()))
    with pytest.raises(LoadError, match="9000 pps is more"):
        refuse_planned(ENTRY, plan)


def test_load_refuses_before_it_connects(tmp_path: Path) -> None:
    inventory = tmp_path / "jvbtune.toml"
    inventory.write_text('[hosts.far]\nssh = "nobody.invalid"\n[hosts.far.bridge]\nmedia_address = "198.51.100.7"\n')
    keep(limit(1000, Mix()))
    argv = ["load", "--host", "far", "--inventory", str(inventory), "--packet-rate", "3000", "--duration", "2"]
    done = CliRunner().invoke(cli, [*argv, "--participants", "5"])
    assert isinstance(done.exception, LoadError)
    assert "more than this machine's generator can make" in done.exception.message


def test_a_mix_with_a_relay_is_not_calibrated() -> None:
    with pytest.raises(UsageError, match=r"town-hall-60 has a relay"):
        calibration.calibrate(None, load_mix("town-hall-60").mix())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--calibrate", "--duration", "3"], "--calibrate cannot be combined with --duration"),
        (["--calibrate", "--burst-packets", "3"], "--calibrate cannot be combined with --burst-packets"),
        (["--packet-rate", "3000", "--duration", "2"], "Missing option '--host'"),
        (["--host", "x", "--duration", "2"], "Missing option '--packet-rate'"),
    ],
)
def test_wrong_words_are_refused(argv: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["load", *argv])
    assert done.exit_code == 2
    assert said in done.output


# -- the search ----------------------------------------------------------------------------------------------------


class Machine:
    """In place of generator and sink: on schedule up to ``most`` conferences."""

    def __init__(self, most: int, *, cpu: float = 0.001, sink_cpu: float = 0.1, disturbed: int = 0) -> None:
        self.most, self.cpu, self.sink_cpu, self.disturbed = most, cpu, sink_cpu, disturbed
        self.tried: list[int] = []
        self.used = 0.0

    def usage(self) -> Usage:
        self.used += self.sink_cpu * 1e6  # far more than passes between two edges
        return Usage(self.used if self.sink_cpu > 1 else 0.0, 0)

    def offer(self, load: IntendedLoad, seconds: float, *, settle_seconds: float, edge: Any) -> Offered:
        edge()
        edge()
        self.tried.append(load.conferences)
        late = load.conferences > self.most or len(self.tried) <= self.disturbed
        return went_well(
            load,
            2.0,
            sent_packets=10,
            expected_packets=40,
            received_packets=40,
            lateness_p99_ms=50.0 if late else 1.0,
            cpu_ratio=self.cpu * load.conferences,
            endpoints=5,
            generator_limited=late,
            generator_limited_because=("it was 50.0 ms late (p99)",) if late else (),
            extra={"kinds": {}},
        )


def searched(machine: Machine, monkeypatch: pytest.MonkeyPatch, others: float = 0.0) -> tuple[Any, Any, list[Trial]]:
    clock = iter(range(10_000))
    monkeypatch.setattr(calibration, "_others_seconds", lambda: others * next(clock))
    seen: list[Trial] = []
    search = calibration._Search(machine, machine, Mix(), seen.append)  # type: ignore[arg-type]
    return *search.run(), seen


@pytest.mark.parametrize("most", [1, 2, 5, 17, 100, 333])
def test_the_limit_is_found_to_its_width(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, broken, seen = searched(Machine(most), monkeypatch)
    unit = Mix().packet_rate_pps()
    assert kept.intended_pps <= most * unit < broken.intended_pps
    assert broken.intended_pps - kept.intended_pps <= max(unit, calibration.WIDTH * broken.intended_pps)
    assert len(seen) < 30
    assert (kept.sent_pps, kept.received_pps) == (5, 20)


def test_not_even_one_conference(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, broken, _ = searched(Machine(0), monkeypatch)
    assert kept is None
    assert broken.intended_pps == Mix().packet_rate_pps()


def test_a_trial_that_broke_a_bound_once_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(100, disturbed=1)
    kept, _, seen = searched(machine, monkeypatch)
    assert machine.tried[0] == machine.tried[1]
    assert (bool(seen[0].because), bool(seen[1].because)) == (True, False)
    assert kept.intended_pps > 0.9 * 100 * Mix().packet_rate_pps()


def test_other_processes_make_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of their CPU passes between two edges that are next to each other: all of the machine, and more."""
    with pytest.raises(LoadError, match="too busy to be calibrated"):
        searched(Machine(0), monkeypatch, others=1.0)


def test_a_sink_that_is_slower_than_the_generator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, broken, _ = searched(Machine(100, sink_cpu=2.0), monkeypatch)
    assert kept is None
    assert broken.because[0].startswith("the sink's CPU is at")


# -- the sink ------------------------------------------------------------------------------------------------------


@pytest.fixture
def against_sink() -> Iterator[WorkerGenerator]:
    with Sink() as sink:
        bridge = BridgeEntry(media_address=ADDRESS, media_port=sink.port, allowed_media_addresses=(ADDRESS,))
        here = HostEntry("here", None, bridge=bridge, generator=GeneratorEntry(bind_address=ADDRESS))
        with connect(here) as host, WorkerGenerator(here, host, sink=sink.conference) as generator:
            yield generator


@pytest.mark.measured
def test_the_sink_forwards_audio_to_all_others(against_sink: WorkerGenerator) -> None:
    offered = against_sink.offer(IntendedLoad(4, Mix(participants=4, senders=2)), 2.0, settle_seconds=0.5)
    assert offered.sent_packets == pytest.approx(4 * 2 * 50 * 2.0, rel=0.02)
    assert offered.received_packets == offered.expected_packets == 3 * offered.sent_packets
    assert offered.reordered_packets == 0
    assert offered.extra["sampled_packets"] > 0, "what is sampled was encrypted again for its receiver"
    against_sink.stop()
    assert against_sink.offer(IntendedLoad(1, Mix(participants=2, senders=1)), 1.0).received_packets > 0


@pytest.mark.measured
def test_the_sink_forwards_the_layers_of_the_mix_and_feeds_back(against_sink: WorkerGenerator) -> None:
    offered = against_sink.offer(IntendedLoad(2, MEETING), 3.0, settle_seconds=2.0)
    kinds = offered.extra["kinds"]
    assert kinds["video"]["received"] == kinds["video"]["expected"] > 0
    assert kinds["audio"]["received"] == kinds["audio"]["expected"] == 4 * kinds["audio"]["sent"]
    assert kinds["video"]["reordered"] == kinds["audio"]["reordered"] == 0
    assert offered.offered_pps == pytest.approx(2 * MEETING.packet_rate_pps(), rel=0.05)
    assert offered.extra["meetings"]["forwarded_streams"] == 0, "there is no channel"
    feedback = offered.extra["meetings"]["transport_feedback_received"]
    assert feedback == pytest.approx(2 * 5 * 30 * offered.duration_seconds, rel=0.15)
    assert offered.extra["meetings"]["transport_feedback_sent"] == pytest.approx(10 * 20 * 3.0, rel=0.15)


@pytest.mark.measured
def test_the_sink_forwards_redundant_audio_as_it_is(against_sink: WorkerGenerator) -> None:
    offered = against_sink.offer(IntendedLoad(2, replace(MEETING, red=True)), 2.0, settle_seconds=1.0)
    audio = offered.extra["kinds"]["audio"]
    assert audio["received"] == audio["expected"] == 4 * audio["sent"] > 0
    assert offered.extra["sampled_packets"] > 0


@pytest.mark.parametrize("codec", ["vp9", "av1"])
def test_the_sink_chooses_no_layers_of_scalable_codecs(codec: str) -> None:
    assert MEETING.video is not None
    mix = replace(MEETING, video=replace(MEETING.video, codec=codec, layers=LAYERS[codec]))
    with pytest.raises(UsageError, match=f"has {codec.upper()}: what takes the bridge's place") as refused:
        calibration.calibrate(None, mix)
    assert "--mix meeting-5" in str(refused.value.hint)
