"""Days of operation: what is kept of rows does not grow, whatever the outputs do."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.observe import parquet
from jvbtune.observe.influxdb import InfluxWriter, Target
from jvbtune.observe.parquet import ParquetDirectory
from jvbtune.observe.prometheus import LatestRows
from tests.observe.samples import ROW, row


def test_memory_is_bounded_while_no_output_takes_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_bytes", full)
    monkeypatch.setattr(parquet, "MAX_ROWS", 100)
    monkeypatch.setattr(parquet, "FLUSH_SECONDS", 1e9)
    writer = InfluxWriter(Target("https://127.0.0.1:1", "m", database="d"), lambda text: None, max_lines=300)
    directory = ParquetDirectory(tmp_path, lambda text: None)
    latest = LatestRows(60.0)

    def feed(count: int) -> int:
        for index in range(count):
            made = replace(row(unix=ROW.unix + index), values={**ROW.values, "packet_rate": float(index)})
            for output in (writer, directory, latest):
                output.put(made)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        filled = feed(400)
        after = feed(4000)
    finally:
        tracemalloc.stop()
    assert after - filled < 100_000
    assert writer.queued_points == 300
    assert writer.dropped_points == 3 * 4400 - 300
    directory._lock_file.close()
