"""``make demo``: the main job against the embedded lab host, from nothing to nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from jvbtune.errors import JvbtuneError
from jvbtune.text import printable

EXPERIMENT = Path("experiments/udp-buffers-quick.toml")
LAB = "lab"
NO_RECOMMENDATION = 5  #: exit code
BUSY_SECONDS = 3.0
#: The buffers of the experiment whose steps are profiled.
SMALL, LARGE = "212992", "10485760"
JVBTUNE = (sys.executable, "-B", "-m", "jvbtune")


def main() -> int:
    if os.getuid() != 0:
        return _as_root()
    from jvbtune.cli.sweep import example_rates, human_seconds
    from jvbtune.lab import Lab
    from jvbtune.sweep.experiment import load_experiment
    from jvbtune.sweep.plan import estimate_seconds, make_plan

    experiment = load_experiment(EXPERIMENT)
    seconds = 60 + estimate_seconds(make_plan(experiment, example_rates(experiment), 0), experiment)
    _say(
        "This starts a lab host on this machine (an sshd and a JVM bridge, in its own network namespace), sweeps it,\n"
        "and stops it. As root, it changes these kernel settings during the sweep: "
        + ", ".join(experiment.touched_settings())
        + f".\nIt puts them back at the end. It takes about {human_seconds(seconds)}."
    )
    _warn_of_others()
    before = _settings()
    lab = Lab.up(LAB)
    try:
        status = subprocess.run([*JVBTUNE, "sweep", "--host", LAB, str(EXPERIMENT)], check=False).returncode
    finally:
        lab.down()
    if status not in (0, NO_RECOMMENDATION):
        _say("The demo ended early: the sweep failed, see above. Every kernel setting was put back.")
        return status
    for name in ("sysctl", "jvb-conf"):
        directory = f"experiments/runs/exports/{name}"
        done = subprocess.run([*JVBTUNE, "export", "latest", "--format", name, "-o", directory], check=False)
        status = _worse(status, done.returncode)
    status = _worse(status, _compare_profiles(before["net.core.rmem_max"]))
    after = _settings()
    changed = {name: (value, after.get(name)) for name, value in before.items() if after.get(name) != value}
    for name, (old, new) in changed.items():
        _say(f"NOT PUT BACK: {name} was {old} and is {new}")
    _say("Every kernel setting is as it was before." if not changed else "jvbtune revert --host lab")
    _give_back(Path("experiments/runs"))
    if status == NO_RECOMMENDATION and not changed:
        _say(_why_none())
        return 0
    return 1 if changed else status


def _worse(first: int, second: int) -> int:
    """Of two exit codes: a failure before a missing recommendation before success."""
    return max(first, second, key=lambda code: (code not in (0, NO_RECOMMENDATION), code))


def _warn_of_others() -> None:
    """What other processes use of this machine now, by name: too much of it makes trials invalid."""
    from jvbtune.cli.others import busiest
    from jvbtune.text import clean
    from jvbtune.trials.judge import DEFAULT_RULES

    allowed = DEFAULT_RULES.other_tenants_ratio
    used, processes = busiest(BUSY_SECONDS)
    if used > allowed:
        named = ", ".join(f"{clean(name, 15)} {share:.0%}" for name, share in processes.items())
        _say(
            f"This machine is busy: other processes use {used:.0%} of its CPU (busiest: {named}). A trial counts only\n"
            f"if they use at most {allowed:.0%} of the bridge's core, so the demo may end without a recommendation.\n"
            "Stop them first for a better result (Ctrl-C ends the demo and puts everything back)."
        )


def _why_none() -> str:
    """The end of a demo that worked, on a machine that did not allow a recommendation."""
    from jvbtune.result.stored import result_of
    from jvbtune.store import open_run

    result = result_of(open_run("latest"))
    reasons = "\n".join(f"  - {reason.text}" for reason in result.reasons[:3])
    return (
        "The demo ran to its end, but these trials do not support a recommendation: do not set anything by them.\n"
        f"{reasons}\nOn a quiet machine it ends with one. Run it again: make demo"
    )


def _give_back(directory: Path) -> None:
    """To the user who was asked for root: what is written into the clone is theirs."""
    uid, gid = (os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID"))
    if uid.isdigit() and gid.isdigit():
        for path in (directory, *directory.rglob("*")):
            os.chown(path, int(uid), int(gid), follow_symlinks=False)


def _compare_profiles(found_bytes: str) -> int:
    """Where the CPU goes: the lowest load against the highest, and the small receive buffer against the large one."""
    from jvbtune.capture.store import capture_documents
    from jvbtune.store import open_run
    from jvbtune.sweep.experiment import BASELINE

    run = open_run("latest", None)
    captures = sorted(capture_documents(run.path), key=lambda one: float(one["intended_pps"]))
    if not captures:
        _say(f"No flamegraph: {'; '.join(str(event['message']) for event in run.events('capture_failed'))}")
        return 1
    found = {(one["step"], one["intended_pps"]): one["path"] for one in captures}
    lowest, highest = captures[0]["intended_pps"], captures[-1]["intended_pps"]
    # the baseline stands for what the host has already
    small, large = (BASELINE if size == found_bytes else f"net.core.rmem_max={size}" for size in (SMALL, LARGE))
    pairs = {
        "load": ((large, lowest), (large, highest)),
        "buffer": ((small, highest), (large, highest)),
    }
    for name, (a, b) in pairs.items():
        if a not in found or b not in found:
            _say(f"No flamegraph of {name}: it needs {a[0]} at {a[1]:.0f} pps and {b[0]} at {b[1]:.0f} pps")
            return 1
        page = run.path / f"flame-{name}.html"
        argv = [*JVBTUNE, "flame", "diff", found[a], found[b], "-o", str(page), "--no-open"]
        done = subprocess.run(argv, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            return done.returncode
        _say(f"flamegraph, {a[0]} at {a[1]:.0f} pps against {b[0]} at {b[1]:.0f} pps: {page.resolve().as_uri()}")
    return 0


def _settings() -> dict[str, str]:
    """Every sysctl under net.* that a sweep may touch, and its neighbours."""
    from jvbtune.agent.provenance import sysctls

    return {name: value for name, value in sysctls("net.core").items() if not name.endswith("_count")} | {
        name: value for name, value in sysctls("net.ipv4").items() if ".udp" in name
    }


def _as_root() -> int:
    """Again with sudo: the lab needs a network namespace, the sweep writes kernel settings."""
    _say("The demo changes kernel settings during the sweep and puts them back, so it needs root.")
    if shutil.which("sudo") is None:
        _say("There is no sudo on this machine: run make demo as root.")
        return 1
    argv = ["sudo", "--", sys.executable, "-B", "-m", "jvbtune.cli.demo"]  # -B: no __pycache__ of root's in the clone
    return subprocess.run(argv, check=False).returncode


def _say(text: str) -> None:
    sys.stderr.write(printable(text) + "\n")


if __name__ == "__main__":
    begun = time.monotonic()
    as_root = os.getuid() == 0
    try:
        code = main()
    except JvbtuneError as error:
        _say(f"jvbtune: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    if as_root:  # which says it for both
        _say(f"{time.monotonic() - begun:.0f} s")
    sys.exit(code)
