"""What a live bridge carries, recorded: of a real one in the lab, and what happens when it stops to answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from jvbtune.bridge.recorder import COLUMNS, append_rows, record, row_of
from jvbtune.bridge.stats import BridgeStats, stats_from_colibri
from jvbtune.cli.history import command
from jvbtune.errors import BridgeError, ConfigError
from jvbtune.fit.history import read_history
from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator

ANSWER = {
    "packet_rate_download": 300,
    "packet_rate_upload": 1200,
    "octo_receive_packet_rate": 40,
    "octo_send_packet_rate": 2,
    "participants": 14,
    "local_endpoints": 10,
    "conferences": 3,
    "octo_endpoints": 4,
    "endpoints_sending_audio": 6,
    "endpoints_sending_video": 5,
    "bit_rate_download": 2000,
    "bit_rate_upload": 8000,
}


class Bridge:
    """Answers, or does not, as it is told."""

    def __init__(self, answers: list[bool]) -> None:
        self.answers = iter(answers)

    def stats(self, keys: Mapping[str, str] | None = None) -> BridgeStats:
        if not next(self.answers):
            raise BridgeError("no answer")
        return stats_from_colibri(ANSWER)


def test_a_row_has_the_bridges_own_endpoints_and_both_ways_of_its_relays() -> None:
    row = row_of("h", stats_from_colibri(ANSWER), 0.0)
    of_relays = (ANSWER["octo_receive_packet_rate"], ANSWER["octo_send_packet_rate"], ANSWER["octo_endpoints"])
    assert sum(of_relays[:2]) == 42
    expected = ("1970-01-01T00:00:00Z", "h", 300, 1200, 42, 10, 3, 6, 5, 2_000_000, 8_000_000, *of_relays)
    assert row == dict(zip(COLUMNS, expected, strict=True))
    bare = row_of("h", stats_from_colibri({"packet_rate_download": 1, "packet_rate_upload": 2, "participants": 3}), 0.0)
    assert (bare["relay_pps"], bare["endpoints"]) == (None, 3)


def test_moments_without_an_answer_are_left_out_and_a_bridge_that_is_gone_is_told() -> None:
    told: list[str] = []
    some = record("h", Bridge([True, False, True]), every_seconds=0.01, seconds=0.025, told=told.append)
    assert len(list(some)) == 2
    assert told == ["no answer (moment left out)"]
    with pytest.raises(BridgeError):
        list(record("h", Bridge([True] + [False] * 5), every_seconds=0.01, seconds=1, told=told.append))


def test_rows_are_appended_and_an_interrupt_loses_none(tmp_path: Path) -> None:
    file = tmp_path / "prod.csv"

    def interrupted() -> Iterator[dict[str, object]]:
        yield row_of("h", stats_from_colibri(ANSWER), 0.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        append_rows(file, interrupted())
    assert append_rows(file, iter([row_of("h", replace(stats_from_colibri(ANSWER), relay_in_pps=None), 1.0)])) == 1
    history = read_history(file)
    assert history["bridge_pps"].to_list() == [1542, 1502]
    other = tmp_path / "other.csv"
    other.write_text("a,b\n")
    with pytest.raises(ConfigError, match="not a history"):
        append_rows(other, iter([]))
    assert other.read_text() == "a,b\n"


def _row(unix: float) -> dict[str, object]:
    return row_of("h", stats_from_colibri(ANSWER), unix)


def test_half_a_last_row_of_a_full_disk_is_cut_off_before_rows_are_appended(tmp_path: Path) -> None:
    file = tmp_path / "prod.csv"
    append_rows(file, iter([_row(0.0), _row(10.0)]))
    whole = file.read_bytes()
    file.write_bytes(whole + b"1970-01-01T00:00:20Z,h,300,12")
    append_rows(file, iter([_row(30.0)]))
    assert file.read_bytes().startswith(whole + b"1970-01-01T00:00:30Z,h,300,1200,")
    assert read_history(file)["bridge_pps"].to_list() == [1542] * 3


def test_half_a_first_line_is_written_again(tmp_path: Path) -> None:
    file = tmp_path / "prod.csv"
    file.write_bytes(b"time,host,in_p")
    append_rows(file, iter([_row(0.0)]))
    assert file.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert read_history(file).height == 1


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", "größe,b\n1".encode("latin-1"), b"a,b\n1,2", b"\nx"])
def test_another_file_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "other"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a history"):
        append_rows(file, iter([_row(0.0)]))
    assert file.read_bytes() == content


@pytest.mark.measured
@pytest.mark.lab
def test_what_the_labs_bridge_carries_is_recorded_and_read_back(lab: Lab, tmp_path: Path) -> None:
    entry, file = lab.entry(), tmp_path / "prod.csv"
    mix = Mix(participants=4, senders=2)
    with (
        connect(entry) as host,
        open_generator(entry, host) as generator,
        ThreadPoolExecutor(1) as pool,
    ):
        loading = pool.submit(generator.offer, IntendedLoad(4, mix), 16.0)
        options = ["--host", lab.name, "--minutes", "0.25", "--every-seconds", "5", "-o", str(file), "--json"]
        done = CliRunner().invoke(command, options, catch_exceptions=False)
        loading.result(60)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    rows = read_history(file)
    assert 3 <= answer["rows"] <= 4  # on a busy machine a moment may be left out; read back are those with packets
    assert rows["host"].unique().to_list() == [entry.name]
    full = rows.filter(rows["endpoints"] == 16)  # when all of them have joined
    assert full.height, rows
    assert (full["out_pps"] / full["in_pps"]).to_list()[-1] == pytest.approx(3, rel=0.1)
