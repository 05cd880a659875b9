"""Points as a real InfluxDB takes them: version 1 is Debian's, over TLS; version 2 is Telegraf's listener."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.errors import ConfigError, UsageError
from jvbtune.observe import influxdb
from jvbtune.observe.influxdb import InfluxWriter, Target, lines_of
from jvbtune.observe.labels import labels_of
from tests.observe.samples import FOREIGN, ROW, row
from tests.observe.servers import TELEGRAF, InfluxDB
from tools.monitoring.servers import certificates, free_port, listens, running

needs_influxd = pytest.mark.skipif(
    shutil.which("influxd") is None, reason="influxd is not installed: make test installs it"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB]:
    started = InfluxDB(tmp_path_factory.mktemp("influx") / "db")
    yield started
    started.stop()


def _target(server: InfluxDB, **changed: object) -> Target:
    target = Target(
        server.url,
        "jitsi_stats",
        database=server.database,
        user=server.user,
        password=server.password,
        ca_file=server.certificates.ca,
    )
    return replace(target, **changed)  # type: ignore[arg-type]


def _until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@needs_influxd
def test_a_row_comes_back_from_the_server(server: InfluxDB) -> None:
    writer = InfluxWriter(_target(server, measurement="exec_meet"), print)
    writer.check()
    writer.start()
    writer.put(ROW)
    writer.close()
    assert (writer.written_points, writer.dropped_points, writer.queued_points) == (3, 0, 0)
    (found,) = server.query("SELECT * FROM exec_meet WHERE interface = ''")
    assert found["time"] == 1_790_000_000_250
    assert {name: found[name] for name in ROW.values} == ROW.values
    assert (found["host"], found["region"], found["machine_type"]) == ("jvb-1", "eu", "c5.xlarge")
    packets = server.query("SELECT rx_packets FROM exec_meet GROUP BY interface")
    assert sorted(one["rx_packets"] for one in packets) == [5.0, 6.0]


@needs_influxd
def test_foreign_texts_come_back_as_they_were(server: InfluxDB) -> None:
    labels = labels_of("a,b =c\\", {**FOREIGN, "group": "größe, x=1 \\,"})
    foreign = replace(ROW, labels=labels, values={"up": 1.0, "max_packet_rate_source": '"; DROP\\"\\'})
    writer = InfluxWriter(_target(server, measurement='m,x =y"\\n'), print)
    writer.start()
    writer.put(foreign)
    writer.close()
    assert writer.dropped_points == 0
    (found,) = server.query("SELECT * FROM /^m,x/ WHERE interface = ''")
    assert found["max_packet_rate_source"] == '"; DROP\\"\\'
    for name, value in labels.items():
        assert found[name] == value.rstrip("\\"), name


@needs_influxd
def test_a_server_that_refuses_is_an_error_at_the_start(server: InfluxDB) -> None:
    for changed in ({"password": "wrong"}, {"database": "other"}, {"user": None}):
        with pytest.raises(UsageError, match=r"refuses: 40[134]"):
            InfluxWriter(_target(server, **changed), print).check()


@needs_influxd
def test_a_server_of_another_ca_gets_nothing(server: InfluxDB, tmp_path: Path) -> None:
    said: list[str] = []
    other = certificates(tmp_path)
    for ca in (other.ca, None):
        writer = InfluxWriter(_target(server, ca_file=ca), said.append)
        writer.check()
        assert "certificate verify failed" in said[-1]
        assert server.password not in said[-1]


@needs_influxd
def test_a_field_of_another_type_is_refused_and_counted_and_what_follows_is_written(server: InfluxDB) -> None:
    said: list[str] = []
    writer = InfluxWriter(_target(server, measurement="typed"), said.append)
    writer.start()
    writer.send([lines_of(ROW, "typed")[0]])
    with pytest.raises(influxdb.InfluxError, match="field type conflict"):
        writer.send(['typed,host=jvb-1 packet_rate="text" 1790000001000'])
    writer._lines.append('typed,host=jvb-1 packet_rate="text" 1790000001000')
    writer._wake.set()
    _until(lambda: writer.dropped_points == 1)
    assert "Points that it refuses are dropped" in said[-1]
    writer.put(row(unix=ROW.unix + 1))
    writer.close()
    assert len(server.query("SELECT packet_rate FROM typed")) == 2


@needs_influxd
def test_a_server_that_is_away_loses_the_oldest_points_and_no_others(
    server: InfluxDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influxdb, "FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(influxdb, "LONGEST_WAIT_SECONDS", 0.5)
    monkeypatch.setattr(influxdb, "BATCH_LINES", 7)
    said: list[str] = []
    writer = InfluxWriter(_target(server, measurement="away"), said.append, max_lines=20)
    server.stop()
    writer.start()
    for index in range(50):
        writer.put(replace(row(unix=1_790_000_000.0 + index), interfaces={}))
        time.sleep(0.005)
    _until(lambda: bool(said))
    assert writer.queued_points <= 20
    server.start()
    _until(lambda: writer.written_points == 20)
    writer.close()
    assert writer.dropped_points == 30
    times = [one["time"] for one in server.query("SELECT packet_rate FROM away")]
    assert times == [(1_790_000_000 + index) * 1000 for index in range(30, 50)]
    assert "Connection refused" in said[0]
    assert said[-1] == "InfluxDB takes points again"


@pytest.mark.skipif(TELEGRAF is None, reason="telegraf is not installed: make telegraf builds it")
def test_version_2_is_spoken_as_telegraf_reads_it(tmp_path: Path) -> None:
    made, port = certificates(tmp_path), free_port()
    config = f"""
[agent]
  flush_interval = "100ms"
  omit_hostname = true
[[inputs.influxdb_v2_listener]]
  service_address = "127.0.0.1:{port}"
  tls_cert = "{made.certificate}"
  tls_key = "{made.key}"
  token = "secret"
  bucket_tag = "bucket"
[[outputs.file]]
  files = ["{tmp_path}/out"]
  data_format = "json"
"""
    (tmp_path / "telegraf.conf").write_text(config)
    target = Target(
        f"https://127.0.0.1:{port}", "jitsi_stats", bucket="b 1", organization="o&o", token="secret",
        ca_file=made.ca,
    )  # fmt: skip
    labels = labels_of("a,b =c", {**FOREIGN})
    with running([str(TELEGRAF), "--config", f"{tmp_path}/telegraf.conf"], tmp_path / "log", lambda: listens(port)):
        with pytest.raises(UsageError, match="refuses: 401"):
            InfluxWriter(replace(target, token="wrong"), print).check()
        writer = InfluxWriter(target, print)
        writer.start()
        writer.put(replace(ROW, labels=labels))
        writer.close()
        assert writer.written_points == 3
        out = tmp_path / "out"
        _until(lambda: out.exists() and out.read_text().count("\n") >= 3)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert {one["name"] for one in found} == {"jitsi_stats"}
    (host,) = [one for one in found if "interface" not in one["tags"]]
    assert host["tags"] == {"bucket": "b 1", **{name: value.rstrip("\\") for name, value in labels.items()}}
    assert host["fields"] == ROW.values


def test_secrets_are_in_no_representation() -> None:
    target = Target("https://h:1", "m", database="d", user="u", password="hidden", token="hidden")
    assert "hidden" not in repr(target)


@pytest.mark.parametrize(
    ("url", "rest", "why"),
    [
        ("ftp://h", {"database": "d"}, "not an http"),
        ("h:8086", {"database": "d"}, "not an http"),
        ("https://u:p@h", {"database": "d"}, "must have no user"),
        ("https://h?db=x", {"database": "d"}, "must have no user"),
        ("https://h", {}, "needs --influxdb-database"),
        ("https://h", {"database": "d", "bucket": "b"}, "not both"),
    ],
)
def test_wrong_targets_are_refused(url: str, rest: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Target(url, "m", **rest)  # type: ignore[arg-type]


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("no PEM")
    for path in (tmp_path / "ca", tmp_path / "missing"):
        with pytest.raises(ConfigError, match=str(path)):
            InfluxWriter(Target("https://h", "m", database="d", ca_file=path), print)


def test_what_is_not_finite_is_left_out() -> None:
    (line,) = lines_of(replace(ROW, values={"a": float("nan"), "b": float("inf"), "c": 1.5}, interfaces={}), "m")
    assert line.split(" ")[1] == "c=1.5"
    assert lines_of(replace(ROW, values={"a": float("nan")}, interfaces={}), "m") == []
