"""A run directory holds what was written, whatever happens to the writer."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from jvbtune.cli import cli
from jvbtune.errors import StoreError
from jvbtune.protocol.samples import Sample
from jvbtune.store import RunWriter, create_run, list_runs, open_run, runs_directory
from jvbtune.store.journal import RunJournal, read_journal
from jvbtune.store.rows import flatten, samples_frame
from jvbtune.trials.columns import TRIAL_SCHEMA
from jvbtune.trials.frame import trials_frame


def _run(directory: Path, host: str = "jvb-eu-1"):
    return create_run(directory, host=host, experiment={"name": "udp buffers"}, seed=7, plan={"steps": []})


def _finish(writer: RunWriter, trial: str, **row: object) -> None:
    writer.finish_trial({"trial": trial, **row}, samples=[Sample(1.0, 1.0)], offered={"sent_packets": 3}, bridge=[])


def test_a_trial_is_read_back(tmp_path: Path) -> None:
    run = _run(tmp_path)
    with RunWriter(run) as writer:
        _finish(writer, "b0-baseline-0", intended_pps=1000, valid=True, invalid_because=[], settings={"a": 1})
    frame = run.trials()
    assert frame.schema == pl.Schema(TRIAL_SCHEMA)
    assert frame["intended_pps"].to_list() == [1000.0]
    assert json.loads(frame["settings"][0]) == {"a": 1}
    assert run.samples("b0-baseline-0")["t_unix"].to_list() == [1.0]
    assert run.offered("b0-baseline-0") == {"sent_packets": 3}


def test_a_trial_done_again_counts_once(tmp_path: Path) -> None:
    run = _run(tmp_path)
    with RunWriter(run) as writer:
        _finish(writer, "t", loss_ratio=0.5)
        _finish(writer, "t", loss_ratio=0.0)
    assert run.trials()["loss_ratio"].to_list() == [0.0]


def test_status_tells_a_running_run_from_a_killed_one(tmp_path: Path) -> None:
    run = _run(tmp_path)
    with RunWriter(run) as writer:
        assert run.status() == "running"
        with pytest.raises(StoreError, match="another jvbtune"):
            RunWriter(run)
    assert run.status() == "interrupted"
    with RunWriter(run) as writer:
        writer.journal.append("run_finished", status="done")
    assert run.status() == "done"


WRITER = """
import sys
from jvbtune.protocol.samples import Sample
from jvbtune.store import RunWriter, open_run
with RunWriter(open_run(sys.argv[1])) as writer:
    for number in range(100000):
        row = {"trial": f"t{number}", "order": number}
        writer.finish_trial(row, samples=[Sample(number, number)], offered={}, bridge=[])
        print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 7, 20])
def test_kill_9_loses_at_most_the_trial_under_way(tmp_path: Path, after: int) -> None:
    run = _run(tmp_path)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(run.path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(after):
            said = int(writer.stdout.readline())
        time.sleep(0.001 * after)
        os.kill(writer.pid, signal.SIGKILL)
    assert run.status() == "interrupted"
    orders = run.trials()["order"].to_list()
    assert orders == list(range(len(orders)))
    assert len(orders) > said
    for trial in run.trials()["trial"]:
        assert run.samples(trial).height == 1


def test_half_a_last_line_is_no_event_and_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.ndjson"
    path.write_bytes(b'{"event": "a", "unix": 1}\n{"event": "b", "un')
    assert [event["event"] for event in read_journal(path)] == ["a"]
    with RunJournal(path) as journal:
        journal.append("c")
    assert [event["event"] for event in read_journal(path)] == ["a", "c"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from jvbtune.errors import StoreError
from jvbtune.store.journal import RunJournal
path, (_, hard) = Path(sys.argv[1]), resource.getrlimit(resource.RLIMIT_FSIZE)
with RunJournal(path) as journal:
    journal.append("a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))  # room for half a line
    for _ in range(2):
        try:
            journal.append("b", text="x" * 100)
        except StoreError as error:
            print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    journal.append("c")
"""


def test_a_full_disk_leaves_no_half_line_and_the_journal_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a run" / "journal.ndjson"
    path.parent.mkdir()
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.count(f"{path}: cannot be written: File too large\n") == 2
    assert f"df -h '{path.parent}'" in done.stdout
    assert [event["event"] for event in read_journal(path)] == ["a", "c"]


def test_a_full_disk_is_told_without_a_traceback(tmp_path: Path) -> None:
    """Also where it is another file that cannot be written."""
    script = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); from jvbtune.cli import main;"
    script += "main(['simulate', '--out', sys.argv[1], '--blocks', '4', '--seconds', '5'])"
    argv = [sys.executable, "-B", "-c", script, str(tmp_path / "runs")]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "jvbtune: File too large\n")


def test_damage_before_the_end_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.ndjson"
    path.write_bytes(b'{"event": "a"}\ngarbage\n{"event": "c"}\n')
    with pytest.raises(StoreError, match=r"journal\.ndjson:2: not an event"):
        read_journal(path)


def test_runs_are_found_by_id_beginning_path_and_latest(tmp_path: Path) -> None:
    first = _run(tmp_path, "alpha")
    time.sleep(0.01)
    second = _run(tmp_path, "beta")
    assert [run.id for run in list_runs(tmp_path)] == [second.id, first.id]
    assert open_run("latest", tmp_path).id == second.id
    assert open_run(first.id, tmp_path).host == "alpha"
    assert open_run(first.path).id == first.id
    with pytest.raises(StoreError, match="the beginning of 2 runs"):
        open_run("2", tmp_path)
    with pytest.raises(StoreError, match="there is no run 'nope'"):
        open_run("nope", tmp_path)


def test_runs_that_come_with_a_checkout_are_opened_by_name_and_are_nobodys_latest(tmp_path: Path) -> None:
    mine = _run(tmp_path, "mine")
    reference = _run(tmp_path, "theirs").path.rename(tmp_path / "reference-theirs")
    assert [run.id for run in list_runs(tmp_path)] == [mine.id]
    assert open_run("latest", tmp_path).id == mine.id
    assert open_run("reference-theirs", tmp_path).path == reference


def test_a_damaged_run_costs_the_others_nothing_and_no_older_one_passes_for_the_latest(tmp_path: Path) -> None:
    run = _run(tmp_path)
    older = _run(tmp_path).path.rename(tmp_path / "20200101-000000-older")
    (older / "manifest.json").write_text("{")
    journal = _run(tmp_path, "damaged").path / "journal.ndjson"
    journal.write_text('garbage\n{"event": "x"}\n')
    assert open_run(run.id, tmp_path).id == run.id
    assert open_run("latest", tmp_path).host == "damaged"
    done = CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert done.output.count(f"Passed over: {older}/manifest.json") == 1
    assert [line.split()[-1] for line in done.output.splitlines() if line.startswith("202")] == [
        "damaged",
        "interrupted",
    ]
    with pytest.raises(StoreError, match="not JSON"):
        open_run("20200101", tmp_path)
    older.rename(tmp_path / "29991231-000000-newer")
    with pytest.raises(StoreError, match="not JSON"):
        open_run("latest", tmp_path)
    assert open_run(run.id[:-1], tmp_path).id == run.id


def test_two_runs_in_one_second_have_two_directories(tmp_path: Path) -> None:
    assert len({_run(tmp_path).id for _ in range(5)}) == 5


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    run = _run(tmp_path)
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    with pytest.raises(StoreError, match="schema_version 99"):
        open_run(run.path)


def test_where_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JVBTUNE_RUNS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert runs_directory() == tmp_path / "data/jvbtune/runs"
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.toml").touch()
    assert runs_directory() == tmp_path / "experiments/runs"
    monkeypatch.setenv("JVBTUNE_RUNS", "/elsewhere")
    assert runs_directory() == Path("/elsewhere")
    assert runs_directory(Path("mine")) == Path("mine")


def test_samples_become_flat_columns_named_by_their_own_key() -> None:
    sample = {
        "t_unix": 1.5,
        "cores": [{"cpu": 1, "user_s": 2.0}],
        "sockets": [{"port": 10000, "inode": 7, "drops": 0}, {"port": 10000, "inode": 8, "drops": 4}],
        "load": [0.1, 0.2],
    }
    flat = flatten(sample)
    assert flat["cores.1.user_s"] == 2.0
    assert flat["sockets.8.drops"] == 4
    assert flat["load.1"] == 0.2
    frame = samples_frame([sample, {"t_unix": 2.5, "late": True}])
    assert frame["t_unix"].to_list() == [1.5, 2.5]
    assert frame["late"].to_list() == [None, True]


def test_what_is_not_finite_is_null_in_a_row() -> None:
    assert trials_frame([{"trial": "t", "loss_ratio": float("nan")}])["loss_ratio"].to_list() == [None]


def test_nobody_else_can_read_a_run(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run = create_run(tmp_path / "runs", host="h", experiment={"name": "x"}, seed=1, plan={})
        with RunWriter(run) as writer:
            writer.write_provenance("before", {"kernel": "6"})
            row = {"trial": "t1", "valid": True}
            writer.finish_trial(row, samples=[{"cpu": 1}], offered={"pps": 1}, bridge=[{"a": 1}])
        run.write_derived("export/sysctl.conf", b"x")
        run.write_derived("result.json", {"a": 1})
    finally:
        os.umask(before)
    found = {path: stat.S_IMODE(path.lstat().st_mode) for path in (run.path, *run.path.rglob("*"))}
    assert len(found) >= 12
    for path, mode in found.items():
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_where_reference_runs_are_it_is_not_said_that_there_is_no_run(tmp_path: Path) -> None:
    for words in (["runs"], ["show"]):
        done = CliRunner().invoke(cli, [*words, "--runs-dir", str(tmp_path)])
        assert "of your own" not in done.output + str(done.exception)
    _run(tmp_path).path.rename(tmp_path / "reference-lab")
    for words in (["runs"], ["show"]):
        done = CliRunner().invoke(cli, [*words, "--runs-dir", str(tmp_path)])
        said = done.output + str(done.exception)
        assert "here is no run of your own" in said
        assert "Reference runs are there, by their names: reference-lab" in said
