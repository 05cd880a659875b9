"""Interrupts of real processes: raised where the main thread waits, held while something is undone, never lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HEAD = """
import contextlib, logging, queue, sys, threading, time
from jvbtune import interrupts
say = lambda text: print("say:", text, flush=True)
ready = lambda: print("ready", flush=True)
"""

#: Waits as a sweep does, in each of the ways; the undo takes a moment.
WORK = """
items = queue.Queue()
try:
    with interrupts.handled(say):
        try:
            ready()
            {wait}
        finally:
            with interrupts.held():
                print("undo begins", flush=True)
                for _ in range(10):
                    interrupts.pause(0.1)
                print("undone", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
"""
WAITS = {
    "pause": "interrupts.pause(60)",
    "queue": "interrupts.take(items, 60)",
    "queue without an end": "interrupts.take(items, None)",
    "process": "interrupts.wait_for(threading.Event().wait, 60)",
    "swallowed": """
            while True:
                with contextlib.suppress(BaseException):
                    sum(range(200000))
                    time.sleep(0.05)
                interrupts.pause(0.01)
""".strip(),
}
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", HEAD + program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("wait", list(WAITS))
def test_the_first_ends_the_work_and_lets_the_undo_finish(wait: str, number: int) -> None:
    with running(WORK.format(wait=WAITS[wait])) as process:
        assert said(process) == "ready"
        process.send_signal(number)
        begun = time.monotonic()
        assert said(process) == "undo begins"
        assert time.monotonic() - begun < 2.0
        out, err = process.communicate(timeout=20)
        assert out.split("\n")[:2] == ["undone", "interrupted"], (out, err)
        assert process.returncode == 130


def test_the_second_says_that_the_host_is_being_put_back() -> None:
    with running(WORK.format(wait=WAITS["pause"])) as process:
        assert said(process) == "ready"
        process.send_signal(signal.SIGINT)
        assert said(process) == "undo begins"
        process.send_signal(signal.SIGINT)
        assert said(process).startswith("say: The host is being put back.")
        out, _ = process.communicate(timeout=20)
        assert out.split("\n")[:2] == ["undone", "interrupted"]


def test_the_third_closes_the_agents_input_and_leaves() -> None:
    program = """
class Agent:
    def hang_up(self):
        print("hung up", flush=True)
agent = Agent()
interrupts.hang_up_on_leaving(agent)
with interrupts.handled(say), interrupts.held():
    ready()
    time.sleep(60)
"""
    with running(program) as process:
        assert said(process) == "ready"
        for text in ("say: The host is being put back.", "say: The host is being put back.", "say: Leaving."):
            process.send_signal(signal.SIGINT)
            assert said(process).startswith(text)
        assert said(process) == "hung up"
        assert process.wait(5) == 130


def test_one_that_the_main_thread_takes_no_notice_of_leaves() -> None:
    program = """
interrupts.ACKNOWLEDGE_SECONDS = 0.5
with interrupts.handled(say):
    ready()
    time.sleep(60)
"""
    with running(program) as process:
        assert said(process) == "ready"
        process.send_signal(signal.SIGTERM)
        assert said(process).startswith("say: Leaving.")
        assert process.wait(5) == 130


def test_one_that_no_wait_has_met_is_raised_at_the_end() -> None:
    program = """
try:
    with interrupts.handled(say):
        ready()
        begun = time.monotonic()
        while time.monotonic() < begun + 1:
            pass
        print("worked", flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""
    with running(program) as process:
        assert said(process) == "ready"
        process.send_signal(signal.SIGHUP)
        assert said(process) == "worked"
        assert process.wait(5) == 130


def test_only_the_main_thread_is_interrupted_and_only_once() -> None:
    program = """
others = []
def other():
    try:
        interrupts.pause(1.5)
        others.append("waited")
    except BaseException as error:
        others.append(repr(error))
try:
    with interrupts.handled(say):
        thread = threading.Thread(target=other)
        thread.start()
        ready()
        try:
            interrupts.pause(60)
        except KeyboardInterrupt:
            interrupts.pause(0.3)
            thread.join()
            print(others, flush=True)
            raise
except KeyboardInterrupt:
    sys.exit(130)
"""
    with running(program) as process:
        assert said(process) == "ready"
        process.send_signal(signal.SIGINT)
        assert said(process) == "['waited']"
        assert process.wait(5) == 130


def test_handlers_are_as_before_afterwards() -> None:
    program = """
import signal
before = [signal.getsignal(number) for number in interrupts.SIGNALS]
with interrupts.handled(say):
    interrupts.pause(0.01)
assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before
assert signal.set_wakeup_fd(-1) == -1
"""
    with running(program) as process:
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
