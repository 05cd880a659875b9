"""What is sent to hosts that make load, what ends it there, and the protocol of a command as docs/load.md has it."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest

from jvbtune.errors import LoadError, UsageError
from jvbtune.hosts.archive import FROM_MEMORY
from jvbtune.hosts.local import LocalHost
from jvbtune.inventory import GeneratorEntry, HostEntry
from jvbtune.inventory.file import _File
from jvbtune.load import Mix, minder
from jvbtune.load.archive import PACKAGES, worker_archive
from jvbtune.load.calibration import calibrate, limit_for
from jvbtune.load.places import There, refuse_load_hosts
from jvbtune.protocol import generator as messages
from jvbtune.protocol.codec import build, encode
from jvbtune.protocol.messages import Nothing, Request
from jvbtune.toml import parse_toml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/load.md").read_text()
MINDER = [sys.executable, "-I", "-B", str(Path(minder.__file__))]


def test_a_worker_starts_from_the_archive_alone(tmp_path: Path) -> None:
    """No other jvbtune is imported, and none of what only the controller needs."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import jvbtune.load.worker; "
        "print(sorted({name.split('.')[0] for name in sys.modules})); "
        "print({module.__file__.startswith(sys.argv[1]) for name, module in sys.modules.items() if 'jvbtune.' in name})"
    )
    (tmp_path / "worker.zip").write_bytes(worker_archive())
    argv = [sys.executable, "-B", "-c", code, str(tmp_path / "worker.zip")]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, check=True)
    modules, own = done.stdout.splitlines()
    assert own == "{True}"
    assert not {"pydantic", "paramiko", "polars", "psutil", "scipy"} & set(re.findall(r"'(\w+)'", modules))
    assert set(PACKAGES) <= set(re.findall(r"'(\w+)'", modules))
    with zipfile.ZipFile(io.BytesIO(worker_archive())) as archive:
        assert archive.read("jvbtune/load/__init__.py") == b""


def test_the_packages_are_those_of_pyproject_and_of_the_page() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for package, least in PACKAGES.values():
        assert f'"{package}>={least}"' in project
        assert f"'{package}>={least}'" in PAGE


def test_a_worker_from_memory_ends_when_its_controller_is_silent() -> None:
    """Its input stays open, as that of a link that is cut."""
    argv = [sys.executable, "-B", "-c", FROM_MEMORY, str(len(worker_archive())), ""]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        assert worker.stderr is not None
        worker.stdin.write(worker_archive())
        worker.stdin.flush()
        begun = time.monotonic()
        assert worker.stderr.read() == b"nothing came from the controller for 0.8 s, so the load was stopped\n"
        assert time.monotonic() - begun < 15


def test_the_minder_hands_on_what_is_written_and_the_status() -> None:
    with subprocess.Popen(
        [*MINDER, "0", "sh", "-c", "read a; echo $a; exit 7"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as minded:
        assert minded.stdin is not None
        assert minded.stdout is not None
        minded.stdin.write(b"hello\n")
        minded.stdin.flush()
        assert minded.stdout.read() == b"hello\n"
        assert minded.wait(15) == 7


@pytest.mark.parametrize("how", ["end of input", "SIGTERM"])
def test_the_minder_ends_the_whole_group(how: str) -> None:
    script = "trap '' TERM; sh -c 'trap \"\" TERM; sleep 60' & echo $$ $!; wait; sleep 60"
    with subprocess.Popen(
        [*MINDER, "0.2", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as minded:
        assert minded.stdin is not None
        assert minded.stdout is not None
        pids = minded.stdout.readline().split()
        if how == "SIGTERM":
            minded.send_signal(signal.SIGTERM)
        else:
            minded.stdin.close()
        assert minded.wait(15) == 1
    until = time.monotonic() + 5  # SIGKILL takes effect once the kernel runs the process again
    while any(_runs(int(pid)) for pid in pids):
        assert time.monotonic() < until, pids
        time.sleep(0.01)


def test_a_signal_while_the_command_is_being_started_ends_it_too(tmp_path: Path) -> None:
    """The command runs before ``Popen`` of it returns; an exception in there would leave it to nobody."""
    script = (
        "import os, signal, subprocess, sys\n"
        "from jvbtune.load import minder\n"
        "real = subprocess.Popen\n"
        "def popen(*given, **more):\n"
        "    child = real(*given, **more)\n"
        "    print(child.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return child\n"
        "minder.subprocess.Popen = popen\n"
        "sys.exit(minder.mind(['sleep', '60']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as minded:
        assert minded.stdout is not None
        pid = int(minded.stdout.readline())
        assert minded.wait(15) == 1
        assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_python_lacks_is_named(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text(
        '#!/bin/sh\necho; echo \'jvbtune-answer:{"python": [3, 9], "broken": {}, "versions": {}, "cores": [0]}\'\n'
    )
    old.chmod(0o755)
    entry = HostEntry("load-1", "load-1", generator=GeneratorEntry(python=str(old)))
    with pytest.raises(LoadError, match=r"load-1: .*python3 is Python 3\.9, and the generator needs 3\.11 or newer"):
        There(entry, LocalHost())
    old.write_text(
        old.read_text().replace("[3, 9]", "[3, 12]").replace('"versions": {}', '"versions": {"numpy": "1.9.2"}')
    )
    with pytest.raises(LoadError, match=r"numpy is 1\.9\.2, and 1\.26 or newer is needed"):
        There(entry, LocalHost())
    entry = HostEntry("load-1", "load-1", generator=GeneratorEntry(python=sys.executable, cpus=(0, 4000)))
    with pytest.raises(LoadError, match=r"load-1: .* cores 0, 4000: the host has no core 4000"):
        There(entry, LocalHost())


def test_one_machine_under_two_names_is_refused() -> None:
    generator = GeneratorEntry(hosts=("a", "b"))
    entry = HostEntry("jvb", "jvb", generator=generator, load_hosts=(HostEntry("a", "one"), HostEntry("b", "ops@one")))
    with pytest.raises(UsageError, match="a and b are one machine"):
        refuse_load_hosts(entry)


def test_no_limit_is_known_of_other_machines_and_commands() -> None:
    for generator in (GeneratorEntry(hosts=("a",)), GeneratorEntry(command=("tool",))):
        entry = HostEntry("jvb", "jvb", generator=generator)
        assert limit_for(entry, Mix()) is None
        with pytest.raises(UsageError, match="jvbtune can only calibrate this machine"):
            calibrate(entry, Mix())


# -- the page --------------------------------------------------------------------------------------------------------


def test_the_inventories_of_the_page_are_accepted() -> None:
    for block in re.findall(r"(?:^    (?:\[hosts|\w+ =).*\n(?:\n(?=    ))?)+", PAGE, re.M):
        if "[hosts" in block:
            parse_toml(re.sub(r"^    ", "", block, flags=re.M), _File, file="docs/load.md")


def test_the_program_of_the_page_answers_as_jvbtune_expects(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "tool.py").write_text(text)
    hello = messages.Hello(
        1, "0", "jvb", "203.0.113.7", 10000, ["203.0.113.7"], "http://127.0.0.1:1/", "jvbtune-1", 9.0
    )
    asked = [
        (messages.HELLO, hello),
        (messages.OFFER, messages.Offer(2, 600.0, asdict(Mix()), 0.1, 0.2)),
        (messages.HOLD, messages.HoldFor(0.2)),
        (messages.STOP, Nothing()),
        (messages.BYE, Nothing()),
    ]
    lines = b"".join(encode(Request(n, operation.name, vars(args))) for n, (operation, args) in enumerate(asked))
    argv = [sys.executable, str(tmp_path / "tool.py")]
    done = subprocess.run(argv, input=lines, capture_output=True, timeout=20, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["id"] for one in answers] == list(range(5))
    for (operation, _), one in zip(asked, answers, strict=True):
        build(operation.result, one["result"])


def test_the_page_names_every_field() -> None:
    for kind in (messages.Hello, messages.Ready, messages.Offer, messages.Settled, messages.Held):
        assert not [name for name in kind.__dataclass_fields__ if f"`{name}`" not in PAGE]
