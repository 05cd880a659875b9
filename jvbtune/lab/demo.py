"""``make demo``: the main job against the embedded lab host, from nothing to nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from jvbtune.errors import JvbtuneError

EXPERIMENT = Path("experiments/udp-buffers-quick.toml")
LAB = "lab"
#: The steps of the experiment that are profiled.
SMALL, LARGE = "net.core.rmem_max=212992", "net.core.rmem_max=10485760"
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
        "This starts a lab host on this machine (a sshd and a JVM bridge, in a network of its own), sweeps it,\n"
        "and stops it. As root it changes kernel settings for the time of the sweep: "
        + ", ".join(experiment.touched_settings())
        + f".\nThey are put back at the end. It takes about {human_seconds(seconds)}."
    )
    before = _settings()
    lab = Lab.up(LAB)
    try:
        status = subprocess.run([*JVBTUNE, "sweep", "--host", LAB, str(EXPERIMENT)], check=False).returncode
    finally:
        lab.down()
    if status not in (0, 5):
        return status
    for name in ("sysctl", "jvb-conf"):
        directory = f"experiments/runs/exports/{name}"
        done = subprocess.run([*JVBTUNE, "export", "latest", "--format", name, "-o", directory], check=False)
        status = status or done.returncode
    compared = _compare_profiles()
    status = status or compared
    after = _settings()
    changed = {name: (value, after.get(name)) for name, value in before.items() if after.get(name) != value}
    for name, (old, new) in changed.items():
        _say(f"NOT PUT BACK: {name} was {old} and is {new}")
    _say("Every kernel setting is as it was before." if not changed else "jvbtune revert --host lab")
    _give_back(Path("experiments/runs"))
    return 1 if changed else status


def _give_back(directory: Path) -> None:
    """To the user who was asked for root: what is written into the clone is theirs."""
    uid, gid = (os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID"))
    if uid.isdigit() and gid.isdigit():
        for path in (directory, *directory.rglob("*")):
            os.chown(path, int(uid), int(gid), follow_symlinks=False)


def _compare_profiles() -> int:
    """Where the CPU goes: the lowest load against the highest, and the small receive buffer against the large one."""
    from jvbtune.store import open_run
    from jvbtune.sweep.profiled import captures_of

    run = open_run("latest", None)
    captures = sorted(captures_of(run.path), key=lambda one: float(one["intended_pps"]))
    if not captures:
        _say(f"No flamegraph: {'; '.join(str(event['message']) for event in run.events('capture_failed'))}")
        return 1
    found = {(one["step"], one["intended_pps"]): one["path"] for one in captures}
    lowest, highest = captures[0]["intended_pps"], captures[-1]["intended_pps"]
    pairs = {
        "load": ((LARGE, lowest), (LARGE, highest)),
        "buffer": ((SMALL, highest), (LARGE, highest)),
    }
    for name, (a, b) in pairs.items():
        if a not in found or b not in found:
            _say(
                f"No flamegraph of {name}: not both of {a[0]} at {a[1]:.0f} pps and {b[0]} at {b[1]:.0f} pps are there"
            )
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
    _say("The demo changes kernel settings for the time of the sweep, and puts them back: it needs root.")
    if shutil.which("sudo") is None:
        _say("There is no sudo here: run it as root.")
        return 1
    argv = ["sudo", "--", sys.executable, "-B", "-m", "jvbtune.lab.demo"]  # -B: no __pycache__ of root's in the clone
    return subprocess.run(argv, check=False).returncode


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


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
