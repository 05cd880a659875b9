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
JVBTUNE = (sys.executable, "-m", "jvbtune")


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
    after = _settings()
    changed = {name: (value, after.get(name)) for name, value in before.items() if after.get(name) != value}
    for name, (old, new) in changed.items():
        _say(f"NOT PUT BACK: {name} was {old} and is {new}")
    _say("Every kernel setting is as it was before." if not changed else "jvbtune revert --host lab")
    return 1 if changed else status


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
    return subprocess.run(["sudo", "--", sys.executable, "-m", "jvbtune.lab.demo"], check=False).returncode


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    begun = time.monotonic()
    try:
        code = main()
    except JvbtuneError as error:
        _say(f"jvbtune: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    _say(f"{time.monotonic() - begun:.0f} s")
    sys.exit(code)
