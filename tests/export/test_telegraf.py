"""What is exported for Telegraf, consumed by Telegraf itself, which writes to a real InfluxDB over TLS."""

from __future__ import annotations

import contextlib
import http.server
import re
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jvbtune.cli.export import command as export_command
from jvbtune.errors import UsageError
from jvbtune.export import export_fleet, write_files
from jvbtune.export.telegraf import COLIBRI, HOST_SIDE, INFLUXDB_1, INFLUXDB_2, METRICS
from jvbtune.observe.bridge import from_colibri, from_metrics
from jvbtune.observe.columns import BY_NAME
from jvbtune.result import RunResult, result_of
from tests.apply.results import of_host, simulated
from tests.observe.samples import FOREIGN
from tests.observe.servers import TELEGRAF, InfluxDB
from tests.observe.test_rows import ANSWERS, answer

needs_telegraf = pytest.mark.skipif(
    TELEGRAF is None or shutil.which("influxd") is None, reason="telegraf is not installed: make telegraf builds it"
)
NAMES = ["h\"; ${HOME} $PATH '''", "é\n[[inputs.exec]]", "jvb-1"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return result_of(simulated(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def fleet(result: RunResult) -> list[RunResult]:
    labels = {"machine_type": "c5.xlarge", "region": "eu", **{k: v for k, v in FOREIGN.items() if k != "region"}}
    return [of_host(result, name, **labels) for name in NAMES]


@pytest.fixture(scope="module")
def influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB]:
    started = InfluxDB(tmp_path_factory.mktemp("influx") / "db")
    yield started
    started.stop()


class _Bridge(http.server.BaseHTTPRequestHandler):
    """Answers that a bridge gave."""

    files: Mapping[str, str] = {"/colibri/stats": "colibri-stats.json", "/metrics": "metrics.json"}

    def do_GET(self) -> None:
        assert self.headers["Accept"] == "application/json"
        body = (ANSWERS / self.files[self.path]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def _bridge() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Bridge)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def _telegraf(directory: Path, command: list[str], environment: Mapping[str, str]) -> str:
    argv = [str(TELEGRAF), *command]
    done = subprocess.run(
        argv, cwd=directory, env={"HOME": "/evil\nroot", "PATH": "/usr/bin", **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert " E! " not in done.stderr, done.stderr
    return done.stdout


ENVIRONMENT = {
    "INFLUX_URL": "https://influxdb.example.org:8086",
    "INFLUX_DATABASE": "jitsi",
    "INFLUX_ORG": "ops",
    "INFLUX_BUCKET": "jitsi",
    "INFLUX_TOKEN": "secret",
}


@needs_telegraf
@pytest.mark.parametrize("bridge", [COLIBRI, METRICS])
@pytest.mark.parametrize("output", [INFLUXDB_1, INFLUXDB_2])
def test_telegraf_checks_each_combination(fleet: list[RunResult], tmp_path: Path, bridge: str, output: str) -> None:
    write_files(export_fleet(fleet, "telegraf", "exec_meet"), tmp_path)
    configs = [part for name in (bridge, HOST_SIDE, output) for part in ("--config", name)]
    _telegraf(tmp_path, ["config", "check", *configs], ENVIRONMENT)


@needs_telegraf
@pytest.mark.parametrize("bridge", [COLIBRI, METRICS])
def test_what_telegraf_writes_has_the_fields_of_observe(
    fleet: list[RunResult], influxdb: InfluxDB, tmp_path: Path, bridge: str
) -> None:
    measurement = f"of_{'colibri' if bridge == COLIBRI else 'metrics'}"
    write_files(export_fleet(fleet, "telegraf", measurement), tmp_path)
    (tmp_path / "agent.conf").write_text('[agent]\n  hostname = "jvb-1"\n')
    configs = [part for name in ("agent.conf", bridge, HOST_SIDE, INFLUXDB_1) for part in ("--config", name)]
    with _bridge() as port:
        environment = {
            "INFLUX_URL": influxdb.url,
            "INFLUX_DATABASE": influxdb.database,
            "INFLUX_USER": influxdb.user,
            "INFLUX_PASSWORD": influxdb.password,
            "INFLUX_CA": str(influxdb.certificates.ca),
            "JVBTUNE_BRIDGE_PORT": str(port),
            "JVBTUNE_BRIDGE_PATTERN": "telegraf",
        }
        _telegraf(tmp_path, ["--once", *configs], environment)
    (row,) = influxdb.query(f"SELECT * FROM {measurement} WHERE bridge_up = 1")
    expected = from_colibri(answer("colibri-stats")) if bridge == COLIBRI else from_metrics(answer("metrics"))
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert not [name for name in expected if isinstance(row[name], bool)], "observe writes numbers: types would clash"
    rate = sum(expected[name] for name in ("packet_rate_download", "packet_rate_upload"))
    figures = fleet[-1].recommendation
    assert figures is not None
    assert row["max_packet_rate"] == round(figures.max_packet_rate_pps)
    assert row["capacity_used"] == pytest.approx(rate / row["max_packet_rate"])
    assert (row["host"], row["region"], row["machine_type"]) == ("jvb-1", "eu", "c5.xlarge")
    for name, least in (
        ("softnet_processed", 1),
        ("softnet_dropped", 0),
        ("udp_in_datagrams", 1),
        ("udp_rcvbuf_errors", 0),
        ("process_cpu_s", 0),
        ("resident_memory_bytes", 1 << 20),
        ("steal_share", 0),
    ):
        found = influxdb.query(f"SELECT {name} FROM {measurement} WHERE host = 'jvb-1'")
        assert found, name
        assert found[-1][name] >= least
        assert name in BY_NAME
    assert influxdb.query(f"SELECT rx_packets FROM {measurement} WHERE interface != ''")


@needs_telegraf
def test_softnet_is_what_the_kernel_says(fleet: list[RunResult], tmp_path: Path) -> None:
    text = export_fleet(fleet, "telegraf")[HOST_SIDE]
    (tmp_path / "softnet").write_text("0000000a 00000001 00000010 00000000\nffffffff 00000002 00000001\n")
    (tmp_path / "host.conf").write_text(text.replace("/proc/net/softnet_stat", f"{tmp_path}/softnet"))
    (tmp_path / "out.conf").write_text('[[outputs.file]]\n  files = ["stdout"]\n  namepass = ["jitsi_stats"]\n')
    environment = {"JVBTUNE_BRIDGE_PATTERN": "telegraf"}
    out = _telegraf(tmp_path, ["--once", "--quiet", "--config", "host.conf", "--config", "out.conf"], environment)
    (line,) = [line for line in out.splitlines() if "softnet_processed" in line]
    assert "softnet_processed=4294967305" in line
    assert "softnet_dropped=3" in line
    assert "softnet_time_squeeze=17" in line


def test_each_file_is_toml_without_a_secret_and_says_where_it_comes_from(fleet: list[RunResult]) -> None:
    files = export_fleet(fleet, "telegraf", 'm"$x\n[[inputs.exec]]')
    assert set(files) == {COLIBRI, METRICS, HOST_SIDE, INFLUXDB_1, INFLUXDB_2}
    for name, text in files.items():
        parsed = tomllib.loads(text)
        assert set(parsed) <= {"inputs", "outputs", "processors"}
        assert "exec" not in parsed.get("inputs", {})
        for part in ("Written by jvbtune", "from run run-jvb-1", "Why:", "To undo:", name):
            assert part in text
        head = "".join(line for line in text.splitlines() if line.startswith("#"))
        assert "$" not in head
    output = tomllib.loads(files[INFLUXDB_2])["outputs"]["influxdb_v2"][0]
    assert output["token"] == "${INFLUX_TOKEN}"
    (bridge,) = tomllib.loads(files[COLIBRI])["inputs"]["http"]
    assert bridge["name_override"] == 'm"$x [[inputs.exec]]'


def test_the_command_exports_a_fleet_and_names_the_measurement(tmp_path: Path) -> None:
    simulated(tmp_path / "runs")
    base = ["latest", "--runs-dir", str(tmp_path / "runs"), "-o", str(tmp_path / "out"), "--format"]
    done = CliRunner().invoke(export_command, [*base, "telegraf", "--measurement", "exec_meet"])
    assert done.exit_code == 0, done.output
    (bridge,) = tomllib.loads((tmp_path / "out" / METRICS).read_text())["inputs"]["http"]
    assert bridge["name_override"] == "exec_meet"
    assert CliRunner().invoke(export_command, [*base, "prometheus"]).exit_code == 0
    assert (tmp_path / "out" / "jvbtune-rules.yml").exists()
    refused = CliRunner().invoke(export_command, [*base, "sysctl", "--measurement", "x"])
    assert isinstance(refused.exception, UsageError)


class Metric:
    """What the script knows of Telegraf's; Starlark's functions are Python's."""

    def __init__(self, name: str) -> None:
        self.name, self.time = name, 0
        self.tags: dict[str, str] = {}
        self.fields: dict[str, float] = {}


@pytest.mark.parametrize(
    ("name", "tags", "fields", "ours"),
    [
        ("cpu", {"cpu": "cpu-total"}, {"usage_steal": 20.0}, {"steal_share": 0.2}),
        ("cpu", {"cpu": "cpu0"}, {"usage_steal": 40.0}, None),
        ("procstat", {"process_name": "jitsi-videobridge"}, {"num_threads": 90}, {"process_threads": 90.0}),
        ("procstat", {"process_name": "nginx"}, {"num_threads": 4}, None),
        ("nstat", {}, {"UdpRcvbufErrors": 5}, {"udp_rcvbuf_errors": 5.0}),
    ],
)
def test_other_inputs_of_a_telegraf_that_runs_already_are_not_the_bridges(
    fleet: list[RunResult], name: str, tags: dict[str, str], fields: dict[str, float], ours: dict[str, float] | None
) -> None:
    content = export_fleet(fleet, "telegraf")[HOST_SIDE]
    [script] = re.findall(r"\[\[processors\.starlark\]\]\n  source = '''\n(.*?)'''", content, re.S)
    known: dict[str, Any] = {"Metric": Metric}
    exec(script, known)
    metric = Metric(name)
    metric.tags, metric.fields = {"host": "jvb-1", **tags}, dict(fields)
    found = known["apply"](metric)
    copies = [one.fields for one in found if one is not metric] if isinstance(found, list) else []
    assert copies == ([] if ours is None else [ours])
