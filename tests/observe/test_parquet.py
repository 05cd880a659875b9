"""The directory of Parquet files: what survives a kill, and how minutes become hours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from jvbtune.errors import ConfigError
from jvbtune.observe import parquet
from jvbtune.observe.columns import BY_NAME
from jvbtune.observe.parquet import ParquetDirectory
from tests.observe.samples import ROW, row

BEGIN = 1_790_000_000.0 - 1_790_000_000 % 3600  # a full hour


class Clock:
    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> float:
        return self.now


def read(directory: Path) -> pl.DataFrame:
    return pl.read_parquet(directory / "*.parquet").sort("time", "host")


def _run(directory: Path, clock: Clock, seconds: int, *, close: bool = True) -> ParquetDirectory:
    writer = ParquetDirectory(directory, lambda text: None, clock=clock)
    for _ in range(0, seconds, 10):
        writer.put(row(unix=clock.now))
        clock.now += 10
    if close:
        writer.close()
    return writer


def test_a_row_comes_back(tmp_path: Path) -> None:
    directory = tmp_path / "observed.parquet"
    writer = ParquetDirectory(directory, lambda text: None)
    writer.put(ROW)
    writer.close()
    (found,) = read(directory).to_dicts()
    assert found["time"].timestamp() == ROW.unix
    assert (found["host"], found["region"], found["cloud"]) == ("jvb-1", "eu", None)
    assert {name: found[name] for name in ROW.values} == ROW.values
    assert json.loads(found["interfaces"]) == ROW.interfaces
    assert found["gc_pause_share"] is None
    assert {name for name, q in BY_NAME.items() if q.name not in ("rx_bytes",) and name in found}


def test_each_minute_is_a_file_and_each_hour_becomes_one(tmp_path: Path) -> None:
    clock = Clock()
    _run(tmp_path, clock, 3600 + 600)
    names = sorted(path.name for path in tmp_path.glob("*.parquet"))
    assert len(names) < 15
    hour = time.strftime("%Y%m%dT%H", time.gmtime(BEGIN))
    assert f"{hour}.parquet" in names
    found = read(tmp_path)
    assert found.height == 420
    assert found["time"].is_unique().all()


def test_an_interrupted_join_is_done_again_without_a_row_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    real = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name.endswith("Z.parquet"):
            raise KeyboardInterrupt
        real(path, missing_ok)

    writer = _run(tmp_path, clock, 3590, close=False)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        clock.now += 120
        with pytest.raises(KeyboardInterrupt):
            writer.put(row(unix=clock.now))
    writer._lock_file.close()
    assert read(tmp_path)["time"].is_duplicated().any()
    clock.now += 60
    ParquetDirectory(tmp_path, lambda text: None, clock=clock).close()
    found = read(tmp_path)
    assert found["time"].is_unique().all()
    assert found.height >= 360


def test_a_clock_that_goes_back_loses_nothing(tmp_path: Path) -> None:
    clock = Clock()
    _run(tmp_path, clock, 3700)
    clock.now = BEGIN + 5
    _run(tmp_path, clock, 300)
    clock.now = BEGIN + 8000
    ParquetDirectory(tmp_path, lambda text: None, clock=clock).close()
    assert read(tmp_path).height == 400


def test_a_flush_and_the_end_within_one_second_lose_nothing(tmp_path: Path) -> None:
    clock = Clock()
    writer = _run(tmp_path, clock, 60, close=False)
    writer.put(row(unix=clock.now))
    assert len(list(tmp_path.glob("*Z.parquet"))) == 1
    writer.put(row(unix=clock.now + 0.5))
    writer.close()
    assert read(tmp_path).height == 8
    clock.now += 3600
    ParquetDirectory(tmp_path, print, clock=clock).close()
    assert read(tmp_path).height == 8
    assert not list(tmp_path.glob("*Z.parquet"))


KILLED = """
import sys, time
from pathlib import Path
from jvbtune.observe import parquet
from tests.observe.samples import row
parquet.FLUSH_SECONDS = 0.2
writer = parquet.ParquetDirectory(Path(sys.argv[1]), print)
while True:
    writer.put(row(unix=time.time()))
    time.sleep(0.01)
"""


def test_a_kill_loses_no_more_than_the_last_interval(tmp_path: Path) -> None:
    assert parquet.FLUSH_SECONDS <= 60
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*Z.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.5)
    killed = time.time()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    last = read(tmp_path)["time"].max()
    assert killed - last.timestamp() < 1.5  # type: ignore[union-attr]


def test_two_writers_of_one_directory_are_refused(tmp_path: Path) -> None:
    writer = ParquetDirectory(tmp_path, print)
    with pytest.raises(ConfigError, match="another jvbtune observe writes"):
        ParquetDirectory(tmp_path, print)
    writer.close()
    ParquetDirectory(tmp_path, print).close()


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be made a directory"):
        ParquetDirectory(tmp_path / "file", print)


def test_a_disk_that_takes_nothing_keeps_the_rows_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    clock = Clock()
    writer = ParquetDirectory(tmp_path, said.append, clock=clock)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(parquet, "write_bytes", full)
        for _ in range(30):
            writer.put(row(unix=clock.now))
            clock.now += 10
    assert len(said) == 1
    assert "No space left on device" in said[0]
    writer.close()
    assert read(tmp_path).height == 30
