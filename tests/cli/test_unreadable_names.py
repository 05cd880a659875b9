"""A name that the file system refuses is told as any other that is wrong: no command ends in a traceback."""

from __future__ import annotations

import pytest

from jvbtune.cli import _run

LONG = "x" * 300


@pytest.mark.parametrize(
    "command",
    [
        "show {}",
        "explain {}",
        "report {}",
        "fit {}",
        "fit latest --history {}",
        "compare {} {}",
        "export {} --format sysctl",
        "runs --runs-dir {}",
        "fleet report {}",
        "flame diff {} {}",
        "flame view {}",
        "check --host a --inventory {}",
        "hosts --inventory {}",
        "hosts {}",
        "sweep --host a --inventory {} {}",
        "apply --host a --inventory {} {}",
        "mix --from-history {}",
        "lab up {}",
    ],
)
def test_a_name_that_no_file_can_have_is_an_error_that_names_it(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = _run([LONG if part == "{}" else part for part in command.split()])
    said = capsys.readouterr().err
    assert code in (1, 2)
    assert LONG[:100] in said
