"""What users run, each in a process of its own: a small sweep, a second one, ``jvbtune revert``."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from jvbtune import cli, interrupts
from jvbtune.errors import JvbtuneError, TuningError
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.local import LocalHost
from jvbtune.protocol.agent import BridgeQuery
from jvbtune.protocol.codec import build, to_json
from jvbtune.settings.tuning import Applied, Tuning
from tests.faults.host import KEY, SETTINGS, STEPS, Host
from tests.faults.plan import LEASE_SECONDS

#: The exit status of a command that was interrupted.
INTERRUPTED = 130


def fork(host: Host, actor: str, out: str, work: Callable[[], int]) -> int:
    """Run ``work`` in a child, its output in ``out`` of the host's directory. The child's pid."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setsid()
        os.environ["JVBTUNE_FAULTS_ACTOR"] = actor
        descriptor = os.open(host.directory / out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def sweep(host: Host, trial_seconds: float) -> int:
    """Two steps with a trial each; what it says of the end goes into the timeline. The exit status of a command."""
    try:
        with interrupts.handled(lambda text: print(text, file=sys.stderr)):
            said = _sweep(host, trial_seconds)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0 if said["put_back"] else 1


def _sweep(host: Host, trial_seconds: float) -> dict[str, Any]:
    said: dict[str, Any] = {}
    host.put("handled", "")
    try:
        with LocalHost() as here, AgentClient(here) as agent:
            tuning = _tuning(host, agent, "first")
            with tuning:
                host.log(who="controller", event="begun", baseline=tuning.baseline)
                host.put("begun", "")
                for number, step in enumerate(STEPS, 1):
                    applied = tuning.apply(dict(step), restart=number == 1)
                    _hold(host, tuning, applied, number, step, trial_seconds)
            said = {"put_back": tuning.report.complete, "report": to_json(tuning.report)}
    except KeyboardInterrupt:
        host.log(who="controller", event="said", put_back=True, interrupted=True)  # as a sweep says it
        raise
    except JvbtuneError as error:
        # What could not be put back after an interrupt is said instead of it.
        interrupted = isinstance(error.__cause__, KeyboardInterrupt)
        said = {"put_back": False, "error": str(error), "kind": type(error).__name__, "interrupted": interrupted}
        print(f"jvbtune: {error}", file=sys.stderr)
    host.log(who="controller", event="said", **said)
    return said


def _tuning(host: Host, agent: AgentClient, run_id: str) -> Tuning:
    return Tuning(
        agent,
        owner=run_id,
        run_id=run_id,
        lease_seconds=LEASE_SECONDS,
        bridge=build(BridgeQuery, host.bridge_arguments()),
        settings=[*SETTINGS, KEY],
    )


def _hold(host: Host, tuning: Tuning, applied: Applied, number: int, step: dict[str, str], seconds: float) -> None:
    """A trial as a session holds one: valid unless the tuning was lost, or its values are no longer in force."""
    host.log(who="controller", event="trial", number=number, values=step)
    host.put(f"trial-{number}", "")
    interrupts.pause(seconds)
    valid = tuning.lost is None
    if valid:
        found = tuning.verify().values
        valid = all(found.get(name) == applied.values.get(name) for name in SETTINGS)
    host.log(who="controller", event="trial ended", number=number, valid=valid, lost=tuning.lost)
    if tuning.lost is not None:
        raise TuningError(f"the sweep cannot go on: {tuning.lost}")


def second(host: Host) -> int:
    """Another controller's sweep, which begins and ends at once: refused while the first one holds the host."""
    try:
        with LocalHost() as here, AgentClient(here) as agent:
            if agent.capabilities.leftover_journal:
                host.log(who="second", event="refused", why="leftover journal")
                return 1
            with _tuning(host, agent, "second"):
                host.log(who="second", event="begun")
    except JvbtuneError as error:
        host.log(who="second", event="refused", why=str(error))
        return 1
    return 0


def revert(host: Host, *options: str) -> int:
    arguments = ["revert", "--host", "here", "--inventory", str(host.inventory()), *options]
    status = cli._run(arguments)
    host.log(who="revert", event="ended", options=options, status=status)
    return status
