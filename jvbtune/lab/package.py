"""The files of a host on which the Debian package of the videobridge is installed, or docker-jitsi-meet, as texts.

Paths are those of the host. They follow the packages' own layouts; what a lab adds (cores to stay apart from the
generator, a heap that fits) is in files of its own, as an operator would add it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PACKAGE = "/usr/share/jitsi-videobridge"
JVB_CONF = "/etc/jitsi/videobridge/jvb.conf"
#: docker-jitsi-meet's ``${CONFIG}/jvb``, mounted at /config.
CONTAINER_CONFIG = "/root/.jitsi-meet-cfg/jvb"
CONTAINER = "docker-jitsi-meet-jvb-1"
IMAGE = "docker.io/jitsi/jvb:lab"
#: The image's own files, which a lab mounts rather than builds in.
IMAGE_FILES = "/usr/local/lib/jvb-image"


@dataclass(frozen=True)
class File:
    """One file to write; ``owner`` as ``user:group`` of the host."""

    path: str
    text: str
    mode: int = 0o644
    owner: str = "root:root"


def jvb_sh(entry: str) -> File:
    """The package's start script: the same variables and the same command line."""
    text = f"""\
#!/bin/bash
# Variables of /etc/jitsi/videobridge/config: VIDEOBRIDGE_MAX_MEMORY, VIDEOBRIDGE_GC_TYPE, JAVA_SYS_PROPS.
home=$(dirname "$(readlink -f "$0")")
exec java "-Xmx${{VIDEOBRIDGE_MAX_MEMORY:-3072m}}" $VIDEOBRIDGE_DEBUG_OPTIONS \\
    "-XX:+Use${{VIDEOBRIDGE_GC_TYPE:-G1GC}}" \\
    -XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/tmp -Djdk.tls.ephemeralDHKeySize=2048 $JAVA_SYS_PROPS \\
    -cp "$home/jitsi-videobridge.jar:$home/lib/*" {entry} "$@"
"""
    return File(f"{PACKAGE}/jvb.sh", text, 0o755)


def mount_points() -> list[File]:
    """Where the bridge's home is mounted."""
    return [File(f"{PACKAGE}/jitsi-videobridge.jar", ""), File(f"{PACKAGE}/lib/.keep", "")]


def host_files(
    *, ssh_address: str, ssh_port: int, host_key: str, authorized_key: str, other_cores: Sequence[int]
) -> list[File]:
    """sshd, systemd and logind of the host."""
    sshd = f"""\
Port {ssh_port}
ListenAddress {ssh_address}
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
PrintMotd no
MaxSessions 100
MaxStartups 100
Subsystem sftp /usr/lib/openssh/sftp-server
"""
    cores = " ".join(map(str, other_cores))
    return [
        File("/etc/ssh/sshd_config", sshd),
        File("/etc/ssh/ssh_host_ed25519_key", host_key, 0o600),
        File("/root/.ssh/authorized_keys", authorized_key, 0o600),
        File("/home/ops/.ssh/authorized_keys", authorized_key, 0o600, "ops:ops"),
        File("/etc/systemd/system.conf.d/lab.conf", f"[Manager]\nCPUAffinity={cores}\n"),
        # Hardened hosts have it: what a session leaves behind ends with the session.
        File("/etc/systemd/logind.conf.d/kill.conf", "[Login]\nKillUserProcesses=yes\n"),
        # What the package brings. The lab does not load it: the machine's other labs have these settings too.
        File(
            "/etc/sysctl.d/20-jvb-udp-buffers.conf",
            "net.core.rmem_max = 10485760\nnet.core.netdev_max_backlog = 100000\n",
        ),
    ]


def debian_package(*, jvb_conf: str, heap_mib: int, bridge_cores: Sequence[int]) -> list[File]:
    """The unit, its configuration and what the lab adds to it."""
    unit = f"""\
[Unit]
Description=Jitsi Videobridge
After=network-online.target

[Service]
SuccessExitStatus=143
AmbientCapabilities=CAP_NET_BIND_SERVICE
EnvironmentFile=/etc/jitsi/videobridge/config
Environment=LOGFILE=/var/log/jitsi/jvb.log
User=jvb
RuntimeDirectory=jitsi-videobridge
RuntimeDirectoryMode=0750
PIDFile=/run/jitsi-videobridge/jitsi-videobridge.pid
TasksMax=65000
LimitNPROC=65000
LimitNOFILE=65000
ExecStart=/bin/bash -c "exec {PACKAGE}/jvb.sh ${{JVB_OPTS}} < /dev/null >> ${{LOGFILE}} 2>&1"
ExecStartPost=/bin/bash -c "echo $MAINPID > /run/jitsi-videobridge/jitsi-videobridge.pid"
Restart=on-failure
RestartSec=2

[Install]
WantedBy=multi-user.target
"""
    config = f"""\
# Jitsi Videobridge settings
JVB_OPTS=""
VIDEOBRIDGE_MAX_MEMORY={heap_mib}m
JAVA_SYS_PROPS="-Dconfig.file={JVB_CONF} -Dnet.java.sip.communicator.SC_HOME_DIR_LOCATION=/etc/jitsi \
-Dnet.java.sip.communicator.SC_HOME_DIR_NAME=videobridge -Dnet.java.sip.communicator.SC_LOG_DIR_LOCATION=/var/log/jitsi"
"""
    cores = " ".join(map(str, bridge_cores))
    return [
        File("/usr/lib/systemd/system/jitsi-videobridge2.service", unit),
        File("/etc/systemd/system/jitsi-videobridge2.service.d/lab.conf", f"[Service]\nCPUAffinity={cores}\n"),
        File("/etc/jitsi/videobridge/config", config, 0o640, "jvb:jitsi"),
        File(JVB_CONF, jvb_conf, 0o640, "jvb:jitsi"),
        File("/etc/jitsi/videobridge/sip-communicator.properties", "", 0o640, "jvb:jitsi"),
        File("/var/log/jitsi/jvb.log", "", 0o644, "jvb:jitsi"),
    ]


def docker_jitsi_meet(*, jvb_conf: str, heap_mib: int, bridge_cores: Sequence[int]) -> list[File]:
    """What is mounted into the container, podman's configuration, and ``docker`` as podman-docker has it."""
    init = f"""\
#!/bin/sh
# What the image's init does at each start: /run to the JVM's user, the configuration written again from its template.
set -eu
chown jvb:jitsi /run
mkdir -p /run/jvb/config /run/jvb/tmp
cp -r /config/. /run/jvb/config
cat {IMAGE_FILES}/jvb.conf.template >/run/jvb/config/jvb.conf
chown -R jvb:jitsi /run/jvb
export VIDEOBRIDGE_MAX_MEMORY={heap_mib}m
export JAVA_SYS_PROPS="-Dnet.java.sip.communicator.SC_HOME_DIR_LOCATION=/run/jvb \
-Dnet.java.sip.communicator.SC_HOME_DIR_NAME=config -Dconfig.file=/run/jvb/config/jvb.conf \
-Djava.io.tmpdir=/run/jvb/tmp" # libraries of the JVM are unpacked there: /tmp is noexec
setpriv --reuid=jvb --regid=jitsi --clear-groups -- taskset --cpu-list {",".join(map(str, bridge_cores))} \
    {PACKAGE}/jvb.sh &
trap 'kill -TERM $!' TERM INT
wait $! || true
wait
"""
    storage = """\
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
[storage.options]
additionalimagestores = ["/var/lib/lab-images"]
"""
    # No controller of processes where the machine has cgroups of both versions; crun refuses such machines.
    containers = '[containers]\npids_limit = 0\n[engine]\nruntime = "runc"\nevents_logger = "file"\n'
    return [
        File(f"{IMAGE_FILES}/init", init, 0o755),
        File(f"{IMAGE_FILES}/jvb.conf.template", jvb_conf + '\ninclude "custom-jvb.conf"\n'),
        File(f"{CONTAINER_CONFIG}/custom-jvb.conf", "# The operator's own settings.\n"),
        File("/etc/containers/storage.conf", storage),
        File("/etc/containers/containers.conf", containers),
        File("/usr/bin/docker", '#!/bin/sh\nexec /usr/bin/podman "$@"\n', 0o755),
    ]


def run_container() -> list[str]:
    """The command that starts the container: what docker-jitsi-meet's compose file comes to."""
    return [
        "podman",
        "run",
        "--detach",
        f"--name={CONTAINER}",
        "--network=host",
        "--restart=always",
        "--read-only",
        "--tmpfs=/tmp:rw,noexec,nosuid,size=16m",
        "--tmpfs=/run:rw,exec,size=16m,mode=1755",
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=4096:4096",
        f"--volume={CONTAINER_CONFIG}:/config",
        f"--volume={IMAGE_FILES}:{IMAGE_FILES}:ro",
        f"--volume={PACKAGE}:{PACKAGE}:ro",
        IMAGE,
        f"{IMAGE_FILES}/init",
    ]
