#!/usr/bin/env python3
"""Start, stop and restart the lab's bridge. Standard library only; run on the lab's host, by the agent or its guard.

``bridgectl.py start|stop|restart|status``; its configuration is ``bridgectl.json`` beside it. The bridge is started in
a session of its own, on the lab's cores, in the lab's network namespace, with its output in a log file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any


def main() -> int:
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "bridgectl.json"), encoding="utf-8") as file:
        config = json.load(file)
    action = sys.argv[1] if len(sys.argv) == 2 else ""
    if action == "status":
        pid = running(config)
        sys.stdout.write(f"running as process {pid}\n" if pid else "stopped\n")
        return 0 if pid else 3
    if action in ("stop", "restart"):
        stop(config)
    if action in ("start", "restart"):
        return start(config)
    if action != "stop":
        sys.stderr.write("usage: bridgectl.py start|stop|restart|status\n")
        return 2
    return 0


def start_ticks(pid: int) -> int:
    """When the process was started, 0 where it does not run: with the pid its identity."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def running(config: dict[str, Any]) -> int:
    """The bridge's pid, 0 where it does not run."""
    try:
        with open(config["pid_file"], encoding="utf-8") as file:
            pid = int(file.read())
        with open(config["pid_file"] + ".start", encoding="utf-8") as file:
            started = int(file.read())
    except (OSError, ValueError):
        return 0
    return pid if started and start_ticks(pid) == started else 0


def start(config: dict[str, Any]) -> int:
    if running(config):
        sys.stderr.write("the bridge runs already\n")
        return 1
    argv = list(config["argv"])
    if config.get("netns"):
        argv = ["nsenter", "--net=/run/netns/" + config["netns"], "--", *argv]
    if config.get("cpus"):
        argv = ["taskset", "--cpu-list", ",".join(str(cpu) for cpu in config["cpus"]), *argv]
    with open(config["log_file"], "ab") as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    write(config["pid_file"] + ".start", str(start_ticks(process.pid)))
    write(config["pid_file"], str(process.pid))
    time.sleep(0.3)
    if process.poll() is not None:
        sys.stderr.write(f"the bridge ended at once with status {process.returncode}; see {config['log_file']}\n")
        return 1
    return 0


def stop(config: dict[str, Any]) -> None:
    """SIGTERM, then SIGKILL: a real bridge was seen to hang on SIGTERM for minutes."""
    pid = running(config)
    if pid:
        started = start_ticks(pid)
        for number, grace in ((signal.SIGTERM, config["grace_seconds"]), (signal.SIGKILL, 10.0)):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + grace
            while start_ticks(pid) == started and time.monotonic() < deadline:
                time.sleep(0.02)
            if start_ticks(pid) != started:
                break
    for path in (config["pid_file"], config["pid_file"] + ".start"):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


def write(path: str, text: str) -> None:
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".tmp", path)


if __name__ == "__main__":
    sys.exit(main())
