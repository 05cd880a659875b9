"""A process for each host: what one of them does costs the others nothing, and no end leaves a host as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jvbtune.errors import HostError
from jvbtune.fleet.nursery import Nursery
from jvbtune.fleet.outcome import Outcome, State
from jvbtune.fleet.run import Fleet, Member, Rules
from jvbtune.fleet.store import open_fleet
from jvbtune.inventory import HostEntry
from tests.fleet.jobs import Ends, PutsBack

ROOT = Path(__file__).parents[2]


def _fleet(ends: Mapping[str, Any], rules: Rules, observe: Callable[..., None] = lambda event, data: None) -> Fleet:
    return Fleet("test", [Member(HostEntry(name, None), job) for name, job in ends.items()], rules, observe)


def _wait(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_failures_of_some_hosts_cost_the_others_nothing() -> None:
    hows = ("fine", "error", "crash", "killed", "no recommendation", "fine again")
    fleet = _fleet({how: Ends(how) for how in hows}, Rules(3))
    with Nursery(()) as nursery:
        assert fleet.run(nursery) == 4
    found = {one.host: one for one in fleet.ordered()}
    assert list(found) == list(hows)
    assert [one.state for one in found.values()] == [
        State.DONE,
        State.FAILED,
        State.FAILED,
        State.FAILED,
        State.NO_RECOMMENDATION,
        State.DONE,
    ]
    assert (found["error"].reason, found["error"].advice) == ("the link is cut", "Mend it.")
    assert "an error in jvbtune itself" in found["crash"].reason
    assert "ZeroDivisionError: seven" in found["crash"].reason
    assert "was killed by SIGKILL" in found["killed"].reason


def test_no_more_hosts_are_at_work_than_jobs(tmp_path: Path) -> None:
    at_work: list[str] = []
    most = 0

    def observe(event: str, data: Mapping[str, Any]) -> None:
        nonlocal most
        if event == "host_started":
            at_work.append(data["host"])
        if event == "host_finished":
            at_work.remove(data["host"])
        most = max(most, len(at_work))

    fleet = _fleet({f"h{n}": PutsBack(tmp_path, f"h{n}", 0.2, 0.0) for n in range(6)}, Rules(2), observe)
    with Nursery(()) as nursery:
        assert fleet.run(nursery) == 0
    assert most == 2


def test_no_host_begins_after_a_failure_if_that_is_asked_for() -> None:
    fleet = _fleet({"a": Ends("fine"), "b": Ends("error"), "c": Ends("fine")}, Rules(1, stop_on_error=True))
    with Nursery(()) as nursery:
        assert fleet.run(nursery) == 4
    assert [one.state for one in fleet.ordered()] == [State.DONE, State.FAILED, State.NOT_STARTED]
    assert fleet.outcomes["c"].reason == "b failed first"


def test_a_host_that_is_done_already_is_not_worked_on_again() -> None:
    done = Outcome("a", State.DONE, reason="done before")
    members = [Member(HostEntry("a", None), Ends("crash"), done), Member(HostEntry("b", None), Ends("fine"))]
    fleet = Fleet("test", members, Rules(), lambda event, data: None)
    with Nursery(()) as nursery:
        assert fleet.run(nursery) == 0
    assert fleet.outcomes["a"] == done


@contextmanager
def _controller(directory: Path, *names: str) -> Iterator[subprocess.Popen[str]]:
    """One that has two hosts at work."""
    argv = [sys.executable, "-m", "tests.fleet.controller", str(directory), *names]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            _wait(lambda: len(list(directory.glob("*.at-work"))) == 2)
            yield process
        finally:
            process.kill()


def _pids(directory: Path) -> list[int]:
    return [int(path.read_text()) for path in directory.glob("*.at-work")]


def test_an_interrupt_puts_every_host_back_before_the_command_ends(tmp_path: Path) -> None:
    with _controller(tmp_path, "a", "b", "c") as process:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert sorted(path.name for path in tmp_path.glob("*.back")) == ["a.back", "b.back"]
    assert "'putting back'" in out
    found = open_fleet("latest", tmp_path).outcomes()
    assert [one.state for one in found.values()] == [State.INTERRUPTED, State.INTERRUPTED, State.NOT_STARTED]


@pytest.mark.parametrize("gone", [("stdout",), ("stdout", "stderr")])
def test_a_reader_that_goes_away_is_an_interrupt_and_every_host_is_put_back(
    gone: tuple[str, ...], tmp_path: Path
) -> None:
    """``jvbtune sweep --json-lines | head -1``: no host is left as it is in the middle of the work."""
    with _controller(tmp_path, "a", "b", "c") as process:
        for name in gone:
            getattr(process, name).close()
        assert process.wait(timeout=30) == 130
        said = "" if process.stderr is None or process.stderr.closed else process.stderr.read()
    assert sorted(path.name for path in tmp_path.glob("*.back")) == ["a.back", "b.back"]
    assert "Traceback" not in said
    found = open_fleet("latest", tmp_path).outcomes()
    assert [one.state for one in found.values()] == [State.INTERRUPTED, State.INTERRUPTED, State.NOT_STARTED]


def test_a_second_interrupt_does_not_end_the_putting_back(tmp_path: Path) -> None:
    with _controller(tmp_path, "a", "b") as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "The host is being put back" in said
    assert len(list(tmp_path.glob("*.back"))) == 2


def test_a_third_interrupt_leaves_at_once_and_takes_the_processes_along(tmp_path: Path) -> None:
    with _controller(tmp_path, "a", "b") as process:
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.15)
        process.communicate(timeout=30)
    assert process.returncode == 130
    _wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in _pids(tmp_path)), 5)
    assert list(tmp_path.glob("*.back")) == [], "they did not leave: they went on to put back"


def test_a_controller_that_is_killed_leaves_hosts_put_back_and_a_record_to_go_on_from(tmp_path: Path) -> None:
    with _controller(tmp_path, "a", "b", "c") as process:
        process.kill()
        process.wait()
        _wait(lambda: len(list(tmp_path.glob("*.back"))) == 2)
    found = open_fleet("latest", tmp_path).outcomes()
    assert [one.state for one in found.values()] == [State.INTERRUPTED, State.INTERRUPTED, State.NOT_STARTED]
    _wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in _pids(tmp_path)))


def test_a_process_has_no_terminal_to_be_interrupted_by(tmp_path: Path) -> None:
    """Ctrl-C goes to a whole group of processes: then each would be interrupted twice."""
    with _controller(tmp_path, "a", "b") as process:
        for pid in _pids(tmp_path):
            assert os.getsid(pid) == pid
            assert os.getpgid(pid) != os.getpgid(process.pid)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def _start_five(nursery: Nursery) -> None:
    """The socket may take the first of them."""
    for _ in range(5):
        nursery.start(Ends("fine"), lambda message: None)
        time.sleep(0.1)


def test_a_nursery_that_is_gone_is_an_error_that_says_so() -> None:
    with Nursery(()) as nursery:
        nursery._process.kill()
        nursery._process.wait()
        with pytest.raises(HostError, match="no process can be started"):
            _start_five(nursery)
