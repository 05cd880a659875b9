"""Telegraf: inputs for a bridge and its host, the measured figures of the fleet, and an output to InfluxDB over HTTPS.

The same files go to every bridge: a script in them knows each host's labels and figures by the tag ``host``. What it
writes has the fields of ``observe.columns``, so that the same dashboards show both. Keys are those of Telegraf 1.37.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from jvbtune.export.header import comments, origin
from jvbtune.export.prometheus import figures_of
from jvbtune.observe.columns import HOST, MACHINE_TYPE, REPORTED
from jvbtune.observe.labels import labels_of
from jvbtune.result.model import RunResult
from jvbtune.text import clean

COLIBRI, METRICS, HOST_SIDE = "jvbtune-bridge-colibri.conf", "jvbtune-bridge-metrics.conf", "jvbtune-host.conf"
INFLUXDB_1, INFLUXDB_2 = "jvbtune-influxdb1.conf", "jvbtune-influxdb2.conf"
#: What a bridge reports as true or false: Telegraf's JSON drops these unless they are named.
TRUTHS = {
    "colibri": ("healthy", "drain", "graceful_shutdown", "shutting_down"),
    "metrics": ("healthy", "drain_mode", "graceful_shutdown"),
}

_BRIDGE = """\
[[inputs.http]]
  urls = ["http://127.0.0.1:${{JVBTUNE_BRIDGE_PORT:-8080}}{path}"]
  headers = {{"Accept" = "application/json"}}
  timeout = "4s"
  name_override = {measurement}
  data_format = "json"
  json_string_fields = {truths}
{more}  [inputs.http.tags]
    jvbtune = "bridge"
"""

_HOST = """\
[[inputs.nstat]]
  interval = "10s"
  dump_zeros = true
  fieldinclude = ["Udp*"]

[[inputs.net]]
  interval = "10s"
  ignore_protocol_stats = true
  [inputs.net.tagdrop]
    interface = ["veth*", "br-*", "docker*", "cali*", "cni*", "lxc*"]

[[inputs.file]]
  interval = "10s"
  files = ["/proc/net/softnet_stat"]
  name_override = "softnet"
  data_format = "value"
  data_type = "string"

[[inputs.procstat]]
  interval = "10s"
  pattern = "${JVBTUNE_BRIDGE_PATTERN:-org.jitsi.videobridge.Main}"
  process_name = "jitsi-videobridge"

[[inputs.cpu]]
  interval = "10s"
  percpu = false
  totalcpu = true

"""

#: Starlark. ``LABELS``, ``FIGURES``, ``RENAMED``, ``MEASUREMENT`` stand before it.
_SCRIPT = """\
COPIED = {
    "nstat": {
        "UdpInDatagrams": "udp_in_datagrams",
        "UdpOutDatagrams": "udp_out_datagrams",
        "UdpInErrors": "udp_in_errors",
        "UdpRcvbufErrors": "udp_rcvbuf_errors",
        "UdpSndbufErrors": "udp_sndbuf_errors",
        "UdpMemErrors": "udp_mem_errors",
    },
    "net": {
        "bytes_recv": "rx_bytes",
        "packets_recv": "rx_packets",
        "err_in": "rx_errors",
        "drop_in": "rx_dropped",
        "bytes_sent": "tx_bytes",
        "packets_sent": "tx_packets",
        "err_out": "tx_errors",
        "drop_out": "tx_dropped",
    },
    "procstat": {"memory_rss": "resident_memory_bytes", "num_threads": "process_threads"},
    "cpu": {"usage_steal": "steal_share"},
}
RATES = ("packet_rate_download", "packet_rate_upload", "octo_receive_packet_rate", "octo_send_packet_rate")

def apply(metric):
    for name, value in LABELS.get(metric.tags.get("host", ""), {}).items():
        if name not in metric.tags:
            metric.tags[name] = value
    if metric.tags.get("jvbtune") == "bridge":
        metric.tags.pop("jvbtune")
        return bridge(metric)
    if metric.name == "softnet":
        return softnet(metric)
    if metric.name in COPIED and ours(metric):
        return copied(metric)
    return metric

def bridge(metric):
    for old, (new, scale) in RENAMED.items():
        if old in metric.fields and new not in metric.fields:
            value = metric.fields.pop(old)
            metric.fields[new] = float(value) * scale if type(value) in ("int", "float") else value
    for name, value in metric.fields.items():
        if type(value) == "bool" or value == "true" or value == "false":
            metric.fields[name] = 1.0 if value == True or value == "true" else 0.0
    metric.fields["up"] = 1.0
    metric.fields["bridge_up"] = 1.0
    figures = FIGURES["host"].get(metric.tags.get("host", ""))
    figures = figures or FIGURES["machine_type"].get(metric.tags.get("machine_type", "")) or {}
    for name, value in figures.items():
        metric.fields[name] = value
    if RATES[0] in metric.fields and RATES[1] in metric.fields:
        rate = 0.0
        for name in RATES:
            rate += float(metric.fields.get(name, 0.0))
        metric.fields["packet_rate"] = rate
        if "max_packet_rate" in figures:
            metric.fields["capacity_used"] = rate / figures["max_packet_rate"]
    return metric

def softnet(metric):
    totals = [0, 0, 0]
    for line in metric.fields["value"].splitlines():
        columns = line.split()
        for index in range(3):
            totals[index] += int(columns[index], 16)
    metric.name = MEASUREMENT
    metric.fields.clear()
    metric.fields["softnet_processed"] = float(totals[0])
    metric.fields["softnet_dropped"] = float(totals[1])
    metric.fields["softnet_time_squeeze"] = float(totals[2])
    return metric

def ours(metric):
    # A Telegraf that runs already may have other inputs of these kinds: each CPU, other processes.
    if metric.name == "cpu":
        return metric.tags.get("cpu", "") == "cpu-total"
    if metric.name == "procstat":
        return metric.tags.get("process_name", "") == "jitsi-videobridge"
    return True

def copied(metric):
    found = Metric(MEASUREMENT)
    for name in ("interface",) + tuple(LABELS_OF_HOSTS):
        if name in metric.tags:
            found.tags[name] = metric.tags[name]
    for old, new in COPIED[metric.name].items():
        if old in metric.fields:
            found.fields[new] = float(metric.fields[old])
    if metric.name == "procstat" and "cpu_time_user" in metric.fields:
        found.fields["process_cpu_s"] = float(metric.fields["cpu_time_user"]) + float(metric.fields["cpu_time_system"])
    if metric.name == "cpu" and "steal_share" in found.fields:
        found.fields["steal_share"] = found.fields["steal_share"] / 100
    found.time = metric.time
    return [metric, found] if len(found.fields.keys()) else metric
"""

_INFLUXDB_1 = """\
[[outputs.influxdb]]
  urls = ["${INFLUX_URL}"]
  database = "${INFLUX_DATABASE}"
  username = "${INFLUX_USER:-}"
  password = "${INFLUX_PASSWORD:-}"
  tls_ca = "${INFLUX_CA:-}"
  skip_database_creation = true
  content_encoding = "gzip"
"""
_INFLUXDB_2 = """\
[[outputs.influxdb_v2]]
  urls = ["${INFLUX_URL}"]
  organization = "${INFLUX_ORG}"
  bucket = "${INFLUX_BUCKET}"
  token = "${INFLUX_TOKEN}"
  tls_ca = "${INFLUX_CA:-}"
"""


def render(results: Sequence[RunResult], measurement: str) -> dict[str, str]:
    """{file name: text}: for /etc/telegraf/telegraf.d of every bridge. At least one result."""
    metrics_keys = [quantity.metrics_key for quantity in REPORTED]
    include = f"  fieldinclude = {_toml(metrics_keys)}\n"
    return {
        COLIBRI: _head(results, _COLIBRI_WHY, COLIBRI) + _bridge("/colibri/stats", measurement, "colibri", ""),
        METRICS: _head(results, _METRICS_WHY, METRICS) + _bridge("/metrics", measurement, "metrics", include),
        HOST_SIDE: _head(results, _HOST_WHY, HOST_SIDE) + _HOST + _processor(results, measurement),
        INFLUXDB_1: _head(results, _OUTPUT_WHY, INFLUXDB_1) + _INFLUXDB_1,
        INFLUXDB_2: _head(results, _OUTPUT_WHY, INFLUXDB_2) + _INFLUXDB_2,
    }


_COLIBRI_WHY = [
    f"Install this file or {METRICS}. This one is for bridges with COLIBRI REST (videobridge.apis.rest.enabled).",
    "json_string_fields: Telegraf drops true and false of JSON unless they are named; the script makes them 1 and 0.",
]
_METRICS_WHY = [
    f"Install this file or {COLIBRI}. This one is for bridges with /metrics only: the fields get the same names.",
]
_HOST_WHY = [
    "nstat, net, procstat, cpu: counters of the host and of the bridge's process; UDP RcvbufErrors are its drops.",
    "file: /proc/net/softnet_stat, for which Telegraf has no input. Packets dropped before they reach a socket.",
    "starlark: each host's labels as tags, the measured max packet rate, and the capacity used.",
    "JVBTUNE_BRIDGE_PATTERN: part of the bridge's command line, if it is not that of a Jitsi Videobridge.",
    "Telegraf cannot see drops of the bridge's own socket, its receive thread and GC pauses: jvbtune observe does.",
]
_OUTPUT_WHY = [
    "Install one of the two outputs. Addresses and secrets come from the environment: /etc/default/telegraf.",
    "INFLUX_URL begins with https://. INFLUX_CA is the PEM file of your own CA, if the certificate has one.",
]


def _head(results: Sequence[RunResult], why: Sequence[str], name: str) -> str:
    undo = [f"delete /etc/telegraf/telegraf.d/{name}, and restart Telegraf"]
    lines = list(dict.fromkeys(line for result in results for line in origin(result)))
    lines += ["The figures hold for these machines, this bridge and the traffic that was run."]
    text = comments([*lines, "Why:", *(f"  {line}" for line in why), "To undo:", *(f"  {line}" for line in undo)])
    return text.replace("$", "_")  # Telegraf puts its environment into comments, too


def _bridge(path: str, measurement: str, kind: str, more: str) -> str:
    return _BRIDGE.format(path=path, measurement=_toml(clean(measurement)), truths=_toml(list(TRUTHS[kind])), more=more)


def _processor(results: Sequence[RunResult], measurement: str) -> str:
    labels = {clean(result.host): labels_of(result.host, _texts(result)) for result in results}
    figures: dict[str, dict[str, dict[str, float]]] = {HOST: {}, MACHINE_TYPE: {}}
    for one in figures_of(results):
        known = {
            "max_packet_rate": one.max_packet_rate,
            "max_packet_rate_low": one.low,
            "max_packet_rate_high": one.high,
            "load_threshold": one.load_threshold,
        }
        figures[one.label][one.value] = {
            name: float(round(value)) for name, value in known.items() if value is not None
        }
    renamed = {
        quantity.metrics_key: [quantity.name, quantity.metrics_scale]
        for quantity in REPORTED
        if quantity.metrics_key != quantity.name
    }
    tags = sorted({HOST, *(name for own in labels.values() for name in own)})
    script = "".join(
        f"{name} = {_starlark(value)}\n"
        for name, value in (
            ("MEASUREMENT", clean(measurement)),
            ("LABELS", {host: {k: v for k, v in own.items() if k != HOST} for host, own in labels.items()}),
            ("LABELS_OF_HOSTS", tags),
            ("FIGURES", figures),
            ("RENAMED", renamed),
        )
    )
    return f"[[processors.starlark]]\n  source = '''\n{script}\n{_SCRIPT}'''\n"


def _texts(result: RunResult) -> dict[str, str]:
    return {str(name): str(value) for name, value in result.labels.items()}


def _toml(value: object) -> str:
    """A TOML string or array: JSON's, without what Telegraf takes for its environment."""
    return json.dumps(value).replace("$", "\\u0024")


def _starlark(value: object) -> str:
    """A Starlark value in a TOML literal: JSON's, without quotes that would end it."""
    return _toml(value).replace("'", "\\u0027")
