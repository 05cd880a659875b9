"""What the lab writes: the bridge's HOCON, the server's and the client's ssh configuration, the inventory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from jvbtune.lab.home import JAR, main_class


def jvb_conf(address: str, media_port: int, http_port: int) -> str:
    """Real keys (jitsi-videobridge's and ice4j's reference.conf)."""
    return f"""\
videobridge {{
  apis.rest.enabled = true
  http-servers {{
    private {{
      host = "127.0.0.1"
      port = {http_port}
    }}
    # For the bridge channel, on the lab's own address.
    public {{
      host = "{address}"
      port = {media_port}
    }}
  }}
  websockets {{
    enabled = true
    server-id = "lab"
    domains = ["{address}:{media_port}"]
    tls = false
  }}
  # For conferences that go on behind a relay.
  relay {{
    enabled = true
    region = "lab"
    relay-id = "lab"
  }}
  ice.udp.port = {media_port}
  # The lab's address is not one that the internet reaches.
  health.require-valid-address = false
}}
ice4j.harvest {{
  use-ipv6 = false
  mapping.aws.enabled = false
  allowed-addresses = ["{address}"]
  # As on a machine of four cores: of the sockets that share the media port one receives, the others only send.
  udp.socket-pool-size = 4
}}
"""


def bridge_argv(java: str, home: Path, directory: Path, heap_mib: int) -> list[str]:
    """The command line of the Debian package's jvb.sh, and what profilers want of a JVM.

    The compilers are the JVM's defaults, as in production: what a lab measures has to wait for them as well.
    """
    entry = main_class(home)
    return [
        java,
        f"-Xmx{heap_mib}m",
        "-XX:+UseG1GC",
        "-XX:+HeapDumpOnOutOfMemoryError",
        f"-XX:HeapDumpPath={directory}",
        "-Djdk.tls.ephemeralDHKeySize=2048",
        "-XX:+PreserveFramePointer",
        "-XX:+UnlockDiagnosticVMOptions",
        "-XX:+DebugNonSafepoints",
        f"-Dconfig.file={directory}/jvb.conf",
        f"-Djava.io.tmpdir={directory}/tmp",
        "-cp",
        f"{home}/{JAR}:{home}/lib/*",
        entry,
    ]


def sshd_config(directory: Path, address: str, port: int) -> str:
    """A server of the lab's own: nothing of the machine's sshd is used or touched."""
    return f"""\
ListenAddress {address}:{port}
HostKey {directory}/host_key
PidFile {directory}/sshd.pid
AuthorizedKeysFile {directory}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding local
X11Forwarding no
MaxSessions 100
"""


def ssh_config(directory: Path, name: str, address: str, port: int, user: str) -> str:
    """The client's: with the lab's own key and known_hosts."""
    return f"""\
Host {name}
  HostName {address}
  Port {port}
  User {user}
  IdentityFile {directory}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {directory}/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
"""


def inventory(
    directory: Path,
    name: str,
    *,
    address: str,
    media_port: int,
    http_port: int,
    python: str,
    generator_netns: str | None,
    generator_cpus: Sequence[int] | None,
) -> str:
    """The lab's host as an entry of a jvbtune.toml."""
    control = [python, "-I", "-B", f"{directory}/bridgectl.py"]
    generator = ""
    if generator_netns:
        generator += f"netns = {json.dumps(generator_netns)}\n"
    if generator_cpus:
        generator += f"cpus = {json.dumps(list(generator_cpus))}\n"
    return f"""\
[hosts.{json.dumps(name)}]
ssh_config = {json.dumps(str(directory / "ssh_config"))}

[hosts.{json.dumps(name)}.labels]
lab = "true"

[hosts.{json.dumps(name)}.bridge]
media_address = {json.dumps(address)}
media_port = {media_port}
allowed_media_addresses = [{json.dumps(address)}]
http_port = {http_port}
config_file = {json.dumps(str(directory / "jvb.conf"))}
pid_file = {json.dumps(str(directory / "bridge.pid"))}

[hosts.{json.dumps(name)}.bridge.control.commands]
restart = {json.dumps([*control, "restart"])}
status = {json.dumps([*control, "status"])}

[hosts.{json.dumps(name)}.generator]
{generator}"""


def host_inventory(
    directory: Path,
    name: str,
    *,
    kind: str,
    address: str,
    media_port: int,
    http_port: int,
    generator_netns: str,
    generator_cpus: Sequence[int],
) -> str:
    """A booted host as an entry of a jvbtune.toml: what an operator knows of it, and no more."""
    key = json.dumps(name)
    return f"""\
[hosts.{key}]
ssh_config = {json.dumps(str(directory / "ssh_config"))}

[hosts.{key}.labels]
lab = {json.dumps(kind)}

[hosts.{key}.bridge]
media_address = {json.dumps(address)}
media_port = {media_port}
allowed_media_addresses = [{json.dumps(address)}]
http_port = {http_port}

[hosts.{key}.generator]
netns = {json.dumps(generator_netns)}
cpus = {json.dumps(list(generator_cpus))}
"""
