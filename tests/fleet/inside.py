"""A light host, from its inside: the first process of namespaces of its own. ``inside.py DIRECTORY DESCRIPTOR``

The descriptor is a socket of the machine's own network that listens: each connection becomes a real sshd's. The bridge
is a process with the bridge's HTTP interface (``tests.faults.bridge``), and a UDP socket for media.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys

DIRECTORY, DESCRIPTOR, BRIDGE = sys.argv[1], int(sys.argv[2]), sys.argv[3]
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def reap(*_: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    for place in (b"/run", b"/var/lib", b"/var/cache", b"/etc/sysctl.d"):
        if library.mount(b"none", place, b"tmpfs", 0, b"size=8m,mode=755"):
            raise OSError(ctypes.get_errno(), place)
    os.mkdir("/run/sshd", 0o755)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    signal.signal(signal.SIGCHLD, reap)
    null = subprocess.DEVNULL
    argv = [sys.executable, "-I", "-S", "-B", BRIDGE, "serve", DIRECTORY]
    subprocess.Popen(argv, stdin=null, stdout=null, start_new_session=True)
    listening = socket.socket(fileno=DESCRIPTOR)
    log = os.open(f"{DIRECTORY}/sshd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(connection.fileno(), 0)
            os.dup2(connection.fileno(), 1)
            os.dup2(log, 2)
            os.execv("/usr/sbin/sshd", ["/usr/sbin/sshd", "-i", "-e", "-f", f"{DIRECTORY}/sshd_config"])
        connection.close()


main()
