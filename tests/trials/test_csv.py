"""Measurements of one's own: faults by file, line and column; the command's answer and exit code."""

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from jvbtune.cli import cli
from jvbtune.cli.fit import command
from jvbtune.errors import ConfigError, FormatError
from jvbtune.fit.simulator import Design, SimulatedHost, simulate
from jvbtune.trials.csvfile import parse_csv, read_csv

HEADER = "host,block,step,in_pps,out_pps,relay_pps,cpu_cores,cores,loss_ratio,delay_p99_ms,duration_s"
COLUMNS = HEADER.split(",")
GOOD = "a,1,s,100,400,0,0.5,1,0,5,60"


def measured(hosts: int = 1, top: float = 60_000.0) -> pl.DataFrame:
    rates = tuple(top * share for share in (0.2, 0.4, 0.6, 0.8, 1.0))
    return pl.concat(
        [simulate(SimulatedHost(), Design(rates, 6), seed=i, name=f"h{i}").select(COLUMNS) for i in range(hosts)]
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "own.csv:1: the file is empty"),
        ("x,y\n1,2\n", "own.csv:1: the first line names no column"),
        (f"{HEADER},host\n", "own.csv:1: columns 1 and 12 (host, host) are both host"),
        (f"{HEADER}\n{GOOD}\n{GOOD.replace('0.5', 'fast')}\n", "own.csv:3: column cpu_cores: 'fast' is not a number"),
        (f"{HEADER}\n{GOOD.replace(',100,', ',-100,')}\n", "own.csv:2: column in_pps: -100"),
        (f"{HEADER}\n{GOOD.replace(',0,5,60', ',2,5,60')}\n", "own.csv:2: column loss_ratio: 2 is not a ratio"),
        (f"{HEADER}\n{GOOD.replace(',400,', ',inf,')}\n", "column out_pps: inf"),
        (f"{HEADER}\n{GOOD},9\n", "own.csv:2: 12 fields, but the header has 11"),
        (f'{HEADER}\n"a,1\n', "own.csv:2: not CSV"),
        ("host,in_pps\na," + "9" * 200_000 + "\n", "own.csv:2: not CSV"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, says: str) -> None:
    with pytest.raises(FormatError) as fault:
        parse_csv(text, Path("own.csv"))
    assert says in str(fault.value)


def test_a_file_that_is_not_there_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_csv(tmp_path / "no.csv")
    (tmp_path / "binary.csv").write_bytes(b"host\n\xff\xfe\x00")
    with pytest.raises(FormatError, match=r"binary.csv:2: byte 1 of the line is not text in UTF-8"):
        read_csv(tmp_path / "binary.csv")


def test_other_delimiters_empty_cells_blank_lines_and_unknown_columns() -> None:
    found = parse_csv("\ufeffhost;in_pps;note\r\n\r\na;12;x\r\na;;y\r\n".lstrip("\ufeff"), Path("f"))
    assert found.trials.to_dict(as_series=False) == {"host": ["a", "a"], "in_pps": [12.0, None]}
    assert found.ignored == ("note",)


def test_json_of_a_fit(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    measured(2).write_csv(path)
    runs = ["--runs-dir", str(tmp_path / "runs")]
    answer = CliRunner().invoke(command, ["--from", "csv", str(path), "--json", "--delay-p99", "50ms", *runs])
    document = json.loads(answer.stdout)
    assert answer.exit_code == 0
    assert [result["host"] for result in document["results"]] == ["h0", "h1"]
    for result in document["results"]:
        figures = result["recommendation"]
        low, high = figures["interval_pps"]
        assert low <= figures["max_packet_rate_pps"] <= high
        assert result["source"] == "csv"


def test_measurements_of_ones_own_are_a_run_like_any_other(tmp_path: Path) -> None:
    path, runs = tmp_path / "own.csv", ["--runs-dir", str(tmp_path / "runs")]
    measured().with_columns(block=pl.concat_str(pl.lit("night "), pl.col("block"))).write_csv(path)
    assert CliRunner().invoke(command, ["--from", "csv", str(path), *runs]).exit_code == 0
    shown = CliRunner().invoke(cli, ["show", "latest", *runs])
    assert (shown.exit_code, "set the load threshold" in shown.stdout) == (0, True)
    assert CliRunner().invoke(cli, ["report", "latest", *runs]).exit_code == 0
    exported = CliRunner().invoke(cli, ["export", "latest", "--format", "jvb-conf", *runs])
    assert exported.exit_code == 0
    assert "load-threshold = " in exported.stdout
    assert "kernel unknown" in exported.stdout


@pytest.mark.parametrize(("tops", "code"), [((60_000.0,), 0), ((20_000.0,), 5), ((60_000.0, 20_000.0), 4)])
def test_exit_codes(tmp_path: Path, tops: tuple[float, ...], code: int) -> None:
    path = tmp_path / "own.csv"
    frames = [measured(top=top).with_columns(host=pl.lit(f"h{i}")) for i, top in enumerate(tops)]
    pl.concat(frames).write_csv(path)
    argv = ["--from", "csv", str(path), "--runs-dir", str(tmp_path / "runs")]
    answer = CliRunner().invoke(command, argv, standalone_mode=False)
    assert answer.return_value == code


@pytest.mark.parametrize("option", [["--cpu", "1.5"], ["--cpu", "much"], ["--delay-p99", "soon"], ["--loss", "0"]])
def test_words_that_are_no_limits_are_refused(tmp_path: Path, option: list[str]) -> None:
    path = tmp_path / "own.csv"
    measured().write_csv(path)
    assert CliRunner().invoke(command, ["--from", "csv", str(path), *option]).exit_code == 2


def test_percent_and_seconds_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    measured().write_csv(path)
    options = [
        "--cpu",
        "80%",
        "--loss",
        "0.01%",
        "--delay-p99",
        "0.05s",
        "--json",
        "--runs-dir",
        str(tmp_path / "runs"),
    ]
    limits = json.loads(CliRunner().invoke(command, ["--from", "csv", str(path), *options]).stdout)["results"][0][
        "limits"
    ]
    assert (limits["cpu_ratio"], limits["loss_ratio"], limits["delay_p99_ms"]) == pytest.approx((0.8, 1e-4, 50.0))
