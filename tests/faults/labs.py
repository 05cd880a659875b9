"""``python -m tests.faults.labs``: seeded faults on the real labs: systemd or a container host, sshd, kernel and JVM.

The hosts are booted once for all seeds; each fault meets a controller that has begun, drained the bridge and changed a
setting. Afterwards the setting is the baseline's, or somebody else's value; the bridge is not drained; nothing is left.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jvbtune.lab import Lab
from jvbtune.lab.hosts import SystemdLab
from tests.e2e.hosts import NAME, Disturbed, disturbed, draining, left_behind, value_of
from tests.faults.plan import Fault
from tests.faults.run import Outcome, table

LEASE_SECONDS = 8.0
#: What the guard, the timer and a loaded machine may take beyond the lease.
MORE_SECONDS = 12.0
FOREIGN = "417"


def _signalled(*numbers: int, whom: str) -> Callable[[Disturbed], None]:
    """Signals to a process of the host, one after the other."""

    def act(sweep: Disturbed) -> None:
        machine = sweep.lab.machine
        outer = {machine.own_pid(pid): pid for pid in machine.processes()}
        for number in numbers:
            os.kill(outer[getattr(sweep, whom)], number)
        if whom == "guard":
            time.sleep(2)  # it is replaced
            sweep.process.kill()

    return act


def _foreign(sweep: Disturbed) -> None:
    Path("/proc/sys", *NAME.split(".")).write_text(FOREIGN)
    sweep.process.send_signal(signal.SIGINT)


def _kill_both(sweep: Disturbed) -> None:
    sweep.kill_on_host(sweep.agent, sweep.guard)


def _guard_and_controller(sweep: Disturbed) -> None:
    sweep.kill_on_host(sweep.guard)
    sweep.process.kill()


KINDS: dict[str, Callable[[Disturbed], None]] = {
    "kill agent": _signalled(signal.SIGKILL, whom="agent"),
    "kill guard": _signalled(signal.SIGKILL, whom="guard"),
    "kill controller": lambda sweep: sweep.process.kill(),
    "kill agent and guard": _kill_both,
    "kill guard and controller": _guard_and_controller,
    "stop agent": _signalled(signal.SIGSTOP, whom="agent"),
    "stop controller": lambda sweep: sweep.process.send_signal(signal.SIGSTOP),
    "SIGHUP agent": _signalled(signal.SIGHUP, signal.SIGTERM, whom="agent"),
    "interrupt": lambda sweep: sweep.process.send_signal(signal.SIGINT),
    "foreign setting": _foreign,
}


def one(lab: SystemdLab, seed: int) -> Outcome:
    rng = random.Random(seed)
    kind = list(KINDS)[seed % len(KINDS)]
    fault = Fault(seed, kind, None, delay_seconds=rng.uniform(0, 2))
    baseline, findings, seconds = value_of(NAME), [], None
    with disturbed(lab, rng.choice(("root", "ops")), LEASE_SECONDS) as sweep:
        time.sleep(fault.delay_seconds)
        begun = time.monotonic()
        KINDS[kind](sweep)
        while lab.journal.exists() and time.monotonic() - begun < LEASE_SECONDS + MORE_SECONDS:
            time.sleep(0.05)
        seconds = time.monotonic() - begun
        if lab.journal.exists():
            findings.append((1, f"the journal is there after {seconds:.0f} s"))
    expected = FOREIGN if kind == "foreign setting" else baseline
    if value_of(NAME) != expected:
        findings.append((1, f"{NAME} is {value_of(NAME)}, not {expected}"))
    Path("/proc/sys", *NAME.split(".")).write_text(baseline)
    if draining(lab):
        findings.append((1, "the bridge is drained"))
    deadline = time.monotonic() + 5  # the guard and its units end a moment after the journal
    while (left := left_behind(lab)) and time.monotonic() < deadline:
        time.sleep(0.2)
    if left:
        findings.append((6, f"left: {left}"))
    restored = "no" if findings else "by itself"
    return Outcome(fault, True, restored, seconds, 0, tuple(findings), ())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.labs", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="for each lab (default: 20)")
    parser.add_argument("--kind", action="append", choices=("systemd", "container"), help="default: both")
    options = parser.parse_args()
    outcomes = []
    for kind in options.kind or ("systemd", "container"):
        lab = Lab.up(f"faults-{kind}", kind=kind)
        assert isinstance(lab, SystemdLab)
        try:
            for seed in range(options.seeds):
                outcome = one(lab, seed)
                outcomes.append(outcome)
                print(f"{kind} seed {seed}: {'FAILS' if outcome.findings else 'ok'}: {outcome.fault}", flush=True)
                for number, text in outcome.findings:
                    print(f"    invariant {number}: {text}", flush=True)
        finally:
            lab.down()
    print(table(outcomes))
    failed = sum(1 for outcome in outcomes if outcome.findings)
    print(f"{len(outcomes) - failed} of {len(outcomes)} pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
