"""Where an export goes: into any HOCON that a bridge reads, out again to the byte, never into another syntax."""

from __future__ import annotations

from pathlib import Path

import hocon
import pytest

from jvbtune.agent.errors import AgentFault
from jvbtune.agent.layout import (
    BEGIN_MARK,
    END_MARK,
    included_targets,
    includes,
    overriding,
    section_target,
    with_block,
    without_blocks,
)

TEXT = "a.b = 2\n"
SECTION = f"{BEGIN_MARK}\n{TEXT}{END_MARK}\n"
ROOTS = [
    ("plain", "a { b = 1 }\n"),
    ("no newline at its end", "a { b = 1 }"),
    ("braces around the root", "{\n a { b = 1 }\n}\n"),
    ("braces on one line", "{ a { b = 1 } }"),
    ("a comment behind the brace", "{ a.b = 1 }\n# }\n"),
    ("empty", ""),
    ("bytes that are no UTF-8", "# \udcff\na.b = 1\n"),
]


@pytest.mark.parametrize("content", [root[1] for root in ROOTS], ids=[root[0] for root in ROOTS])
def test_our_lines_win_in_any_hocon(content: str) -> None:
    before = content.encode("utf-8", "surrogateescape")
    after = with_block("/jvb.conf", before, SECTION)
    assert hocon.parse(after.decode("utf-8", "replace"))["a.b"] == 2
    assert hocon.parse(without_blocks(after).decode("utf-8", "replace")).to_object() == (
        hocon.parse(before.decode("utf-8", "replace")).to_object()
    )
    if content.endswith("\n") and not content.startswith("{"):
        assert without_blocks(after) == before


def test_a_section_is_replaced_and_not_added_twice(tmp_path: Path) -> None:
    path = tmp_path / "custom-jvb.conf"
    path.write_text("# theirs\n")
    first = section_target(str(path), TEXT)
    path.write_bytes(first.after)
    again = section_target(str(path), TEXT.replace("2", "3"))
    assert again.after == first.after.replace(b"2", b"3")
    assert section_target(str(path), TEXT).after == first.after


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('include "jvbtune.conf"', True),
        ('include "./jvbtune.conf"', True),
        ('  include file("jvbtune.conf")', True),
        ('# include "jvbtune.conf"', False),
        ('include "other.conf"', False),
    ],
)
def test_a_file_that_includes_ours_already_is_left_as_it_is(tmp_path: Path, line: str, found: bool) -> None:
    assert includes(line.encode()) is found
    path = tmp_path / "jvb.conf"
    path.write_text(line + "\n")
    _, conf = included_targets(str(path), TEXT)
    assert (conf.after == conf.before) is found


@pytest.mark.parametrize(
    ("name", "content"),
    [("jvb.json", "{}"), ("jvb.properties", "a=1"), ("jvb.conf", "a {"), ("jvb.conf", "a = \0")],
)
def test_what_cannot_be_added_to_is_refused(name: str, content: str) -> None:
    with pytest.raises(AgentFault):
        with_block(f"/{name}", content.encode(), SECTION)


def test_a_later_file_that_sets_the_same_value_is_named(tmp_path: Path) -> None:
    etc, usr = tmp_path / "etc", tmp_path / "usr"
    etc.mkdir()
    usr.mkdir()
    name = "net.core.rmem_max"
    (etc / "20-jvb-udp-buffers.conf").write_text(f"{name} = 1\n")
    (etc / "60-jvbtune.conf").write_text(f"{name} = 2\n")
    assert overriding([name], "/etc/60-jvbtune.conf", (str(etc), str(usr))) == {}
    (usr / "99-tuned.conf").write_text("net/core/rmem_max=3\n")
    assert overriding([name], "/etc/60-jvbtune.conf", (str(etc), str(usr))) == {name: str(usr / "99-tuned.conf")}
    (etc / "99-tuned.conf").write_text("# hides the other\n")
    assert overriding([name], "/etc/60-jvbtune.conf", (str(etc), str(usr))) == {}


def test_of_a_link_the_file_is_where_the_bridge_looks_for_it(tmp_path: Path) -> None:
    """Typesafe Config resolves an include beside the path that it was given, not beside what a link points to."""
    for name in ("etc", "srv"):
        (tmp_path / name).mkdir()
    (tmp_path / "srv/jvb.conf").write_text("videobridge {}\n")
    (tmp_path / "etc/jvb.conf").symlink_to(tmp_path / "srv/jvb.conf")
    included, conf = included_targets(str(tmp_path / "etc/jvb.conf"), "a = 1\n")
    assert included.path == str(tmp_path / "etc/jvbtune.conf")
    assert conf.path == str(tmp_path / "srv/jvb.conf"), "the link stays one"
