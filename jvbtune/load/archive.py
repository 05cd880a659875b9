"""The worker as an archive for other hosts, and what a host must have to run it.

The worker's sources are sent each time, so that both ends are of one version. Its packages are compiled for the host's
own Python, and are not sent: ``PACKAGES`` has to be installed there.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from jvbtune.hosts.archive import sources_of, zipped

#: A worker ends when its controller was silent for so long, which says something every ``HEARTBEAT_SECONDS``: a link
#: that is cut ends no connection.
SILENCE_SECONDS = 0.8
HEARTBEAT_SECONDS = 0.1
LEAST_PYTHON = (3, 11)
#: Module -> package and the oldest version that will do; as in pyproject.toml.
PACKAGES = {
    "numpy": ("numpy", "1.26"),
    "OpenSSL": ("pyOpenSSL", "24.1"),
    "pylibsrtp": ("pylibsrtp", "0.10"),
    "cryptography": ("cryptography", "42"),
    "websockets": ("websockets", "13"),
}
_MAIN = f"""import os, sys

if sys.argv[1] == "worker":
    from jvbtune.load.worker import main

    sys.exit(main())

from jvbtune.load.minder import mind

if sys.argv[1]:
    os.sched_setaffinity(0, [int(core) for core in sys.argv[1].split(",")])
os.write(1, b"\\n")  # ends what the login printed, if that has no end of line
fd = int(sys.argv[0].rpartition("/")[2])
argv = [sys.executable, "-B", sys.argv[0], "worker"]
sys.exit(mind(argv, silence_seconds={SILENCE_SECONDS}, pass_fds=[fd]))
"""


@cache
def worker_archive() -> bytes:
    """A zip for ``hosts.archive.FROM_MEMORY``. Its argument: the cores to run on, separated by commas; empty: all."""
    files = {"__main__.py": _MAIN.encode(), "jvbtune/__init__.py": b""}
    for name in ("errors.py", "native.py"):  # the loop in C stays here: it is for this machine's processor
        files[f"jvbtune/{name}"] = resources.files("jvbtune").joinpath(name).read_bytes()
    files |= sources_of("load") | sources_of("protocol")
    files["jvbtune/load/__init__.py"] = b""  # the controller's side of it, with what only that needs
    return zipped(files)
