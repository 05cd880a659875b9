"""Applying for good: either old or new at any moment, a way back from each, and never a call that is cut."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.agent import deploy, deployguard, generations, guarded, rundir
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.generations import digest, identity
from jvbtune.agent.procfs import start_ticks
from jvbtune.protocol import deploy as messages
from jvbtune.protocol.messages import Nothing
from tests.agent.deploy_host import FOUND, JVB_CONF, NAME, SETTINGS, WANTED_VALUE, DeployHost, killed_at, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: settings are changed by root only")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[DeployHost]:
    host = DeployHost(tmp_path)
    yield host
    host.bridge.close()


def test_files_and_values_are_written_and_the_bridge_restarted_while_drained(host: DeployHost) -> None:
    found = host.apply()
    assert (found.values, found.restarted) == ({NAME: WANTED_VALUE}, True)
    included = host.conf.with_name("jvbtune.conf")
    assert included.read_text() == SETTINGS
    assert (
        host.conf.read_text()
        == JVB_CONF + '# ---- begin: jvbtune ----\ninclude "jvbtune.conf"\n# ---- end: jvbtune ----\n'
    )
    assert [stat.S_IMODE(path.stat().st_mode) for path in (host.conf, included)] == [0o640, 0o640]
    assert host.bridge.log == ["drain with 0", "restart with 0", "drain with 0", "undrain with 0"]
    assert host.bridge.under == (host.conf.read_text(), WANTED_VALUE)


def test_a_second_apply_changes_nothing_and_restarts_nothing(host: DeployHost) -> None:
    host.apply()
    planned = host.plan()
    assert [change.path for change in planned.files if change.before != change.after] == []
    assert planned.restart is None
    assert {(one.found, one.wanted) for one in planned.values.values()} == {(WANTED_VALUE, WANTED_VALUE)}


def test_files_that_were_put_there_without_a_restart_are_not_in_force(host: DeployHost) -> None:
    host.apply()
    later = os.stat(host.conf.with_name("jvbtune.conf")).st_mtime + 60
    os.utime(host.conf.with_name("jvbtune.conf"), (later, later))
    assert "was written after the bridge started" in str(host.plan().restart)


def test_new_comments_are_written_without_a_restart(host: DeployHost) -> None:
    host.apply()
    host.bridge.log.clear()
    assert not host.apply(replace(host.wanted, include="# Another reason.\n" + SETTINGS)).restarted
    assert host.bridge.log == []
    assert host.conf.with_name("jvbtune.conf").read_text().startswith("# Another reason.")
    assert host.plan(replace(host.wanted, include="# Another reason.\n" + SETTINGS)).restart is None


def test_the_plan_shows_no_secret(host: DeployHost) -> None:
    shown = "".join(f"{change.before}{change.after}" for change in host.plan().files)
    assert "password" in shown
    assert "swordfish" not in shown


def test_the_previous_files_are_roots_alone_and_their_hashes_are_kept(host: DeployHost) -> None:
    before = host.files()
    host.apply()
    directory = Path(host.places.state) / "deployed" / "0001"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    latest = host.places.generations.latest()
    assert latest is not None
    kept = {entry["path"]: entry["before"] for entry in latest["files"]}
    assert kept[str(host.conf)] == digest(before["jvb.conf"][0])


def test_a_rollback_restores_every_byte_mode_and_value(host: DeployHost) -> None:
    before = host.files()
    host.apply()
    restored = host.rollback()
    assert host.files() == before
    assert (host.value(), restored.values) == (FOUND, {NAME: FOUND})
    assert host.bridge.under == (JVB_CONF, FOUND)
    assert (restored.restarted, restored.undrained, host.bridge.drain) == (True, True, False)
    with pytest.raises(AgentFault, match="nothing to roll back"):
        host.rollback()


def test_what_is_taken_back_leaves_no_copy_of_the_configuration(
    host: DeployHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "MOST", 10)
    host.apply()
    host.rollback()
    deployed = Path(host.places.state) / "deployed"
    assert not deployed.exists()
    for number in range(12):
        host.apply(replace(host.wanted, include=f"# {number}\n" + SETTINGS))
    assert len(list(deployed.iterdir())) == 10


def test_each_apply_is_taken_back_by_itself(host: DeployHost) -> None:
    host.apply()
    first = host.files()
    host.apply(replace(host.wanted, include=SETTINGS.replace("39500", "20000")))
    host.rollback()
    assert host.files() == first
    host.rollback()
    assert host.conf.read_text() == JVB_CONF


def test_a_crash_at_any_point_leaves_old_or_new_and_a_way_back(host: DeployHost) -> None:
    """The process is killed before and after each of its effects: files, values, drain, restart."""
    old = host.files()
    host.apply()
    new = host.files()
    host.rollback()
    steps = 0
    while killed_at(steps, host.apply):
        found = host.files()
        for name in {*old, *new}:
            assert found.get(name) in (old.get(name), new.get(name)), f"{name} after step {steps}"
        if host.places.generations.latest() is not None:
            host.rollback()
        assert host.files() == old, f"step {steps}"
        assert host.value() == FOUND
        assert host.bridge.under == (JVB_CONF, FOUND)
        assert not host.bridge.drain
        steps += 1
    assert steps >= 20


def test_a_rollback_that_is_killed_at_any_point_goes_on(host: DeployHost) -> None:
    old, steps = host.files(), 0
    while True:
        host.agent = host.new_agent()
        host.apply()
        killed = killed_at(steps, host.rollback)
        if killed and host.places.generations.latest() is not None:
            host.rollback()
        assert (host.files(), host.value(), host.bridge.drain) == (old, FOUND, False), f"step {steps}"
        assert host.bridge.under == (JVB_CONF, FOUND)
        if not killed:
            break
        steps += 1
    assert steps >= 10


def test_the_guard_leaves_old_or_new_wherever_the_agent_is_killed(host: DeployHost) -> None:
    old = host.files()
    host.apply()
    new = host.files()
    host.rollback()
    steps = 0
    seen = set()
    while killed_at(steps, host.apply):
        left = host.places.generations.latest()
        if left is not None:
            assert deployguard.finish(host.places, identity(left)) == 0
        released = host.places.generations.latest()
        seen.add(None if released is None else released["state"])
        assert host.files() == (old if released is None else new), f"step {steps}"
        assert host.bridge.under == ((JVB_CONF, FOUND) if released is None else (host.conf.read_text(), WANTED_VALUE))
        assert not host.bridge.drain
        if released is not None:
            host.rollback()
        steps += 1
    assert seen == {None, "watching", "applied"}
    assert steps >= 20


def test_what_a_killed_process_was_writing_is_deleted_and_in_nobodys_way(host: DeployHost) -> None:
    """It is a copy of a configuration, with its passwords; its process's id may be a later agent's."""
    left = [f"jvb.conf.{pid}.jvbtune-tmp" for pid in (1, os.getpid())]
    for name in left:
        host.conf.with_name(name).write_text(JVB_CONF)
    theirs = host.conf.with_name("jvb.conf.mine.jvbtune-tmp")
    theirs.write_text("")
    host.begin()
    assert {*host.files()} == {"jvb.conf", theirs.name}
    deploy.write(host.agent, Nothing())
    deploy.release(host.agent, Nothing())
    deploy.confirm(host.agent, Nothing())
    for name in left:
        host.conf.with_name(name).write_text(JVB_CONF)
    manifest = Path(host.places.state) / f"deployed/0001/manifest.json.{os.getpid()}.jvbtune-tmp"
    manifest.write_text("{")
    host.rollback()
    assert {*host.files()} == {"jvb.conf", theirs.name}


@pytest.fixture
def guarded_host(host: DeployHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeployHost:
    """Its agent starts real guards, of an archive that only waits; in a directory of its own."""
    archive = tmp_path / "agent.pyz"
    archive.write_text("import sys\nprint('ready', flush=True)\nsys.stdin.read()\n")
    monkeypatch.setattr(sys, "argv", [str(archive)])
    for module in (deploy, guarded, rundir):
        monkeypatch.setattr(module, "DIRECTORY", str(tmp_path / "run"))
    host.places = replace(host.places, guarded=True)
    host.agent = host.new_agent()
    host.agent.emit = lambda event: None
    return host


def test_a_guard_that_dies_is_replaced_though_its_directory_was_taken_away(guarded_host: DeployHost) -> None:
    """``jvbtune revert`` tidies up during an apply."""
    guarded_host.begin()
    state, first = guarded_host.agent.state, guarded_host.agent.state["deploy_guard"]
    shutil.rmtree(rundir.DIRECTORY)
    first.kill()
    until(lambda: state["deploy_guard"] is not first)
    assert state["deploy_guard"].poll() is None
    deploy.abandon(guarded_host.agent, Nothing())
    assert not guarded_host.bridge.drain


def test_an_apply_does_not_go_on_without_a_guard(guarded_host: DeployHost) -> None:
    ended = threading.Event()
    guarded_host.agent.hang_up = ended.set
    guarded_host.begin()
    shutil.rmtree(rundir.DIRECTORY)
    Path(sys.argv[0]).unlink()
    guarded_host.agent.state["deploy_guard"].kill()
    assert ended.wait(20), "it goes on"
    guarded_host.agent.shutdown_hooks[0]()  # as at the end of the agent's input
    assert not guarded_host.bridge.drain


def test_a_rollback_that_waits_for_calls_leaves_the_drain_as_it_was(host: DeployHost) -> None:
    """Its agent is killed, or its controller goes; an operator's own drain stays."""
    for own in (False, True):
        host.agent = host.new_agent()
        host.apply()
        new = host.files()
        host.bridge.drain = own
        host.agent = host.new_agent()
        deploy.prepare_rollback(host.agent, messages.OfRollback(host.query, "a test"))
        assert host.bridge.drain
        left = host.places.generations.latest()
        assert left is not None
        assert left["state"] == "applied"
        assert deployguard.finish(host.places, identity(left)) == 0
        assert (host.bridge.drain, host.files()) == (own, new)
        host.rollback()
        assert (host.bridge.drain, host.conf.read_text()) == (own, JVB_CONF)


def test_a_damaged_copy_is_refused_before_the_drain_and_our_lines_go_without_it(host: DeployHost) -> None:
    host.apply()
    first = host.files()
    host.apply(replace(host.wanted, include=SETTINGS.replace("39500", "20000")))
    second, directory = host.files(), Path(host.places.state) / "deployed/0002"
    (directory / "kept-0").write_text("rubbish")
    host.bridge.log.clear()
    with pytest.raises(AgentFault, match=r"jvbtune.conf cannot be restored.*Nothing was taken back"):
        host.rollback()
    assert (host.files(), host.bridge.log) == (second, [])
    latest = deploy.latest_generation(host.agent, Nothing()).generation
    assert latest is not None
    assert "cannot be restored" in latest.foreign[str(host.conf.with_name("jvbtune.conf"))]
    host.conf.with_name("jvbtune.conf").write_text(SETTINGS)  # the way out that the hint tells
    host.rollback()
    assert host.files() == first
    for kept in (Path(host.places.state) / "deployed/0001").glob("kept-*"):
        kept.write_text("rubbish")
    host.rollback()
    assert host.conf.read_text() == JVB_CONF
    assert host.value() == FOUND


def test_an_apply_takes_back_itself_and_no_other(host: DeployHost) -> None:
    """A watching apply that somebody rolled back must not roll back the one before it."""
    host.apply()
    first = host.files()
    host.begin(replace(host.wanted, include=SETTINGS.replace("39500", "20000")))
    mine = host.agent
    deploy.write(mine, Nothing())
    deploy.release(mine, Nothing())
    host.rollback()
    asked = messages.OfRollback(host.query, "a test", number=2)
    for operation in (deploy.prepare_rollback, deploy.rollback):
        with pytest.raises(AgentFault, match="somebody else took this apply back"):
            operation(mine, asked)
    with pytest.raises(AgentFault, match="somebody else took this apply back"):
        deploy.confirm(mine, Nothing())
    assert (host.files(), host.bridge.drain) == (first, False)


def test_an_apply_under_way_is_taken_back_by_force_only(host: DeployHost) -> None:
    host.begin()
    with subprocess.Popen(["sleep", "600"]) as other:
        manifest = host.places.generations.latest()
        assert manifest is not None
        manifest["agent"] = {"pid": other.pid, "start_ticks": start_ticks(other.pid)}
        host.places.generations.write(manifest)
        with pytest.raises(AgentFault, match="is under way") as refused:
            host.rollback()
        assert "--force" in str(refused.value.hint)
        assert other.poll() is None
        deploy.rollback(host.agent, messages.OfRollback(host.query, "a test", force=True))
        assert other.wait(5) == -9
    assert (host.places.generations.latest(), host.bridge.drain, host.conf.read_text()) == (None, False, JVB_CONF)


def test_a_bridge_that_somebody_undrained_is_drained_again_before_its_restart(host: DeployHost) -> None:
    host.begin()
    host.bridge.drain = False
    host.bridge.log.clear()
    deploy.write(host.agent, Nothing())
    assert host.bridge.log[:2] == ["drain with 0", "restart with 0"]


def test_a_rollback_that_did_not_end_is_told_of(host: DeployHost) -> None:
    host.apply()
    deploy.prepare_rollback(host.agent, messages.OfRollback(host.query, "a test"))
    with pytest.raises(AgentFault, match="a rollback of run run-1 was begun and did not end"):
        host.plan()


@pytest.mark.parametrize("change", [{"values": []}, {"state": "whatever"}, {"agent": None}, {"number": "1"}])
def test_a_damaged_manifest_is_named_with_what_to_do(host: DeployHost, change: dict[str, object]) -> None:
    host.apply()
    path = Path(host.places.state) / "deployed/0001/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    for ask in (host.plan, host.rollback, lambda: deploy.latest_generation(host.agent, Nothing())):
        with pytest.raises(AgentFault, match=r"manifest.json is damaged") as refused:
            ask()
        assert "by hand" in str(refused.value.hint)


def test_an_interrupted_apply_must_be_taken_back_first(host: DeployHost) -> None:
    assert killed_at(9, host.apply)
    host.agent = host.new_agent()
    with pytest.raises(AgentFault, match="was interrupted") as refused:
        host.plan()
    assert "jvbtune rollback" in str(refused.value.hint)


def test_calls_that_came_after_the_drain_stop_the_write(host: DeployHost) -> None:
    before = host.files()
    host.begin()
    host.bridge.foreign = 3
    with pytest.raises(AgentFault) as refused:
        deploy.write(host.agent, Nothing())
    assert refused.value.kind == "busy"
    assert (host.files(), host.value(), host.bridge.restarts) == (before, FOUND, [])
    deploy.abandon(host.agent, Nothing())
    assert not host.bridge.drain
    assert host.places.generations.latest() is None


def test_unknown_is_busy(host: DeployHost) -> None:
    host.bridge.names, host.bridge.stats = False, {"participants": "many"}
    with pytest.raises(AgentFault) as refused:
        host.begin()
    assert refused.value.kind == "busy"
    assert (host.bridge.drain, host.places.generations.latest()) == (False, None)


def test_a_rollback_never_cuts_calls(host: DeployHost) -> None:
    host.apply()
    host.bridge.foreign = 1
    new = host.files()
    with pytest.raises(AgentFault) as refused:
        host.rollback()
    assert refused.value.kind == "busy"
    assert host.files() == new
    assert len(host.bridge.restarts) == 1
    host.bridge.foreign = 0
    host.rollback()
    assert host.conf.read_text() == JVB_CONF


def test_a_controller_that_goes_before_the_undrain_leaves_the_old_state(host: DeployHost) -> None:
    before = host.files()
    host.begin()
    deploy.write(host.agent, Nothing())
    host.agent.shutdown_hooks[0]()
    assert (host.files(), host.value(), host.bridge.drain) == (before, FOUND, False)
    assert host.bridge.under == (JVB_CONF, FOUND)


def test_a_bridge_that_does_not_restart_has_its_old_files_back(host: DeployHost) -> None:
    before = host.files()
    host.bridge.restarts_work = False
    host.begin()
    with pytest.raises(AgentFault):
        deploy.write(host.agent, Nothing())
    assert host.rollback().restarted is False  # its process never ended, so it has no new setting
    assert (host.files(), host.value(), host.bridge.drain) == (before, FOUND, False)


def test_what_somebody_edited_since_is_kept_less_our_lines(host: DeployHost) -> None:
    host.apply()
    host.conf.write_text("# theirs\n" + host.conf.read_text())
    drop_in = Path(host.places.drop_in)
    drop_in.write_text("# theirs too\n")
    host.value_file.write_text("500000\n")
    told = deploy.latest_generation(host.agent, Nothing()).generation
    assert told is not None
    assert set(told.foreign) == {str(host.conf), str(drop_in), NAME}
    restored = host.rollback()
    assert restored.foreign == list(told.foreign.values()), "what is said before is what is done"
    assert not set(restored.files) & set(told.foreign)
    assert host.conf.read_text() == "# theirs\n" + JVB_CONF
    assert drop_in.read_text() == "# theirs too\n"
    assert host.value() == "500000"
    assert len(restored.foreign) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("drop_in", f"{NAME} = {WANTED_VALUE}\nkernel.core_pattern = |/bin/sh\n"),
        ("drop_in", f"{NAME} = 1\n"),
        ("drop_in", f"{NAME} = {WANTED_VALUE}\r\n"),
        ("include", SETTINGS + 'include "/etc/shadow"\n'),
        ("include", SETTINGS + "videobridge.apis.rest.enabled = true\n"),
        ("section", SETTINGS + "# ---- end: jvbtune ----\n"),
        ("section", "#" + "x" * 70000),
    ],
)
def test_the_agent_writes_nothing_but_known_settings(host: DeployHost, field: str, value: str) -> None:
    with pytest.raises(AgentFault):
        host.plan(replace(host.wanted, **{field: value}))
