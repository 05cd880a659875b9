"""perf on the host, without an agent in the JVM: record into a pipe, fold with the JVM's own map of compiled code.

``perf record`` writes to a pipe and the pipe into a file that has no name, so nothing is left whatever is killed.
Compiled frames are looked up in the map that the JVM wrote right after the recording (Compiler.perfmap), never in a
/tmp/perf-PID.map that perf may find: that one may be an earlier process's.
"""

from __future__ import annotations

import bisect
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from typing import IO

from jvbtune.agent.errors import AgentFault

KERNEL_ADDRESS = 0xFFFF800000000000
SPOOL_DIRECTORY = "/var/tmp"
ANSWER_SECONDS = 30.0  # a busy host with a thousand threads: two descriptors to open for each
BYTES_PER_SAMPLE = 1500
EVENT = "cpu-clock"
#: perf's own names for memory that no file is mapped to.
ANONYMOUS = ("[unknown]", "//anon", "[anon]", "[heap]")


class CodeMap:
    """A JVM's compiled code: address to name."""

    def __init__(self, text: str) -> None:
        entries = []
        for line in text.splitlines():
            parts = line.split(" ", 2)
            if len(parts) == 3:
                entries.append((int(parts[0], 16), int(parts[1], 16), _java_name(parts[2])))
        entries.sort()
        self._entries = entries
        self._starts = [start for start, _, _ in entries]

    def __len__(self) -> int:
        return len(self._entries)

    def name(self, address: int) -> str | None:
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        start, size, name = self._entries[index]
        return name if address < start + size else None


def _java_name(text: str) -> str:
    """``void a.b.C.m(int)`` as ``a/b/C.m``, with the kind's suffix as async-profiler writes it."""
    head, parenthesis, _ = text.partition("(")
    if parenthesis and not head.endswith(" ") and "." in head:
        package, _, method = head.split(" ")[-1].rpartition(".")
        return f"{package.replace('.', '/')}.{method}_[j]".replace(";", ":")
    return text.strip().replace(";", ":") + ("_[0]" if text.startswith("Interpreter") else "")


class Recording:
    """A ``perf record`` of one process for a bounded time; it ends by itself."""

    def __init__(self, perf: str, pid: int, interval_ns: int, seconds: float) -> None:
        self._data: IO[bytes] = tempfile.TemporaryFile(dir=SPOOL_DIRECTORY)  # noqa: SIM115 (closed by fold or kill)
        argv = [perf, "record", "-e", EVENT, "-c", str(interval_ns), "-g", "-p", str(pid), "--no-buildid"]
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        argv += ["--no-buildid-cache", "-D", "-1", "--control", f"fd:{commands},{answers}"]
        argv += ["-o", "-", "--", "sleep", f"{seconds:.3f}"]
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self._data,
            stderr=subprocess.PIPE,
            pass_fds=(commands, answers),
            start_new_session=True,
        )
        os.close(commands)
        os.close(answers)

    def enable(self) -> None:
        """Begin to sample; returns when perf does."""
        self._command(b"enable\n")

    def _command(self, text: bytes) -> None:
        """Raises AgentFault where perf has ended, or does not acknowledge (perf older than 5.10 has no --control)."""
        try:
            os.write(self._commands, text)
            if select.select([self._answers], [], [], ANSWER_SECONDS)[0] and os.read(self._answers, 64):
                return
        except OSError:
            pass
        self._process.kill()
        said = self._process.communicate()[1].decode("utf-8", "replace").strip()
        raise AgentFault("capture", f"perf record cannot be used here: {said[-500:] or 'it does not answer'}")

    def stop(self) -> None:
        """End it now; perf flushes on SIGINT."""
        self._command(b"disable\n")
        self._process.send_signal(signal.SIGINT)
        try:
            _, said = self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise AgentFault("capture", "perf record did not end within 30 s") from None
        if os.fstat(self._data.fileno()).st_size == 0:
            raise AgentFault("capture", f"perf record wrote nothing: {said.decode('utf-8', 'replace').strip()[-500:]}")

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        self._close()

    def _close(self) -> None:
        for descriptor in (self._commands, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._commands = self._answers = -1
        self._data.close()

    def fold(self, perf: str, code: CodeMap) -> tuple[str, int]:
        """(collapsed stacks, samples), at the lowest priority."""
        self._data.seek(0)
        argv = [perf, "script", "--no-inline", "--max-stack", "1024", "-F", "comm,tid,ip,sym,dso", "-i", "-"]
        process = subprocess.Popen(
            ["nice", "-n", "19", *argv], stdin=self._data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        with process.stdout as output:
            folded = fold((line.decode("utf-8", "replace") for line in output), code)
        if process.wait() != 0:
            raise AgentFault("capture", f"perf script failed with status {process.returncode}")
        self._close()
        return "".join(f"{stack} {count}\n" for stack, count in sorted(folded.items())), sum(folded.values())


def fold(lines: Iterable[str], code: CodeMap) -> dict[str, int]:
    """``perf script -F comm,tid,ip,sym,dso`` to collapsed stacks, the thread as first frame. Pure."""
    folded: dict[str, int] = {}
    names: dict[str, str] = {}
    thread = ""
    frames: list[str] = []
    for line in lines:
        line = line.rstrip("\n")
        if not line.strip():
            if thread:
                stack = ";".join([thread, *(reversed(frames) if frames else ["[no stack]"])])
                folded[stack] = folded.get(stack, 0) + 1
            thread, frames = "", []
        elif not thread:
            name, _, tid = line.strip().rpartition(" ")
            thread = f"[{name.strip().replace(';', ':')} tid={tid}]"
        else:
            frame = names.get(line)
            if frame is None:
                frame = names[line] = _frame(line, code)
            frames.append(frame)
    if thread:
        stack = ";".join([thread, *(reversed(frames) if frames else ["[no stack]"])])
        folded[stack] = folded.get(stack, 0) + 1
    return folded


def _frame(line: str, code: CodeMap) -> str:
    address_text, _, rest = line.strip().partition(" ")
    symbol, _, module = rest.replace(" (deleted))", ")").rpartition(" (")
    module = module.rstrip(")")
    address = int(address_text, 16)
    symbol = symbol.strip()
    if address >= KERNEL_ADDRESS or module.startswith("[kernel") or module.endswith((".ko", "vmlinux")):
        return f"{symbol.replace(';', ':')}_[k]"
    if module in ANONYMOUS or module.startswith(("[anon", "/tmp/perf-", "/memfd:", "/dev/zero")):
        return code.name(address) or "[unknown]"
    if symbol in ("", "[unknown]"):
        return f"[{os.path.basename(module).strip('[]')}]" if module else "[unknown]"
    return symbol.replace(";", ":")
