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
def running(program: str, ignored: str = "") -> Iterator[subprocess.Popen[str]]:
    """``ignored``: signals that the program's parent ignores, as nohup does."""
    argv = [sys.executable, "-c", HEAD + program]
    if ignored:
        argv = ["sh", "-c", f'trap "" {ignored}; exec "$@"', "sh", *argv]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
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


#: The command line with work that waits, or takes itself for interrupted.
COMMAND = """
import jvbtune.cli
def work(arguments):
    try:
        with interrupts.handled(say):
            ready()
            sys.stdin.readline()
            {work}
            print("went on", flush=True)
    except KeyboardInterrupt:
        return 130
    return 0
jvbtune.cli._run = work
jvbtune.cli.main([])
"""


def test_a_signal_that_is_ignored_on_arrival_stays_ignored() -> None:
    """``nohup jvbtune sweep … &`` goes on after the logout, and a script's ``&`` after Ctrl-C."""
    with running(COMMAND.format(work="interrupts.pause(0.5)"), "HUP INT") as process:
        assert said(process) == "ready"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate("\n", timeout=20)
        assert (process.returncode, out) == (0, "went on\n"), err
    with running(COMMAND.format(work="interrupts.pause(60)"), "HUP INT") as process:
        assert said(process) == "ready"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate("\n", timeout=20)
        assert (process.returncode, out) == (130, ""), err


def test_the_commands_own_interrupt_ends_the_work_although_sigint_is_ignored() -> None:
    work = "assert interrupts.interrupt(); interrupts.pause(60)"
    with running(COMMAND.format(work=work), "HUP INT") as process:
        out, err = process.communicate("\n", timeout=20)
        assert (process.returncode, out) == (130, "ready\n"), err


def test_a_process_of_a_fleet_takes_the_controllers_signals_although_nohup_ignores_them() -> None:
    """It is no command line, and no terminal reaches it."""
    program = """
with interrupts.handled(say), interrupts.held():
    ready()
    time.sleep(60)
"""
    with running(program, "HUP INT") as process:
        assert said(process) == "ready"
        for number, text in zip(SIGNALS, ("The host is", "The host is", "Leaving."), strict=True):
            process.send_signal(number)
            assert said(process).startswith(f"say: {text}")
        assert process.wait(5) == 130


def test_observe_goes_on_too() -> None:
    program = """
from jvbtune.cli.observe import _until_signal
stopping = threading.Event()
with _until_signal(stopping):
    ready()
    sys.stdin.readline()
    print(stopping.wait(0.5), flush=True)
    ready()
    print(stopping.wait(20), flush=True)
"""
    with running(program, "HUP") as process:
        assert said(process) == "ready"
        assert process.stdin is not None
        process.send_signal(signal.SIGHUP)
        process.stdin.write("\n")
        process.stdin.flush()
        assert said(process) == "False"
        assert said(process) == "ready"
        process.send_signal(signal.SIGTERM)
        assert said(process) == "True"


@pytest.mark.parametrize("number", SIGNALS)
def test_while_the_user_is_asked_the_first_ends_the_command_at_once(number: int) -> None:
    program = """
try:
    with interrupts.handled(say):
        with interrupts.asking():
            ready()
            sys.stdin.readline()
        print("answered", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
"""
    with running(program) as process:
        assert said(process) == "ready"
        process.send_signal(number)
        assert said(process) == "interrupted"
        assert process.wait(5) == 130


def test_after_the_answer_interrupts_are_taken_as_before() -> None:
    program = """
with interrupts.handled(say):
    with interrupts.asking():
        sys.stdin.readline()
    with interrupts.held():
        ready()
        time.sleep(60)
"""
    with running(program) as process:
        assert process.stdin is not None
        process.stdin.write("y\n")
        process.stdin.flush()
        assert said(process) == "ready"
        for text in ("say: The host is being put back.", "say: The host is being put back.", "say: Leaving."):
            process.send_signal(signal.SIGINT)
            assert said(process).startswith(text)
        assert process.wait(5) == 130


def test_one_from_before_the_question_is_raised_instead_of_it() -> None:
    program = """
try:
    with interrupts.handled(say):
        interrupts.interrupt()
        with interrupts.asking():
            print("asked", flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""
    with running(program) as process:
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (130, ""), err
