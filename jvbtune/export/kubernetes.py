"""Kubernetes: node-level sysctls, which no pod can set for itself, and the bridge's configuration as a ConfigMap.

``net.core.*`` belong to the node: ``securityContext.sysctls`` takes namespaced sysctls only. A DaemonSet writes them on
each node that has the label; where the provider can set them itself, that is better (``jvbtune-gke-nodes.yaml``).
"""

from __future__ import annotations

import json

from jvbtune.agent.settings import RMEM_MAX, UDP_MEM
from jvbtune.export import jvb_conf, sysctl
from jvbtune.export.cloud import larger_of_each
from jvbtune.export.header import comments, header
from jvbtune.export.settings import is_sysctl, lines_of
from jvbtune.export.text import literal
from jvbtune.result.model import RunResult

OBJECTS, GKE = "jvbtune-kubernetes.yaml", "jvbtune-gke-nodes.yaml"
NODE_LABEL = "jvbtune.jitsi/bridge"
#: What an operator adds to the pod template of the bridges.
MOUNT = """\
  spec:
    containers:
      - name: jvb
        volumeMounts:
          - name: jvbtune
            mountPath: /config/custom-jvb.conf
            subPath: custom-jvb.conf
            readOnly: true
    volumes:
      - name: jvbtune
        configMap:
          name: jvbtune
"""
#: Of GKE's node system configuration (linuxConfig.sysctl).
GKE_SYSCTLS = (
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.rmem_default",
    "net.core.wmem_default",
    "net.core.wmem_max",
)


def render(result: RunResult, pin: bool = False) -> dict[str, str]:
    """{file name: text}."""
    values = {line.name: str(line.value) for line in lines_of(result, pin=pin) if is_sysctl(line.name)}
    why = [f"{line.name} = {line.value}: {line.why}" for line in lines_of(result, pin=pin) if is_sysctl(line.name)]
    text = header(
        result,
        why=[*why, *jvb_conf.why(result)],
        undo=[f"kubectl delete -f {OBJECTS}; a node keeps its values until it is replaced or rebooted"],
    )
    text += comments(
        [
            f"To apply: kubectl label node NODE {NODE_LABEL}=true for each node that runs bridges; then",
            f"kubectl apply -f {OBJECTS}, in the namespace of the bridges: a pod mounts ConfigMaps of its own",
            "namespace only. Add this to the pod template of the bridges (docker-jitsi-meet's image; its jvb.conf ends",
            'with  include "custom-jvb.conf"):',
            *MOUNT.splitlines(),
            "For another image, mount the file beside its jvb.conf, and end jvb.conf with that line. Restart the pods",
            "when they are drained: a socket takes its buffer when it is created, and a file mounted by subPath stays",
            "as it was when the pod started.",
        ]
    )
    text += _config_map(result, pin)
    text += "---\n" + _daemon_set(values)
    files = {OBJECTS: text}
    supported = {name: value for name, value in values.items() if name in GKE_SYSCTLS}
    if supported:
        head = header(result, why=why, undo=["remove these lines, and update the node pool"])
        head += comments([f"To apply: gcloud container node-pools update POOL --system-config-from-file={GKE}"])
        files[GKE] = (
            head
            + "linuxConfig:\n  sysctl:\n"
            + "".join(f"    {name}: {json.dumps(value)}\n" for name, value in supported.items())
        )
    return files


def _config_map(result: RunResult, pin: bool) -> str:
    return (
        "apiVersion: v1\n"
        "kind: ConfigMap\n"
        "metadata:\n"
        "  name: jvbtune\n"
        "data:\n"
        "  custom-jvb.conf: |\n"
        f"{literal(jvb_conf.hocon(result, pin=pin), 4)}"
        f"  {sysctl.FILE_NAME}: |\n"
        f"{literal(sysctl.render(result, pin)[sysctl.FILE_NAME], 4)}"
    )


def _daemon_set(values: dict[str, str]) -> str:
    """It writes below the node's /proc/sys, which a privileged container sees, and then only waits."""
    writes = "; ".join(_write(name, value) for name, value in values.items())
    return f"""\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: jvbtune-node-sysctls
  labels:
    app: jvbtune-node-sysctls
spec:
  selector:
    matchLabels:
      app: jvbtune-node-sysctls
  template:
    metadata:
      labels:
        app: jvbtune-node-sysctls
    spec:
      nodeSelector:
        {NODE_LABEL}: "true"
      # The label chooses the nodes. Nodes that only bridges may use have taints, which would keep these pods away.
      tolerations:
        - operator: Exists
      hostNetwork: true
      automountServiceAccountToken: false
      initContainers:
        - name: write
          image: busybox:stable
          command: ["sh", "-ec", {json.dumps(writes or "true")}]
          securityContext:
            privileged: true
          resources:
            limits: {{cpu: 100m, memory: 32Mi}}
      containers:
        - name: wait
          image: busybox:stable
          command: ["sleep", "infinity"]
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            runAsNonRoot: true
            runAsUser: 65534
          resources:
            limits: {{cpu: 10m, memory: 8Mi}}
"""


def _write(name: str, value: str) -> str:
    """A node that has more net.core.rmem_max keeps it: it is a cap. No number of net.ipv4.udp_mem is lowered."""
    path = f"/proc/sys/{name.replace('.', '/')}"
    if name == UDP_MEM:
        return f'udp_mem=$({larger_of_each(value)} {path}); echo "$udp_mem" > {path}'
    unless = f'[ "$(cat {path})" -ge {value} ] || ' if name == RMEM_MAX else ""
    return f"{unless}echo '{value}' > {path}"
