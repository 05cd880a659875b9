"""One result a run: the same whoever reads it, valid by its published schema, derived again only when it has to be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator, ValidationError

from jvbtune.cli import cli
from jvbtune.cli.simulate import command as simulate
from jvbtune.errors import StoreError
from jvbtune.result import result_of
from jvbtune.result.derive import derive
from jvbtune.result.stored import FILE, from_json, to_json
from jvbtune.store import Run, RunWriter, open_run

REFERENCES = Path(__file__).parents[2] / "experiments" / "runs"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("runs")
    options = ["--out", str(directory), "--blocks", "4", "--seconds", "5", "--seed", "4", "--buffers", "--other-shapes"]
    assert CliRunner().invoke(simulate, options).exit_code == 0
    return open_run("latest", directory)


def _json(*argv: str) -> dict[str, object]:
    answer = CliRunner().invoke(cli, [*argv, "--json"])
    assert answer.exit_code in (0, 5), answer.output
    found: dict[str, object] = json.loads(answer.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simulated", "lab-aa", "real-bridge", "real-bridge-shapes"])
def test_what_show_prints_is_what_its_schema_says_before_and_after_a_refit(run: Run, name: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(run.path if name == "simulated" else REFERENCES / f"reference-{name}", path)
    schema = _json("show", "--schema")
    Draft202012Validator.check_schema(schema)
    shown = _json("show", str(path))
    Draft202012Validator(schema).validate(shown)
    assert _json("show", str(path)) == shown
    assert _json("show", str(path), "--refit") == shown
    fitted = _json("fit", str(path))
    Draft202012Validator(_json("fit", "--schema")).validate(fitted)
    assert fitted["results"] == [shown]
    shown.pop("thresholds")
    with pytest.raises(ValidationError):
        Draft202012Validator(schema).validate(shown)


def test_comparisons_are_what_their_schema_says(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(REFERENCES / "reference-real-bridge-shapes", other)
    compared = _json("compare", str(run.path), str(other))
    Draft202012Validator(_json("compare", "--schema")).validate(compared)
    (pair,) = compared["comparisons"]  # type: ignore[misc]
    assert any(difference.startswith("traffic mix") for difference in pair["differs_besides"])


def test_a_result_survives_its_file_to_the_last_digit(run: Run) -> None:
    result = derive(run)
    document = json.loads(json.dumps(to_json(result)))
    assert to_json(from_json(document)) == document


def test_it_is_fitted_once_and_again_when_its_trials_change(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    result_of(run)
    fits: list[Run] = []

    def counted(which: Run) -> object:
        fits.append(which)
        return derive(which)

    monkeypatch.setattr("jvbtune.result.stored.derive", counted)
    first = result_of(run)
    assert fits == []
    with RunWriter(run) as writer:
        writer.journal.append("run_finished", status="interrupted", message="by the user")
    again = result_of(run)
    assert len(fits) == 1
    assert (first.status, again.status) == ("done", "interrupted")
    assert first.recommendation is not None
    assert again.recommendation == first.recommendation
    assert again.reasons == (), "reasons say why there is no recommendation"
    assert [remark.code for remark in again.remarks].count("run_unfinished") == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"basis": 1, "result": {}}', b"\xff\xfe"])
def test_a_stored_result_that_is_damaged_is_derived_again(run: Run, content: bytes) -> None:
    expected = result_of(run)
    (run.path / FILE).write_bytes(content)
    assert result_of(run) == expected
    assert json.loads((run.path / FILE).read_bytes())["result"]["id"] == run.id


def test_another_version_is_named_and_no_traceback() -> None:
    with pytest.raises(StoreError, match="schema_version"):
        from_json({"id": "x"})
