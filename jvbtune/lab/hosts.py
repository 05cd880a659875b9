"""Labs that boot a Debian host: the bridge as the Debian package's unit, or in a container as docker-jitsi-meet has it.

Reached as root (the lab's name) and as the user ``ops`` with sudo (``<name>-ops``). The inventory names neither unit
nor configuration file: finding them is jvbtune's own work there.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from jvbtune.agent import sysctl
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.generations import Generations
from jvbtune.agent.journal import Journal
from jvbtune.errors import JvbtuneError
from jvbtune.lab import files, package
from jvbtune.lab.home import JAR, main_class
from jvbtune.lab.lab import HEALTHY_TIMEOUT_SECONDS, HEAP_MIB, Lab, check_requirements, listens, split_cores
from jvbtune.lab.machine import Machine
from jvbtune.lab.package import File
from jvbtune.lab.tree import lab_tree, tree_path

UNIT = "jitsi-videobridge2.service"


class SystemdLab(Lab):
    """A Debian host with systemd as process 1 and the Debian package's layout."""

    kind: ClassVar[str] = "systemd"

    @property
    def machine(self) -> Machine:
        return Machine(self.directory, f"jvbtune-lab{self.state['number']}")

    def bridge_pid(self) -> int | None:
        return self.machine.find(JAR, "-Xmx") if "number" in self.state else None

    @property
    def journal(self) -> Path:
        """Where the host's journal is, as this machine sees it."""
        return Path(str(self.machine.root_layer) + Journal().path)

    def reboot(self) -> None:
        """End every process, then boot again: what was written to disk stays, /run and kernel settings do not."""
        self._stop()
        self._restore_settings()
        self._boot()

    # -- what the kind differs in ----------------------------------------------------------------------------------

    @classmethod
    def check_requirements(cls) -> None:
        check_requirements(java=False)

    def _fetch(self, say: Callable[[str], None]) -> None:
        lab_tree(say)

    def _start(self, home: Path) -> None:
        self.machine.prepare()
        self._make_keys()
        bridge_cores, other_cores = split_cores()
        self._note(other_cores=other_cores, tree=str(tree_path()))
        below = tree_path() / "host"
        owners = _owners(below)
        for file in self._files(main_class(home), bridge_cores, other_cores):
            _write(self.machine.root_layer, below, file, owners)
        self._enable()
        self._write_client()
        self._boot()

    def _boot(self) -> None:
        home, tree = Path(self.state["home"]), Path(self.state["tree"])
        self.machine.boot(tree, home, self.name, self.network.host_netns)
        self._wait(lambda: listens(self.network.ssh_address, self.ssh_port), 30, "sshd")
        self._start_bridge()

    def _start_bridge(self) -> None:
        self._wait(self._healthy, HEALTHY_TIMEOUT_SECONDS, "the host's bridge")

    def _let_go(self) -> None:
        """Nothing yet: a sweep under way ends with the host's processes, and ``_stop`` puts its settings back."""

    def _stop(self) -> None:
        if "number" not in self.state:
            return
        self.machine.kill()
        self._restore_settings()

    def _restore_settings(self) -> None:
        """What a sweep or an apply on the host had written, back to what it was; the host's records say what."""
        with contextlib.suppress(AgentFault, OSError):
            record = Journal(str(self.journal.parent)).read() or {"written": {}}
            for name, written in record["written"].items():
                if sysctl.read(name) in written:
                    sysctl.write(name, record["baseline"][name])
        with contextlib.suppress(AgentFault, OSError):
            applied = Generations(str(self.journal.parent / "deployed")).latest() or {"values": {}}
            for name, (before, after) in applied["values"].items():
                if sysctl.read(name) == after:
                    sysctl.write(name, before)

    def status(self) -> dict[str, Any]:
        """What of the lab runs."""
        found = super().status()
        init = self.machine.init_pid() if "number" in self.state else None
        found.update(kind=self.kind, init_pid=init, running=init is not None and found["bridge_pid"] is not None)
        return found

    # -- its files -------------------------------------------------------------------------------------------------

    def _files(self, entry: str, bridge_cores: list[int], other_cores: list[int]) -> list[File]:
        return [
            package.jvb_sh(entry),
            *package.mount_points(),
            *package.host_files(
                ssh_address=self.network.ssh_address,
                ssh_port=self.ssh_port,
                host_key=(self.directory / "host_key").read_text(),
                authorized_key=(self.directory / "user_key.pub").read_text(),
                other_cores=other_cores,
            ),
            *self._bridge_files(bridge_cores),
        ]

    def _jvb_conf(self) -> str:
        return files.jvb_conf(self.network.bridge_address, self.media_port, self.http_port)

    def _bridge_files(self, bridge_cores: list[int]) -> list[File]:
        return package.debian_package(jvb_conf=self._jvb_conf(), heap_mib=HEAP_MIB, bridge_cores=bridge_cores)

    def _enable(self) -> None:
        wants = self.machine.root_layer / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / UNIT).symlink_to(f"/lib/systemd/system/{UNIT}")

    def _write_client(self) -> None:
        """ssh's configuration and the inventory: the host as root, and as the user with sudo."""
        network = self.network
        users = {self.name: "root", f"{self.name}-ops": "ops"}
        texts = [
            files.ssh_config(self.directory, host, network.ssh_address, self.ssh_port, user)
            for host, user in users.items()
        ]
        self.ssh_config.write_text("\n".join(texts))
        entries = [
            files.host_inventory(
                self.directory,
                host,
                kind=self.kind,
                address=network.bridge_address,
                media_port=self.media_port,
                http_port=self.http_port,
                generator_netns=network.generator_netns,
                generator_cpus=self.state["other_cores"],
            )
            for host in users
        ]
        self.inventory.write_text("\n".join(entries))


class ContainerLab(SystemdLab):
    """A Debian host with podman, and the bridge in a container of docker-jitsi-meet's layout."""

    kind: ClassVar[str] = "container"

    def _bridge_files(self, bridge_cores: list[int]) -> list[File]:
        return package.docker_jitsi_meet(jvb_conf=self._jvb_conf(), heap_mib=HEAP_MIB, bridge_cores=bridge_cores)

    def _enable(self) -> None:
        """The container is restarted at a boot by podman-restart.service, which the package enables."""

    def _start_bridge(self) -> None:
        if not self.state.get("container"):
            done = self.machine.run(package.run_container())
            if done.returncode != 0:
                raise JvbtuneError(f"the lab's container did not start: {done.stderr.strip()}")
            self._note(container=done.stdout.strip())
        super()._start_bridge()


def _write(layer: Path, tree: Path, file: File, owners: dict[str, int]) -> None:
    """Write one file into a layer over a tree. A directory of the tree keeps its owner and mode."""
    user, group = (owners[name] for name in (f"u:{file.owner.split(':')[0]}", f"g:{file.owner.split(':')[1]}"))
    path = layer / file.path.lstrip("/")
    for directory in reversed([parent for parent in path.parents if not parent.exists()]):
        directory.mkdir(mode=0o755)
        below = tree / directory.relative_to(layer)
        found = below.stat() if below.is_dir() else None
        os.chown(directory, found.st_uid if found else user, found.st_gid if found else group)
        directory.chmod(stat.S_IMODE(found.st_mode) if found else 0o755)
    path.write_text(file.text)
    path.chmod(file.mode)
    os.chown(path, user, group)


def _owners(tree: Path) -> dict[str, int]:
    """``u:NAME`` and ``g:NAME`` of a tree: their numbers."""
    found = {}
    for prefix, name in (("u:", "passwd"), ("g:", "group")):
        for line in (tree / "etc" / name).read_text().splitlines():
            fields = line.split(":")
            found[prefix + fields[0]] = int(fields[2])
    return found
