"""What a sweep keeps in /run beside its journal: the lease, the guard's copy of the archive, overlays; and the timer.

All of it goes with the boot, and, whoever put the host back, with the journal.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys

from jvbtune.agent.journal import RUN_DIRECTORY, Journal, own_directory

DIRECTORY = own_directory(RUN_DIRECTORY)
LEASE_PATH = os.path.join(DIRECTORY, "lease")
#: systemd answers at once, unless it hangs.
SYSTEMD_SECONDS = 15.0
#: One for each host that a machine's network namespaces are.
TIMER_UNIT = "jvbtune-guard" + os.path.basename(DIRECTORY)[len("jvbtune") :]


def systemd() -> bool:
    """sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def own_archive() -> str:
    """A copy of the archive that this process runs from, where nobody tidies up while the guard may need it."""
    copy, source = os.path.join(DIRECTORY, "agent.pyz"), os.path.abspath(sys.argv[0])
    if source != copy and not (os.path.exists(copy) and filecmp.cmp(copy, source, shallow=False)):
        temporary = f"{copy}.{os.getpid()}"
        shutil.copyfile(source, temporary)
        os.replace(temporary, copy)
    return copy


def ask_systemd(argv: list[str], timeout_seconds: float = SYSTEMD_SECONDS) -> str | None:
    """Run a command of systemd's. None: it is done; else why not, also where it is not there or hangs."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=timeout_seconds, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip() or f"{argv[0]} ended with {done.returncode}"


def stop_timer(timeout_seconds: float = SYSTEMD_SECONDS) -> None:
    """And forget a service of its that failed, which would keep the name. No error where there is none, nor where
    systemd hangs: a timer that finds no journal stops itself."""
    if systemd():
        for argv in (["stop", f"{TIMER_UNIT}.timer"], ["reset-failed", f"{TIMER_UNIT}.service"]):
            ask_systemd(["systemctl", *argv], timeout_seconds)


def tidy(journal: Journal) -> None:
    """Once the journal is gone, take the rest away; the caller holds the journal's lock."""
    if not journal.exists():
        stop_timer()
        if journal.clear_leftovers():
            shutil.rmtree(DIRECTORY, ignore_errors=True)
