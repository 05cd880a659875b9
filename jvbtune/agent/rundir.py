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


def stop_timer() -> None:
    """And forget a service of its that failed, which would keep the name. No error where there is none."""
    if systemd():
        for argv in (["stop", f"{TIMER_UNIT}.timer"], ["reset-failed", f"{TIMER_UNIT}.service"]):
            subprocess.run(["systemctl", *argv], capture_output=True, timeout=15, stdin=subprocess.DEVNULL)


def tidy(journal: Journal) -> None:
    """Once the journal is gone, take the rest away; the caller holds the journal's lock."""
    if not journal.exists():
        stop_timer()
        if journal.clear_leftovers():
            shutil.rmtree(DIRECTORY, ignore_errors=True)
