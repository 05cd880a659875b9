"""The command's own mistakes: each is refused before a host is touched."""

from __future__ import annotations

import io
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from jvbtune.cli import _run
from jvbtune.cli.observe import _target
from jvbtune.errors import ConfigError

NONE = dict.fromkeys(
    (
        "influxdb", "influxdb_database", "influxdb_user", "influxdb_password_file", "influxdb_bucket", "influxdb_org",
        "influxdb_token_file", "influxdb_ca",
    )
)  # fmt: skip


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "jvbtune.toml"
    path.write_text('[hosts.jvb-1]\nssh = "jvb-1"\n[hosts.jvb-2]\nssh = "jvb-2"\n')
    return path


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "Name the hosts"),
        (("--host", "jvb-1", "--capacity", "jvb-2=5000"), "jvb-2 is not among the hosts"),
        (("--host", "jvb-1", "--capacity", "5000"), "not HOST=PPS"),
        (("--host", "jvb-1", "--capacity", "jvb-1=many"), "many"),
        (("--host", "jvb-1", "--influxdb-bucket", "b"), "--influxdb-bucket needs --influxdb URL"),
        (("--host", "jvb-1", "--influxdb", "https://h"), "--influxdb-database"),
        (("--host", "jvb-1", "--influxdb", "https://h", "--influxdb-database", "d", "--measurement", " "), "empty"),
        (("--host", "jvb-1", "--prometheus", "9794"), "not an address and a port"),
        (("--host", "jvb-1", "--every-seconds", "0.1"), "every-seconds"),
    ],
)
def test_mistakes_are_refused(inventory: Path, options: tuple[str, ...], why: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = _run(["observe", *options, "--inventory", str(inventory)])
    assert status == 2
    assert why in err.getvalue()
    assert out.getvalue() == ""


def test_secrets_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**NONE, "influxdb": "https://h", "influxdb_bucket": "b", "influxdb_org": "o"}
    monkeypatch.setenv("INFLUX_TOKEN", "from the environment")
    target = _target(dict(options), "m")
    assert target is not None
    assert target.token == "from the environment"
    file = tmp_path / "token"
    file.write_text("from the file\n# a comment\n")
    target = _target({**options, "influxdb_token_file": file}, "m")
    assert target is not None
    assert target.headers()["Authorization"] == "Token from the file"
    file.write_text("\n")
    for path in (file, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=str(path)):
            _target({**options, "influxdb_token_file": path}, "m")


def test_observing_ends_if_nobody_reads_the_lines_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of an output costs no other output, but this is none: the reader has what it wants."""
    from jvbtune.cli import observe
    from jvbtune.cli.common import ReaderGone
    from jvbtune.observe.rows import Row

    def gone(text: str) -> None:
        raise ReaderGone

    monkeypatch.setattr(observe, "put", gone)
    stopping = threading.Event()
    lines = observe._Lines(True, stopping)
    lines.put(Row("a", {}, 1.0, {}))
    assert stopping.is_set()
    assert lines.reader_gone
