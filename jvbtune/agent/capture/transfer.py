"""Perf descriptors for a JVM that may not open its own: opened here by root, passed over a socket to async-profiler.

async-profiler's ``fdtransfer`` (fdtransfer.h, fdtransferServer_linux.cpp): SEQPACKET requests ``{type, tid, cpu,
perf_event_attr, probe}`` are answered by ``{type, error, tid}`` with the descriptor. So kernel frames need neither a
changed sysctl nor a privilege of the JVM's. Only threads of the one JVM are served.
"""

from __future__ import annotations

import array
import collections
import ctypes
import mmap
import os
import socket
import struct
import threading

SYSCALLS = {"x86_64": 298, "aarch64": 241}  # perf_event_open: unistd_64.h, asm-generic/unistd.h
PERF_FD, KALLSYMS_FD = 0, 1
HEADER_BYTES = 16  # type, tid, cpu, and what aligns the attributes
ATTR_VERSION_0_BYTES = 64
RING_PAGES = 2
KEPT_RINGS = 1024


def perf_event_open(attributes: bytes, tid: int, cpu: int) -> int:
    """A perf descriptor. Raises OSError."""
    number = SYSCALLS.get(os.uname().machine)
    if number is None:
        raise OSError(38, "perf_event_open is not known for this machine")
    library = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    arguments = (ctypes.c_long(number), buffer, ctypes.c_int(tid), ctypes.c_int(cpu), ctypes.c_int(-1))
    descriptor = library.syscall(*arguments, ctypes.c_ulong(8))  # PERF_FLAG_FD_CLOEXEC
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(descriptor)


class Transfer(threading.Thread):
    """Serves the JVM that connects, until it closes. ``proc`` is a descriptor of the caller's own /proc."""

    def __init__(self, path: str, pid: int, proc: int, uid: int, gid: int) -> None:
        super().__init__(name="perf-descriptors", daemon=True)
        self._pid, self._proc = pid, proc
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(path)
        os.chmod(path, 0o600)
        if os.geteuid() != uid:
            os.chown(path, uid, gid)
        self._listener.listen(1)
        self._listener.settimeout(30.0)
        self._tids: dict[int, int] = {}
        self._rings: collections.deque[mmap.mmap] = collections.deque(maxlen=KEPT_RINGS)
        self.served = 0

    def run(self) -> None:
        try:
            with self._listener:
                peer = self._listener.accept()[0]
        except OSError:
            return
        with peer:
            credentials = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if credentials[0] != self._pid:
                return
            while True:
                try:
                    request = peer.recv(1024)
                    if not request:
                        return
                    self._answer(peer, request)
                except OSError:
                    return

    def _answer(self, peer: socket.socket, request: bytes) -> None:
        (kind,) = struct.unpack_from("I", request)
        if kind == KALLSYMS_FD:
            _send(peer, struct.pack("Ii", kind, 0), self._kallsyms())
            return
        _, tid, cpu = struct.unpack_from("Iii", request)
        (size,) = struct.unpack_from("I", request, HEADER_BYTES + 4)
        error, descriptor = 22, None
        if ATTR_VERSION_0_BYTES <= size <= len(request) - HEADER_BYTES:
            try:
                descriptor = perf_event_open(request[HEADER_BYTES : HEADER_BYTES + size], self._host_tid(tid), cpu)
                error = 0
                self._map(descriptor)
                self.served += 1
            except OSError as found:
                error = found.errno or 22
        _send(peer, struct.pack("Iii", kind, error, tid), descriptor)

    def _map(self, descriptor: int) -> None:
        """Map its ring here, with our rights: the JVM's own mapping then needs none (perf_event_mlock_kb)."""
        try:
            self._rings.append(mmap.mmap(descriptor, RING_PAGES * mmap.PAGESIZE))
        except OSError:
            pass  # the profiler meets the same and says so

    def _host_tid(self, tid: int) -> int:
        """The JVM's thread, by its number there, as a number here. Raises OSError: it is none of its threads."""
        for attempt in (False, True):
            if attempt:
                self._tids = self._look()
            if tid in self._tids:
                return self._tids[tid]
        raise ProcessLookupError(3, "no thread of the JVM")

    def _look(self) -> dict[int, int]:
        found = {}
        directory = os.open(f"{self._pid}/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            for name in os.listdir(directory):
                try:
                    status = os.open(f"{name}/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
                except OSError:
                    continue
                with open(status, encoding="utf-8", errors="replace") as file:
                    inner = [line.split()[-1] for line in file if line.startswith("NSpid:")]
                found[int(inner[0]) if inner else int(name)] = int(name)
        finally:
            os.close(directory)
        return found

    def _kallsyms(self) -> int | None:
        """A copy: before Linux 4.15 the permission was checked at each read."""
        copy = os.memfd_create("kallsyms", os.MFD_CLOEXEC)
        source = os.open("kallsyms", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            while True:
                data = os.read(source, 1 << 20)
                if not data:
                    break
                os.write(copy, data)
        finally:
            os.close(source)
        os.lseek(copy, 0, os.SEEK_SET)
        return copy


def _send(peer: socket.socket, answer: bytes, descriptor: int | None) -> None:
    ancillary = []
    if descriptor is not None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]).tobytes())]
    try:
        peer.sendmsg([answer], ancillary)
    finally:
        if descriptor is not None:
            os.close(descriptor)
