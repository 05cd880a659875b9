"""Builds the loops in C into the wheel, or beside their source for an editable install: those that read large profiles,
and those that send media.

They are optional: without a C compiler the wheel is pure Python, and does the same, more slowly. Nothing is compiled
after the installation. ``CC`` names the compiler; ``JVBTUNE_NATIVE=0`` builds none.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = (Path("jvbtune/flame/formats/native/fold.c"), Path("jvbtune/load/native/send.c"))
#: The last: the same numbers as Python's on processors that can multiply and add at once.
FLAGS = ("-O2", "-std=gnu11", "-shared", "-fPIC", "-ffp-contract=off")
COMPILE_SECONDS = 120


class Loops(BuildHookInterface):  # type: ignore[type-arg]
    """Shared libraries of plain C: they depend on the platform, and on no version of Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            self._made = tempfile.TemporaryDirectory(prefix="jvbtune-build-")
        for place in SOURCES:
            source = Path(self.root, place)
            # the name says which source it was built from: another one's is never loaded
            name = f"{place.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.so"
            if version == "editable":
                for old in source.parent.glob(f"{place.stem}-*.so"):
                    old.unlink()
                if not self._compile(source, source.with_name(name)):
                    return
                continue
            library = Path(self._made.name, name)
            if not self._compile(source, library):
                return
            build_data["force_include"][str(library)] = str(place.with_name(name))
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._made.cleanup()

    def _compile(self, source: Path, library: Path) -> bool:
        compiler = os.environ.get("CC", "").split() or next(
            ([found] for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), []
        )
        why = "no C compiler was found" if not compiler else ""
        if os.environ.get("JVBTUNE_NATIVE") == "0":
            why = "JVBTUNE_NATIVE=0"
        if not why:
            try:
                argv = [*compiler, *FLAGS, "-o", str(library), str(source)]
                done = subprocess.run(argv, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
                if done.returncode == 0:
                    return True
                why = f"{compiler[0]} failed: {done.stderr.strip()[:500]}"
            except (OSError, subprocess.TimeoutExpired) as error:
                why = str(error)
            library.unlink(missing_ok=True)
        self.app.display_warning(
            f"The loops in C are left out, so that large profiles are read and media are sent more slowly: {why}"
        )
        return False
