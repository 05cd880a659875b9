"""Every fault of a file is told with its line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from jvbtune.errors import ConfigError
from jvbtune.toml import load_toml, locate, parse_toml


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    values: tuple[Annotated[int, Field(gt=0)] | str, ...] = ()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    blocks: Annotated[int, Field(ge=1)] = 1
    inner: _Inner | None = None
    settings: tuple[_Inner, ...] = ()
    hosts: dict[str, _Inner] = {}


TEXT = '''\
# a comment with blocks = 3
blocks = 2

[inner]
name = """
blocks = 9
"""

[[settings]]
name = "first"

[[settings]]
name = "second"
values = [1, 2]

[hosts."jvb.eu-1"]
name = "x"
'''


def test_a_good_file_is_read() -> None:
    parsed = parse_toml(TEXT, _File, file="x.toml")
    assert [section.name for section in parsed.settings] == ["first", "second"]
    assert parsed.hosts["jvb.eu-1"].name == "x"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("blocks",), 2),
        (("inner", "name"), 5),
        (("inner", "values"), 4),
        (("settings", 0, "name"), 10),
        (("settings", 1), 12),
        (("settings", 1, "values", 1), 14),
        (("hosts", "jvb.eu-1", "name"), 17),
        (("nothing",), None),
    ],
)
def test_keys_are_found_again(keys: tuple[str | int, ...], line: int | None) -> None:
    assert locate(TEXT, keys) == line


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("blocks = 0\n", 1, "blocks", "greater than or equal to 1"),
        ("\n\nblokcs = 1\n", 3, "blokcs", "did you mean blocks"),
        ("[inner]\nname = 'a'\nvalue = 1\n", 3, "inner.value", "did you mean values"),
        ("[inner]\n", 1, "inner.name", "is missing"),
        ("[[settings]]\nname = 'a'\n[[settings]]\nname = 4\n", 4, "settings[1].name", "string"),
        ("[inner]\nname = 'a'\nvalues = [3, -1]\n", 3, "inner.values[1]", "greater than 0"),
        ("a = \n", 1, None, "not TOML"),
        ("blocks = 1\nblocks = 2\n", 2, None, "not TOML"),
        ("[hosts.a]\nname = 'a'\nport = 1\n", 3, "hosts.a.port", "unknown key"),
    ],
)
def test_a_fault_has_line_and_key(text: str, line: int, key: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_toml(text, _File, file="x.toml")
    assert (caught.value.line, caught.value.key) == (line, key)
    assert str(caught.value).startswith(f"x.toml:{line}: ")
    assert caught.value.exit_code == 2


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_toml("blocks = 0\n[inner]\nname = 1\n", _File, file="x.toml")
    assert "x.toml:3: inner.name" in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_toml(tmp_path / "no.toml", _File)
    (tmp_path / "bad.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_toml(tmp_path / "bad.toml", _File)
