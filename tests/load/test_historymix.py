"""A mix from a history: it makes the packets and bits that were carried, or says by how much it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from jvbtune.cli.mix import command
from jvbtune.errors import ConfigError, FormatError
from jvbtune.fit.history import Carried
from jvbtune.load.historymix import NEAR_RATIO, mix_of_history, nearest_mix, to_toml
from jvbtune.load.mix import Mix
from jvbtune.load.mixfile import load_mix, shipped_mixes

#: A screen becomes a camera.
NOT_FOUND_AGAIN = {"screen-share"}
HEADER = "time,host,in_pps,out_pps,relay_pps,endpoints,conferences,audio_senders,video_senders,in_bps,out_bps"


def _carried(mix: Mix) -> Carried:
    return Carried(
        rows=1,
        participants=mix.participants,
        in_pps=mix.in_pps(),
        out_pps=mix.out_pps(),
        in_bps=mix.in_bps(),
        out_bps=mix.out_bps(),
        audio_senders=mix.senders,
        video_senders=mix.video.senders if mix.video else 0,
        relay_ratio=(mix.relay_in_pps() + mix.relay_out_pps()) / mix.packet_rate_pps(),
        relay_in_pps=mix.relay_in_pps(),
        relay_out_pps=mix.relay_out_pps(),
        remote_participants=mix.remote.participants if mix.remote else 0.0,
    )


def _rows(mix: Mix, conferences: int, host: str = "jvb-1") -> str:
    video = mix.video.senders if mix.video else 0
    figures = [
        *(mix.in_pps() * conferences, mix.out_pps() * conferences, 0, mix.participants * conferences, conferences),
        *(mix.senders * conferences, video * conferences, mix.in_bps() * conferences, mix.out_bps() * conferences),
    ]
    return f"2026-11-26T10:00:00Z,{host}," + ",".join(f"{figure:.1f}" for figure in figures)


@pytest.mark.parametrize("name", sorted(set(shipped_mixes()) - NOT_FOUND_AGAIN))
def test_each_shipped_mix_is_found_again_from_what_it_carries(name: str) -> None:
    mix = load_mix(name).mix()
    found, quantities = nearest_mix(_carried(mix))
    assert found.participants == mix.participants
    assert (found.video is None) == (mix.video is None)
    assert (found.remote is None) == (mix.remote is None)
    assert quantities
    for one in quantities:
        assert 1 / NEAR_RATIO < one.ratio < NEAR_RATIO, one


def test_cameras_of_another_bit_rate_are_scaled() -> None:
    mix = load_mix("meeting-5").mix()
    carried = _carried(mix)
    assert carried.in_bps is not None
    assert carried.out_bps is not None
    assert mix.video is not None
    doubled = Carried(**{**carried.__dict__, "in_bps": 2 * carried.in_bps, "out_bps": 2 * carried.out_bps})
    found, _ = nearest_mix(doubled)
    assert found.video is not None
    top, usual = found.video.layers[-1].bitrate_kbps, mix.video.layers[-1].bitrate_kbps
    assert top > 1.5 * usual
    assert found.in_bps() == pytest.approx(2 * carried.in_bps, rel=0.1)


def test_the_busiest_moments_count_and_the_file_is_a_mix(tmp_path: Path) -> None:
    quiet, busy = Mix(2, 1), load_mix("meeting-5").mix()
    file = tmp_path / "prod.csv"
    file.write_text("\n".join([HEADER, *[_rows(quiet, 2)] * 6, *[_rows(busy, 40)] * 2]) + "\n")
    built = mix_of_history(file)
    assert built.section.participants == 5
    assert built.section.sources == ("prod.csv: the 2 busiest of 8 rows of jvb-1.",)
    assert not built.notes
    (tmp_path / "prod.toml").write_text(to_toml(built))
    again = load_mix("prod.toml", tmp_path)
    assert again.mix() == built.section.mix()
    assert again.name == "prod"


def test_telegrafs_names_and_kilobits(tmp_path: Path) -> None:
    """As ``/colibri/stats`` has them: kbit/s of endpoints."""
    mix = load_mix("meeting-5").mix()
    names = "packet_rate_download,packet_rate_upload,local_endpoints,conferences,endpoints_sending_audio,"
    names += "endpoints_sending_video,bit_rate_download,bit_rate_upload"
    figures = [mix.in_pps(), mix.out_pps(), 5, 1, 5, 5, mix.in_bps() / 1000, mix.out_bps() / 1000]
    (tmp_path / "t.csv").write_text(names + "\n" + ",".join(f"{figure:.1f}" for figure in figures) + "\n")
    built = mix_of_history(tmp_path / "t.csv")
    assert built.section.video is not None
    assert all(1 / NEAR_RATIO < one.ratio < NEAR_RATIO for one in built.quantities)


def test_what_no_mix_can_show_is_said(tmp_path: Path) -> None:
    row = "t,h,1000,200,300,10,2,4,4,900000,100000"  # receives more than it forwards: most are alone
    (tmp_path / "odd.csv").write_text(f"{HEADER}\n{row}\n")
    built = mix_of_history(tmp_path / "odd.csv")
    assert any("packets out" in note for note in built.notes)
    assert any("20% of the packets were relayed" in note for note in built.notes)


@pytest.mark.parametrize("known", [True, False], ids=["endpoints behind relays", "unknown"])
def test_what_came_from_relays_and_went_to_them_becomes_a_relay(tmp_path: Path, known: bool) -> None:
    """As ``jvbtune history`` records a bridge of cascaded conferences, and as /colibri/stats of JVB has it."""
    mix = load_mix("town-hall-60").mix()
    assert mix.remote is not None
    names = "packet_rate_download,packet_rate_upload,octo_receive_packet_rate,octo_send_packet_rate,local_endpoints,"
    names += "conferences,endpoints_sending_audio,endpoints_sending_video,bit_rate_download,bit_rate_upload"
    figures = [mix.in_pps(), mix.out_pps(), mix.relay_in_pps(), mix.relay_out_pps(), 30, 1, 2, 2]
    figures += [mix.in_bps() / 1000, mix.out_bps() / 1000]
    if known:
        names, figures = f"{names},octo_endpoints", [*figures, 30]
    file = tmp_path / "cascaded.csv"
    file.write_text(f"{names}\n" + ",".join(f"{figure:.1f}" for figure in figures) + "\n")
    built = mix_of_history(file)
    assert built.section.remote is not None
    assert (built.section.remote.participants, built.section.remote.cameras) == (30, 2)
    ratios = {one.name: one.ratio for one in built.quantities}
    assert {"from relays", "to relays"} <= set(ratios)
    assert all(1 / NEAR_RATIO < ratio < NEAR_RATIO for ratio in ratios.values()), ratios
    assert not any("relay" in note for note in built.notes)
    (tmp_path / "again.toml").write_text(to_toml(built))
    assert load_mix("again.toml", tmp_path).mix() == built.section.mix()


def test_bridges_that_do_not_tell_senders_or_bits(tmp_path: Path) -> None:
    mix = Mix(5, 3)
    (tmp_path / "a.csv").write_text(f"in_pps,out_pps,endpoints,conferences\n{mix.in_pps()},{mix.out_pps()},5,1\n")
    built = mix_of_history(tmp_path / "a.csv")
    assert built.section.video is None
    assert built.section.mix().in_pps() == pytest.approx(mix.in_pps(), rel=0.02)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("in_pps,out_pps,endpoints\n1,2,3\n", FormatError, "no column conferences"),
        ("in_pps,out_pps,endpoints,conferences\n1,2,0,0\n", FormatError, "no row has packets, endpoints"),
        ("in_pps,out_pps,endpoints,conferences\n10,20,4000,2\n", FormatError, "more than the 100"),
        ("in_pps,out_pps,endpoints,conferences\n10,x,4,2\n", FormatError, "out_pps"),
        ("", FormatError, "empty"),
        (None, ConfigError, "cannot be read"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path: Path, content: str | None, error: type, words: str) -> None:
    file = tmp_path / "bad.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(error, match=words):
        mix_of_history(file)


def test_the_command_lists_shows_and_builds(tmp_path: Path) -> None:
    listed = CliRunner().invoke(command, [], catch_exceptions=False)
    assert all(name in listed.output for name in shipped_mixes())
    file, output = tmp_path / "prod.csv", tmp_path / "own.toml"
    file.write_text(f"{HEADER}\n{_rows(load_mix('meeting-5').mix(), 3)}\n")
    done = CliRunner().invoke(command, ["--from-history", str(file), "-o", str(output)], catch_exceptions=False)
    assert done.exit_code == 0
    assert load_mix(str(output)).participants == 5
    told = json.loads(CliRunner().invoke(command, ["--from-history", str(file), "--json"]).output)
    assert told["mix"]["video"]["senders"] == 5
    assert {one["name"] for one in told["quantities"]} == {"packets in", "packets out", "bits in", "bits out"}
    both = CliRunner().invoke(command, ["audio", "--from-history", str(file)])
    assert both.exit_code == 2
