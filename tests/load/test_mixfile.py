"""Mixes as files, and in experiments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from jvbtune.cli import cli
from jvbtune.errors import ConfigError
from jvbtune.load.mix import LAYERS, VP8_LAYERS
from jvbtune.load.mixfile import load_mix, shipped_mixes
from jvbtune.sweep.experiment import load_experiment, read_experiment, with_mix
from jvbtune.sweep.plan import make_plan

EXPERIMENT = 'name = "x"\n[load]\npacket_rates_pps = [9000, 18000]\n{mix}[durations]\ntrial_seconds = 5\n'
OWN = """\
name = "own"
participants = 3
senders = 2
[video]
senders = 3
[[video.layers]]
height = 360
bitrate_kbps = 700
"""


def experiment(directory: Path, mix: str) -> Path:
    (directory / "mixes").mkdir(exist_ok=True)
    (directory / "mixes" / "own.toml").write_text(OWN)
    path = directory / "x.toml"
    path.write_text(EXPERIMENT.format(mix=mix))
    return path


def test_the_shipped_mixes() -> None:
    assert list(shipped_mixes()) == [
        "audio",
        "meeting-20",
        "meeting-5",
        "one-to-one",
        "screen-share",
        "town-hall-60",
        "webinar",
    ]
    video = load_mix("meeting-5").mix().video
    assert video is not None
    assert video.layers == VP8_LAYERS


@pytest.mark.parametrize(
    ("mix", "name"),
    [
        ('mix = "meeting-5"\n', "meeting-5"),
        ('[load.mix]\nfile = "mixes/own.toml"\n', "own"),
        ('mix = "mixes/own.toml"\n', "own"),
        ('[[load.other_mixes]]\nfile = "mixes/own.toml"\n', ""),
    ],
)
def test_an_experiment_names_a_mix(tmp_path: Path, mix: str, name: str) -> None:
    found = load_experiment(experiment(tmp_path, mix))
    assert found.load.mix.name == name
    kept = read_experiment(found.model_dump(mode="json"))  # as a run's manifest keeps it, wherever the file went
    assert kept == found
    plan = make_plan(found, found.load.packet_rates_pps or (), seed=1)
    trials = [trial for step in plan.steps for trial in step.trials]
    assert {trial.load.mix.name for trial in trials} >= {name}
    assert (tmp_path / "mixes" / "own.toml").exists()


def test_with_mix_replaces_what_the_experiment_has(tmp_path: Path) -> None:
    found = load_experiment(experiment(tmp_path, '[[load.other_mixes]]\nfile = "mixes/own.toml"\n'))
    other = with_mix(found, load_mix("webinar"))
    assert (other.load.mix.name, other.load.other_mixes) == ("webinar", ())
    assert other.durations == found.durations


@pytest.mark.parametrize(
    ("mix", "line", "said"),
    [
        ('mix = "meeting-6"\n', None, "no mix is named 'meeting-6'; did you mean meeting-5?"),
        ('mix = "none.toml"\n', None, "cannot be read: No such file or directory"),
        ('[load.mix]\nfile = "meeting-5"\nsenders = 2\n', 4, "file and senders cannot both be given"),
        ("mix = 5\n", 4, ""),
        ("[load.mix]\nparticipants = 3\n[load.mix.video]\nsenders = 4\n", 4, "video.senders = 4 is more than"),
        ("[load.mix.video]\nsenders = 2\nstage_views = 9\n", 2, "video.stage_views = 9 is more than participants = 5"),
        ("[load.mix.video]\nsenders = 2\nheights = 3\n", 6, "unknown key"),
        ("[load.mix]\nremb = true\n", 4, "remb needs transport_cc = false"),
        ("[load.mix]\nremb = true\ntransport_cc = false\n", 4, "remb needs the table [video]"),
        ("[load.mix]\nmid_demux = true\n", 4, "mid_demux needs the table [video] or [remote]"),
        ("[load.mix]\nmid_demux = true\nssrc_rewriting = false\n", 4, "mid_demux needs ssrc_rewriting = true"),
        (
            "[load.mix.video]\nsenders = 1\n"
            + "".join(f"[[load.mix.video.layers]]\nheight = {h}\nbitrate_kbps = 300\n" for h in (360, 180)),
            4,
            "layers must be in ascending order of height",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place(tmp_path: Path, mix: str, line: int | None, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_experiment(experiment(tmp_path, mix))
    assert said in error.value.message
    assert error.value.line == line


def test_a_fault_in_a_mix_file_names_that_file(tmp_path: Path) -> None:
    path = experiment(tmp_path, 'mix = "mixes/own.toml"\n')
    (tmp_path / "mixes" / "own.toml").write_text(OWN.replace("height = 360", "height = 36"))
    with pytest.raises(ConfigError) as error:
        load_experiment(path)
    assert str(error.value.file).endswith("own.toml")
    assert error.value.line == 7


def test_a_codec_brings_its_layers(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    for codec, layers in LAYERS.items():
        path.write_text(f'[video]\nsenders = 2\ncodec = "{codec}"\n')
        video = load_mix(str(path)).mix().video
        assert video is not None
        assert (video.codec, video.layers) == (codec, layers)


@pytest.mark.parametrize(
    ("codec", "said"), [("vp8", ""), ("av1", "a layer of av1 has the bit rate of all layers up to it"), ("h264", "")]
)
def test_bits_of_spatial_layers_are_of_all_up_to_each(tmp_path: Path, codec: str, said: str) -> None:
    path = tmp_path / "own.toml"
    layers = "".join(f"[[video.layers]]\nheight = {h}\nbitrate_kbps = {k}\n" for h, k in ((180, 300), (360, 200)))
    path.write_text(f'[video]\nsenders = 2\ncodec = "{codec}"\n{layers}')
    if codec == "vp8":
        load_mix(str(path))
        return
    with pytest.raises(ConfigError) as refused:
        load_mix(str(path))
    assert said in refused.value.message


def test_the_command_shows_the_codecs(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('red = true\n[video]\nsenders = 2\ncodec = "av1"\n')
    told = CliRunner().invoke(cli, ["mix", str(path)], catch_exceptions=False)
    assert "Video is AV1. Audio is RED." in told.output
    described = json.loads(CliRunner().invoke(cli, ["mix", str(path), "--json"]).stdout)["mixes"][0]
    assert (described["red"], described["video"]["codec"]) == (True, "av1")
    assert "Video is" not in CliRunner().invoke(cli, ["mix", "meeting-5"]).output
