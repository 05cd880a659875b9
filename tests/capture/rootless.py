"""Run a command as root of a user namespace of its own, as a rootless container does: ``rootless.py ARGV…``."""

from __future__ import annotations

import ctypes
import os
import sys

CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID = 0x10000000, 0x00020000, 0x20000000
MOUNTS = "mount -t proc proc /proc; mount -t tmpfs -o size=32m,mode=1777 tmpfs /tmp; mount -t tmpfs tmpfs /run; "


def main() -> int:
    unshared, map_written = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        if ctypes.CDLL(None).unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) != 0:
            return 1
        os.write(unshared[1], b"x")
        os.read(map_written[0], 1)
        os.setgid(0)
        os.setuid(0)
        if os.fork() == 0:
            os.execv("/bin/sh", ["sh", "-c", MOUNTS + 'exec "$@"', "sh", *sys.argv[1:]])
        return os.waitstatus_to_exitcode(os.wait()[1])
    os.read(unshared[0], 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write("0 100000 65536")
    os.write(map_written[1], b"x")
    return os.waitstatus_to_exitcode(os.wait()[1])


if __name__ == "__main__":
    sys.exit(main())
