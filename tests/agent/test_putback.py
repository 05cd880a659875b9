"""Putting back: never under calls, a restart at most once, the undrain last, and never under a swept value."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jvbtune.agent import calls
from jvbtune.agent.control import Bridge
from jvbtune.agent.journal import VERSION, Journal
from jvbtune.agent.putback import MAX_TRIES, given_up, put_back
from tests.agent.fake_bridge import FakeBridge

NAME, BASELINE, SWEPT = "net.core.rmem_max", "212992", "425984"
BOOT = "this-boot"


class Host:
    """A tree of sysctls, a journal and a bridge, in the middle of a sweep that restarted it under a swept value."""

    def __init__(self, directory: Path, bridge: FakeBridge) -> None:
        self.root, self.bridge = directory / "sys", bridge
        self.setting = self.root.joinpath(*NAME.split("."))
        self.setting.parent.mkdir(parents=True)
        self.setting.write_text(SWEPT + "\n")
        self.journal = Journal(str(directory / "state"))
        arrival = Bridge(bridge.arguments).identity()
        bridge.restart()
        bridge.drain = True
        bridge.log.clear()
        self.record: dict[str, Any] = {
            "version": VERSION,
            "run_id": "r1",
            "owner": "test",
            "boot_id": BOOT,
            "created_unix": 1.0,
            "agent": {"pid": 1, "start_ticks": 1},
            "bridge": bridge.arguments,
            "arrival": arrival,
            "last_bridge": Bridge(bridge.arguments).identity(),
            "settings": [NAME],
            "baseline": {NAME: BASELINE},
            "written": {NAME: [SWEPT]},
            "overlay": None,
            "drain_found": False,
            "drained": True,
        }
        self.journal.write(self.record)

    def put_back(self, **more: Any) -> dict[str, Any]:
        return put_back(self.journal, BOOT, "a test", str(self.root), **more)

    def value(self) -> str:
        return self.setting.read_text().strip()


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[FakeBridge]:
    bridge = FakeBridge(tmp_path)
    yield bridge
    bridge.close()


@pytest.fixture
def host(tmp_path: Path, bridge: FakeBridge) -> Host:
    return Host(tmp_path, bridge)


def test_settings_then_a_restart_while_drained_then_the_undrain(host: Host, bridge: FakeBridge) -> None:
    report = host.put_back()
    assert report["complete"]
    assert report["restarted"]
    assert report["undrained"]
    assert host.value() == BASELINE
    assert bridge.log == ["restart with 0", "drain with 0", "undrain with 0"]
    assert not host.journal.exists()
    assert not bridge.drain
    assert host.put_back() == {}  # a second one does nothing
    assert len(bridge.restarts) == 1


def test_under_calls_all_but_the_restart_is_put_back_and_revert_finishes_later(host: Host, bridge: FakeBridge) -> None:
    bridge.foreign = 5
    report = host.put_back()
    assert not report["complete"]
    assert "5 participants are on the bridge" in report["pending"]
    assert host.value() == BASELINE
    assert not bridge.restarts
    assert bridge.drain
    for _ in range(3):  # guard and timer leave it alone, even when the bridge is empty
        bridge.foreign = 0
        assert host.put_back()["pending"]
        assert not bridge.restarts
    assert given_up(host.journal.read() or {})
    report = host.put_back(by_hand=True)
    assert report["complete"]
    assert bridge.log == ["restart with 0", "drain with 0", "undrain with 0"]


def test_by_hand_calls_are_looked_for_as_well(host: Host, bridge: FakeBridge) -> None:
    bridge.foreign = 2
    assert host.put_back(by_hand=True)["pending"]
    assert not bridge.restarts


@pytest.mark.parametrize("stats", [{}, [], None, {"participants": None, "conferences": 0}, {"participants": 0}, 7])
def test_what_is_not_known_counts_as_calls(
    host: Host, bridge: FakeBridge, stats: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "REFRESH_SECONDS", 0.0)
    bridge.names, bridge.stats = False, "null" if stats is None else stats
    report = host.put_back()
    assert "it is not known whether calls are on the bridge" in report["pending"]
    assert not bridge.restarts
    assert bridge.drain


def test_counts_are_looked_at_after_their_refresh(
    host: Host, bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statistics are up to 5 s old: an empty bridge may not be one."""
    bridge.names = False

    def refresh(seconds: float) -> None:
        assert seconds >= 5
        bridge.foreign = 3

    monkeypatch.setattr("jvbtune.agent.calls.time.sleep", refresh)
    assert host.put_back()["pending"]
    assert not bridge.restarts


def test_own_endpoints_that_are_left_are_no_calls_and_hide_none(host: Host, bridge: FakeBridge) -> None:
    bridge.ours, bridge.foreign = 10, 1
    assert "1 participant is on the bridge" in host.put_back()["pending"]
    bridge.foreign = 0
    assert host.put_back(by_hand=True)["complete"]


def test_an_endpoint_in_a_conference_of_ours_that_is_not_ours_is_a_call() -> None:
    class Answer:
        def check_answering(self) -> None:
            pass

        def ask_json(self, path: str) -> dict[str, Any]:
            endpoints = {"00000001": "jvbtune", "00000002": "Sam-Kx1"}
            return {"conferences": {"1": {"meeting_id": "jvbtune-0badcafe-0", "endpoints": endpoints}}}

    assert calls.look(Answer()).foreign == 2


def test_a_conference_without_participants_is_a_call() -> None:
    class Answer:
        def check_answering(self) -> None:
            pass

        def ask_json(self, path: str) -> dict[str, Any]:
            return {"conferences": {"1": {"meeting_id": "5e5b", "endpoints": {}}}}

    assert calls.look(Answer()).foreign == 1


def test_never_undrained_while_a_swept_value_is_in_force(host: Host, bridge: FakeBridge) -> None:
    host.setting.unlink()
    host.setting.mkdir()  # neither read nor written
    for tries in range(1, MAX_TRIES + 1):
        report = host.put_back()
        assert report["failed"]
        assert not report["complete"]
        assert not bridge.log
        assert bridge.drain
        assert given_up(host.journal.read() or {}) == (tries == MAX_TRIES)
    host.setting.rmdir()
    host.setting.write_text(SWEPT)
    assert host.put_back(by_hand=True)["complete"]
    assert bridge.log == ["restart with 0", "drain with 0", "undrain with 0"]


def test_a_bridge_that_does_not_get_healthy_stays_drained_and_is_not_restarted_again(
    host: Host, bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jvbtune.agent.control.HEALTHY_TIMEOUT_SECONDS", 0.3)
    bridge.health = 503
    for _ in range(3):
        assert "not healthy" in host.put_back()["failed"][0]
        assert bridge.drain
    assert len(bridge.restarts) == 1
    bridge.health = 200
    assert host.put_back()["complete"]
    assert not bridge.drain
    assert len(bridge.restarts) == 1


def test_a_restart_that_fails_is_not_tried_again_by_itself(host: Host, bridge: FakeBridge) -> None:
    bridge.restarts_work = False
    for _ in range(3):
        assert "could not be restarted" in host.put_back()["pending"]
        assert bridge.drain
    assert len(bridge.restarts) == 1


def test_by_hand_the_drain_is_undone_although_the_restart_fails(host: Host, bridge: FakeBridge) -> None:
    bridge.restarts_work = False
    assert host.put_back()["pending"]
    report = host.put_back(by_hand=True)
    assert report["undrained"]
    assert "could not be restarted" in report["not_restarted"]
    assert not bridge.drain
    assert not host.journal.exists()


def test_by_hand_the_control_of_the_inventory_is_taken(host: Host, bridge: FakeBridge) -> None:
    record = host.journal.read() or {}
    record["bridge"] = {**record["bridge"], "control": {"commands": {"restart": ["/bin/false"]}}}
    host.journal.write(record)
    assert host.put_back()["pending"]
    assert not bridge.restarts
    report = host.put_back(by_hand=True, control=bridge.arguments["control"])
    assert report["complete"]
    assert report["restarted"]


@pytest.mark.parametrize("at", ["begun", "restarted", "undrained"])
def test_killed_in_the_middle_it_goes_on_where_it_was(
    host: Host, bridge: FakeBridge, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        place = {"begun": "restart", "restarted": "wait_until_healthy"}.get(at)
        if place:
            patched.setattr(Bridge, place, kill)
        else:
            patched.setattr(Journal, "finish", kill)
        with pytest.raises(Killed):
            host.put_back()
    bridge.join_at_restart = 7  # whoever came after the undrain must stay
    bridge.foreign = 7 if at == "undrained" else 0
    report = host.put_back()
    assert report["complete"]
    assert len(bridge.restarts) == 1
    assert not bridge.drain


def test_a_bridge_that_was_not_restarted_under_swept_values_is_not_restarted(host: Host, bridge: FakeBridge) -> None:
    record = host.journal.read() or {}
    record["arrival"] = Bridge(bridge.arguments).identity()
    host.journal.write(record)
    assert host.put_back()["complete"]
    assert bridge.log == ["undrain with 0"]


def test_a_bridge_whose_last_step_was_the_baseline_is_not_restarted(host: Host, bridge: FakeBridge) -> None:
    record = host.journal.read() or {}
    record["clean_bridge"] = Bridge(bridge.arguments).identity()
    host.journal.write(record)
    assert host.put_back()["complete"]
    assert not bridge.restarts


def test_a_drain_that_was_undone_is_made_again_before_the_look(host: Host, bridge: FakeBridge) -> None:
    bridge.drain = False
    assert host.put_back()["complete"]
    assert bridge.log == ["drain with 0", "restart with 0", "drain with 0", "undrain with 0"]


def test_a_bridge_that_was_found_drained_stays_so(host: Host, bridge: FakeBridge) -> None:
    record = host.journal.read() or {}
    host.journal.write({**record, "drain_found": True, "drained": False})
    assert host.put_back()["complete"]
    assert bridge.drain


def test_a_dead_bridge_is_started_again(host: Host, bridge: FakeBridge) -> None:
    bridge.kill()
    bridge._server.shutdown()
    bridge._server.server_close()
    report = host.put_back()  # nothing answers, so nobody can be on it: the restart is tried
    assert "could not be restarted" in report["pending"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Answers are waited for for a moment only, and a bridge that boots is looked at often."""
    monkeypatch.setattr("jvbtune.agent.control.HTTP_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(calls, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr("jvbtune.agent.putback.BOOT_LOOK_SECONDS", 0.01)
    return monkeypatch


def test_a_bridge_that_hangs_is_not_restarted(host: Host, bridge: FakeBridge, impatient: pytest.MonkeyPatch) -> None:
    impatient.setattr(bridge, "answer", lambda path: __import__("time").sleep(2) or (200, {}))
    assert "not known" in host.put_back()["pending"]
    assert not bridge.restarts


def test_a_bridge_that_still_boots_is_waited_for_and_drained_before_it_takes_calls(
    host: Host, bridge: FakeBridge, impatient: pytest.MonkeyPatch
) -> None:
    """Somebody else started it under swept values, and it does not listen yet."""
    bridge.restart()
    answer, looks = bridge.answer, []

    def boots(path: str) -> Any:
        looks.append(path)
        return (503, {}) if len(looks) < 8 else answer(path)

    impatient.setattr(bridge, "answer", boots)
    report = host.put_back()
    assert report["complete"], report
    assert len(bridge.restarts) == 1
    assert host.value() == BASELINE
    assert bridge.log[:2] == ["drain with 0", "restart with 0"], "first of all, no call comes"
    assert bridge.log[-1] == "undrain with 0"


def test_a_bridge_that_never_boots_is_left_to_a_person(
    host: Host, bridge: FakeBridge, impatient: pytest.MonkeyPatch
) -> None:
    impatient.setattr("jvbtune.agent.putback.BOOT_SECONDS", 0.3)
    bridge.restart()
    impatient.setattr(bridge, "answer", lambda path: (503, {}))
    assert "not known" in host.put_back()["pending"]
    assert not bridge.restarts


def test_values_of_others_are_left_and_a_triple_that_was_taken_in_part_is_ours(tmp_path: Path) -> None:
    from jvbtune.agent.putback import is_ours

    assert is_ours("1 20 30", ["10 20 30"], "1 2 3")
    assert not is_ours("1 20 31", ["10 20 30"], "1 2 3")
    assert not is_ours("7", ["8"], "9")


def test_a_full_disk_under_the_journal_does_not_hold_up_the_put_back(
    host: Host, bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Journal._replace

    def full(self: Journal, path: str, record: dict[str, Any]) -> None:
        if path != self.copy_path:
            raise OSError(28, "No space left on device")
        replace(self, path, record)

    monkeypatch.setattr(Journal, "_replace", full)
    report = host.put_back()
    assert report["complete"]
    assert not host.journal.exists()
    assert len(bridge.restarts) == 1


def test_a_journal_that_cannot_be_taken_away_is_known_to_be_finished(
    host: Host, bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:

        def unlink(path: str) -> None:
            raise OSError(30, "Read-only file system")

        patched.setattr("jvbtune.agent.journal.os.unlink", unlink)
        report = host.put_back()
    assert not report["complete"]
    assert "Read-only" in report["failed"][0]
    assert host.journal.read() is None  # by the copy in /run
    bridge.foreign = 3
    assert host.put_back() == {}
    assert len(bridge.restarts) == 1


@pytest.mark.parametrize("damage", ["deleted", "truncated", "replaced"])
def test_either_copy_of_the_journal_is_enough(host: Host, bridge: FakeBridge, damage: str) -> None:
    for path in (host.journal.path, host.journal.copy_path):
        other = host.journal.copy_path if path == host.journal.path else host.journal.path
        whole = Path(other).read_text()
        if damage == "deleted":
            os.unlink(path)
        else:
            Path(path).write_text(whole[: len(whole) // 2] if damage == "truncated" else json.dumps({"version": 0}))
        assert (host.journal.read() or {})["run_id"] == "r1"
        host.journal.write(host.record)
    os.unlink(host.journal.path)
    assert host.put_back()["complete"]
    assert host.value() == BASELINE
