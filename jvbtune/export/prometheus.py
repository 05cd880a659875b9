"""Prometheus: how to scrape, recording rules with the measured figures, alerts, and unit tests of the rules.

Rules read what is there: ``jvbtune_*`` of ``jvbtune observe``, else the bridges' own ``jitsi_jvb_*`` and the ``node_*``
of node_exporter. The figures of the runs are in the rules themselves, by host and by machine type, so that capacity
used is known without ``observe``. Thresholds that are not measured are the largest operator's
(jitsi/infra-provisioning), or are marked as jvbtune's choice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from jvbtune.errors import NoRecommendation, UsageError
from jvbtune.export.header import comments, origin
from jvbtune.export.pool import pool
from jvbtune.export.prometheus_model import Alert, Figures
from jvbtune.export.prometheus_tests import unit_tests
from jvbtune.export.terraform import MACHINE_TYPE
from jvbtune.export.text import quoted
from jvbtune.fit.thresholds import JICOFO_OVERLOADED_STRESS
from jvbtune.observe.columns import (
    HOST,
    RULE_CAPACITY_USED,
    RULE_LOAD_THRESHOLD,
    RULE_MAX_PACKET_RATE,
    RULE_MAX_PACKET_RATE_HIGH,
    RULE_MAX_PACKET_RATE_LOW,
    RULE_PACKET_RATE,
)
from jvbtune.observe.labels import labels_of
from jvbtune.result.model import RunResult
from jvbtune.text import clean

SCRAPE, RULES, TESTS = "jvbtune-scrape.yml", "jvbtune-rules.yml", "jvbtune-rules-test.yml"
#: Where ``observe`` serves, and where a bridge does.
OBSERVE_ADDRESS, BRIDGE_PORT, NODE_PORT = "127.0.0.1:9794", 8080, 9100

NATIVE_RATE = " + ".join(
    f"jitsi_jvb_{name}_packet_rate" for name in ("incoming", "outgoing", "relay_incoming", "relay_outgoing")
)


def figures_of(results: Sequence[RunResult]) -> list[Figures]:
    """Of each host, and of each machine type of several. Raises NoRecommendation for a run without figures, UsageError
    for two runs of one host, and for runs of one machine type that cannot be pooled."""
    _refuse_twice(results)
    found = [_figures(HOST, result.host, result) for result in results]
    kinds: dict[str, list[RunResult]] = {}
    for result in results:
        kind = result.labels.get(MACHINE_TYPE)
        if kind:
            kinds.setdefault(str(kind), []).append(result)
    return found + [_figures(MACHINE_TYPE, kind, pool(members)) for kind, members in sorted(kinds.items())]


def _refuse_twice(results: Sequence[RunResult]) -> None:
    """One host has one figure: two would contradict each other."""
    seen: dict[str, str] = {}
    for result in results:
        host = clean(result.host)
        if host in seen:
            raise UsageError(
                f"the runs {seen[host]} and {result.id} are both of the host {host}",
                hint="Leave one of them out: a host has one max packet rate.",
            )
        seen[host] = result.id


def _figures(label: str, value: str, result: RunResult) -> Figures:
    rates = result.recommendation
    if rates is None:
        raise NoRecommendation(f"run {result.id} has no max packet rate", hint="Leave it out.")
    low, high = rates.interval_pps
    threshold = None if result.thresholds is None else int(result.thresholds.load_threshold_pps)
    shown = clean(value)
    return Figures(label, shown, rates.max_packet_rate_pps, low, high, threshold, tuple(origin(result)))


def recording_rules(figures: Sequence[Figures]) -> list[tuple[str, str, dict[str, str]]]:
    """(name, expression, labels) of each."""
    rules: list[tuple[str, str, dict[str, str]]] = []
    for one in figures:
        labels = {one.label: one.value}
        rules.append((RULE_MAX_PACKET_RATE, f"vector({one.max_packet_rate:.0f})", labels))
        for name, value in (
            (RULE_MAX_PACKET_RATE_LOW, one.low),
            (RULE_MAX_PACKET_RATE_HIGH, one.high),
            (RULE_LOAD_THRESHOLD, one.load_threshold),
        ):
            if value is not None:
                rules.append((name, f"vector({value:.0f})", labels))
    rules.append((RULE_PACKET_RATE, f"jvbtune_packet_rate or on (host) ({NATIVE_RATE})", {}))
    rules.append((RULE_CAPACITY_USED, f"jvbtune_capacity_used_ratio or on (host) {_by_figure('/')}", {}))
    return rules


def _by_figure(operator: str, rate: str = RULE_PACKET_RATE, figure: str = RULE_MAX_PACKET_RATE) -> str:
    """A rate by the figure of its own host, else by that of its machine type."""
    own = f"{rate} {operator} on (host) group_left () {figure}" + '{host!=""}'
    kind = f"{rate} {operator} on (machine_type) group_left () {figure}" + '{machine_type!=""}'
    return f"({own} or on (host) {kind})"


def _threshold_not_in_force() -> str:
    """Stress times the recommended threshold is the packet rate, if that threshold is in force. With a lower one,
    which is safe, it is more.

    Within 10 minutes the rate of a host may come from two sources, observe and the bridge: one such host must not stop
    the rule for all. What observe said lives on for 15 minutes, over a restart of it.
    """
    known = "last_over_time(jvbtune_load_threshold_in_force[15m])"
    implied = _by_figure("*", "avg_over_time(jitsi_jvb_stress[10m])", RULE_LOAD_THRESHOLD)
    rate = f"(avg_over_time({RULE_PACKET_RATE}[10m]))"
    loaded = _by_figure("/", f"max by (host, machine_type) {rate}", RULE_LOAD_THRESHOLD)
    off = f"{implied} / on (host) group_left () max by (host) {rate} < 0.67 and on (host) {loaded} > 0.05"
    return f"{known} == 0 or on (host) ({_else(off, known)})"


def _else(expression: str, known: str) -> str:
    """Only of hosts of which ``known`` says nothing: ``or`` alone also takes it where ``known`` is there and fine."""
    return f"({expression}) unless on (host) {known}"


#: What stress would be with the recommended threshold; Jicofo looks at that, and not at the max packet rate.
_OF_THRESHOLD = _by_figure("/", figure=RULE_LOAD_THRESHOLD)
#: The same with the threshold that the bridge has: its type's lowest, where that was deployed.
_OF_CONFIGURED = f"{RULE_PACKET_RATE} / on (host) group_left () min by (host) (jvbtune_load_threshold_configured)"


ALERTS = (
    Alert(
        "JvbCapacityUsedHigh",
        f"{_OF_THRESHOLD} > {JICOFO_OVERLOADED_STRESS} or on (host) "
        f"({_OF_CONFIGURED} > {JICOFO_OVERLOADED_STRESS} and on (host) {_OF_THRESHOLD}) or on (host) "
        f"({_else(f'{RULE_CAPACITY_USED} > {JICOFO_OVERLOADED_STRESS}', _OF_THRESHOLD)})",
        300,
        "warning",
        "{{ $labels.host }} has {{ $value | humanizePercentage }} of the packet rate that it sustains",
        "Add bridges to its group, or move conferences.",
        "by its load threshold, or the configured one if that is lower: "
        f"at {100 * JICOFO_OVERLOADED_STRESS:.0f} % of it Jicofo gives the bridge no more "
        "conferences; by its max packet rate only if no threshold was measured",
    ),
    Alert(
        "JvbOverCapacity",
        f"{RULE_CAPACITY_USED} > 1",
        60,
        "critical",
        "{{ $labels.host }} is above its measured max packet rate",
        "Expect loss and delay. Drain it, and add bridges.",
        "the max packet rate was measured: above it a limit is exceeded on half of all restarts",
    ),
    Alert(
        "JvbSocketDrops",
        "rate(jvbtune_socket_drops_total[5m]) > 1 or on (host) "
        f"({_else('rate(node_netstat_Udp_RcvbufErrors[5m]) > 1', 'jvbtune_socket_drops_total')})",
        120,
        "warning",
        "{{ $labels.host }} drops {{ $value | humanize }} packets per second because a receive buffer is full",
        "jvbtune export --format sysctl has the receive buffer that the host needs. Else the bridge is too slow.",
        "the drops of the bridge's sockets; without observe RcvbufErrors, which count every process. "
        "The rate is jvbtune's choice",
    ),
    Alert(
        "JvbBacklogDrops",
        "rate(jvbtune_softnet_dropped_packets_total[5m]) > 1 or on (host) "
        "sum without (cpu) (rate(node_softnet_dropped_total[5m])) > 1",
        120,
        "warning",
        "{{ $labels.host }} drops {{ $value | humanize }} packets per second before they reach a socket",
        "Raise net.core.netdev_max_backlog, or spread the packets over more CPUs.",
        "softnet_stat, second column; the rate is jvbtune's choice",
    ),
    Alert(
        "JvbTransitDelayHigh",
        "(increase(jvbtune_transit_over_50ms_packets_total[10m]) / increase(jvbtune_transit_packets_total[10m]) > 0.15 "
        "and increase(jvbtune_transit_packets_total[10m]) > 200000) or on (host) "
        '((1 - increase(jitsi_jvb_rtp_transit_time_bucket{le=~"50|50.0"}[10m]) / ignoring (le) '
        "increase(jitsi_jvb_rtp_transit_time_count[10m]) > 0.15 and ignoring (le) "
        "increase(jitsi_jvb_rtp_transit_time_count[10m]) > 200000) unless on (host) jvbtune_transit_packets_total)",
        60,
        "warning",
        "{{ $value | humanizePercentage }} of the packets of {{ $labels.host }} take more than 50 ms inside the bridge",
        "Look at CPU, steal and GC pauses; jvbtune profile --host HOST shows where the time goes.",
        "as jitsi/infra-provisioning alerts: over 15 % of at least 200 000 packets in 10 minutes",
    ),
    Alert(
        "JvbThresholdNotInForce",
        _threshold_not_in_force(),
        1800,
        "warning",
        "The stress of {{ $labels.host }} does not follow the load threshold that was measured for it",
        "jvbtune apply --host HOST RUN, or deploy jvbtune export --format jvb-conf, and restart the bridge.",
        "stress = packet rate / load threshold; 33 % of tolerance, because both are windows. A lower threshold is "
        "safe, such as that of the weakest host of the machine type",
    ),
    Alert(
        "JvbWorseThanItsKind",
        "jvbtune:cpu_per_packet:microseconds > on (machine_type) group_left () "
        '1.3 * quantile by (machine_type) (0.5, jvbtune:cpu_per_packet:microseconds{machine_type!=""}) '
        "and on (machine_type) count by (machine_type) (jvbtune:cpu_per_packet:microseconds) >= 3",
        1800,
        "warning",
        "{{ $labels.host }} needs {{ $value | humanize }} µs of CPU per packet, 30 % more than its machine type",
        "Compare kernel, JVM flags and neighbours: jvbtune check, then measure it: jvbtune sweep --host HOST.",
        "the median of at least three hosts of a machine type under load; 30 % is jvbtune's choice",
    ),
    Alert(
        "JvbSteal",
        "jvbtune_steal_ratio > 0.15 or on (host) ("
        'avg without (cpu, mode) (rate(node_cpu_seconds_total{mode="steal"}[5m])) > 0.15 '
        "unless on (host) jvbtune_steal_ratio)",
        600,
        "warning",
        "The hypervisor takes {{ $value | humanizePercentage }} of the CPU of {{ $labels.host }}",
        "Move the bridge to another machine; what was measured does not hold there.",
        "as jitsi/infra-provisioning alerts",
    ),
    Alert(
        "JvbHostLost",
        'jvbtune_up == 0 or on (host) (up{job="jitsi-videobridge"} == 0 unless on (host) jvbtune_up == 1)',
        120,
        "critical",
        "{{ $labels.host }} is not reached",
        "Look at the host, its bridge and the network to it.",
        "two minutes are more than a restart of a bridge takes",
    ),
    Alert(
        "JvbBridgeDown",
        "jvbtune_bridge_up == 0 and on (host) jvbtune_up == 1",
        120,
        "critical",
        "The bridge on {{ $labels.host }} does not run, or does not answer",
        "Look at the bridge's log on the host: journalctl -u jitsi-videobridge2",
        "two minutes are more than a restart of a bridge takes",
    ),
    Alert(
        "JvbObserveDown",
        'up{job="jvbtune"} == 0',
        120,
        "warning",
        "jvbtune observe at {{ $labels.instance }} is not reached",
        "Look at its unit: systemctl status jvbtune-observe",
        "without it most of these alerts see nothing",
    ),
)

CPU_PER_PACKET = (
    "jvbtune:cpu_per_packet:microseconds",
    "1e6 * avg_over_time(jvbtune_process_cpu_cores[10m]) / (avg_over_time(jvbtune_packet_rate[10m]) > 1000)",
)


def render(results: Sequence[RunResult]) -> dict[str, str]:
    """{file name: text}: a scrape configuration, rules, and their unit tests. At least one result."""
    figures = figures_of(results)
    return {
        SCRAPE: _head(figures, _SCRAPE_WHY, _SCRAPE_UNDO) + _scrape(results),
        RULES: _head(figures, _rules_why(figures), _RULES_UNDO) + _rules(figures),
        TESTS: _head(figures, _TESTS_WHY, ["delete this file"]) + unit_tests(RULES, figures, ALERTS),
    }


_SCRAPE_WHY = [
    "job jvbtune: jvbtune observe --prometheus, with what no exporter has. Its metrics have the label host.",
    "job jitsi-videobridge: the bridges' own metrics. They are served on 127.0.0.1:8080 only: bind them to an address "
    "that Prometheus reaches, or put a proxy in front. The label host joins them with the rest.",
    "job node: node_exporter, if you run it.",
    "5 s: a bridge refreshes its figures that often.",
]
_SCRAPE_UNDO = ["remove the jobs from prometheus.yml, and reload Prometheus"]
_RULES_UNDO = [f"remove {RULES} from rule_files of prometheus.yml, and reload Prometheus"]
_TESTS_WHY = [f"promtool test rules {TESTS} shows that each alert of {RULES} fires, and when it does not."]


def _rules_why(figures: Sequence[Figures]) -> list[str]:
    lines = [
        f"{RULE_MAX_PACKET_RATE}: the measured max packet rate, with its 95 % interval as :low and :high.",
        f"{RULE_LOAD_THRESHOLD}: what 95 % of restarts sustain: the load threshold to configure.",
        f"{RULE_PACKET_RATE}: packets in and out, relays included, as the bridge divides them by its threshold.",
        f"{RULE_CAPACITY_USED}: the one by the other. A host that was not measured has its machine type's figure.",
    ]
    return lines + [f"{alert.name}: {alert.why}." for alert in ALERTS]


def _head(figures: Sequence[Figures], why: Sequence[str], undo: Sequence[str]) -> str:
    lines = list(dict.fromkeys(line for one in figures for line in one.origin))
    lines += ["The figures hold for these machines, this bridge and the traffic that was run."]
    return comments([*lines, "Why:", *(f"  {line}" for line in why), "To undo:", *(f"  {line}" for line in undo)])


def _scrape(results: Sequence[RunResult]) -> str:
    def targets(port: int) -> str:
        found = ""
        for result in results:
            labels = labels_of(result.host, {str(k): str(v) for k, v in result.labels.items()})
            address = quoted(f"{clean(result.host)}:{port}")
            found += f"      - targets: [{address}]\n        labels:\n"
            found += "".join(f"          {name}: {quoted(value)}\n" for name, value in labels.items())
        return found

    return (
        "# Copy the jobs and the rule_files into your prometheus.yml, or try this file as one.\n"
        "# Targets are the names of the runs' hosts: write addresses if Prometheus does not resolve them.\n"
        "scrape_configs:\n"
        "  - job_name: jvbtune\n"
        "    scrape_interval: 10s\n"
        "    static_configs:\n"
        f"      - targets: [{quoted(OBSERVE_ADDRESS)}]\n"
        "  - job_name: jitsi-videobridge\n"
        "    scrape_interval: 5s\n"
        "    static_configs:\n"
        f"{targets(BRIDGE_PORT)}"
        "  - job_name: node\n"
        "    static_configs:\n"
        f"{targets(NODE_PORT)}"
        f"rule_files: [{RULES}]\n"
    )


def _rules(figures: Sequence[Figures]) -> str:
    text = "groups:\n  - name: jvbtune-recorded\n    interval: 15s\n    rules:\n"
    for name, expr, labels in recording_rules(figures):
        text += f"      - record: {name}\n        expr: {json.dumps(expr)}\n"
        if labels:
            text += "        labels:\n" + "".join(
                f"          {key}: {quoted(value)}\n" for key, value in labels.items()
            )
    text += f"      - record: {CPU_PER_PACKET[0]}\n        expr: {json.dumps(CPU_PER_PACKET[1])}\n"
    text += "  - name: jvbtune-alerts\n    rules:\n"
    for alert in ALERTS:
        text += (
            f"      - alert: {alert.name}\n"
            f"        expr: {json.dumps(alert.expr)}\n"
            f"        for: {alert.seconds}s\n"
            f"        labels:\n          severity: {alert.severity}\n"
            "        annotations:\n"
            f"          summary: {json.dumps(alert.summary, ensure_ascii=False)}\n"
            f"          description: {json.dumps(alert.todo, ensure_ascii=False)}\n"
        )
    return text
