"""Unit tests of the exported rules, for ``promtool test rules``: each alert fires when it should, and not just before.

The tests are of the very figures that are exported, so they also show what the rules mean for these hosts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jvbtune.export.prometheus_model import Alert, Figures
from jvbtune.observe.columns import HOST, RULE_CAPACITY_USED, RULE_PACKET_RATE

#: promtool evaluates every rule at each interval: the files are to be checked in seconds.
INTERVAL_SECONDS = 60
STEPS = 50
#: After the time for which an alert must hold: the windows of the rules are filled.
FILLED_SECONDS = 12 * 60
Series = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """``series``: {selector: values in promtool's notation}. ``labels``: of the alert that fires; None: none does."""

    alert: str
    series: Series
    labels: Mapping[str, str] | None
    summary: str = ""


@dataclass(frozen=True)
class Expected:
    """What a recorded series is. ``labels``: all of them."""

    series: Series
    rule: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def unit_tests(rules_file: str, figures: Sequence[Figures], alerts: Sequence[Alert]) -> str:
    """The file's content: JSON values in YAML."""
    text = f"rule_files: [{rules_file}]\nevaluation_interval: {INTERVAL_SECONDS}s\ntests:\n"
    for one in figures:
        for expected in _recorded(one):
            text += _input(f"{one.label} {one.value}: {expected.rule}", expected.series)
            text += (
                "    promql_expr_test:\n"
                f"      - expr: {json.dumps(expected.rule)}\n"
                "        eval_time: 10m\n"
                "        exp_samples:\n"
                f"          - labels: {json.dumps(selector(expected.rule, expected.labels))}\n"
                f"            value: {expected.value!r}\n"
            )
    by_name = {alert.name: alert for alert in alerts}
    cases = _cases(figures[0])
    assert {case.alert for case in cases} == set(by_name)
    for case in cases:
        fires = "fires" if case.labels is not None else "does not fire"
        text += _input(f"{case.alert} {fires}", case.series)
        due = by_name[case.alert].seconds + FILLED_SECONDS
        text += f"    alert_rule_test:\n      - eval_time: {due}s\n        alertname: {case.alert}\n"
        if case.labels is not None:
            alert = by_name[case.alert]
            labels = {**case.labels, "severity": alert.severity}
            annotations = {"summary": case.summary, "description": alert.todo}
            text += (
                "        exp_alerts:\n"
                f"          - exp_labels: {json.dumps(labels)}\n"
                f"            exp_annotations: {json.dumps(annotations, ensure_ascii=False)}\n"
            )
    return text


def selector(name: str, labels: Mapping[str, str]) -> str:
    """``name{label="value"}``: PromQL's strings have JSON's escapes."""
    inside = ",".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in labels.items())
    return f"{name}{{{inside}}}"


def _input(name: str, series: Series) -> str:
    text = f"  - name: {json.dumps(name)}\n    interval: {INTERVAL_SECONDS}s\n    input_series:\n"
    for key, values in series.items():
        text += f"      - series: {json.dumps(key)}\n        values: {json.dumps(values)}\n"
    return text


def _flat(value: float) -> str:
    return f"{value:g}x{STEPS}" if value == int(value) and abs(value) < 1e6 else f"{value!r}x{STEPS}"


def _growing(per_second: float, start: float = 0.0) -> str:
    return f"{start:g}+{per_second * INTERVAL_SECONDS:g}x{STEPS}"


def _labels(figures: Figures) -> dict[str, str]:
    """Of a host that has these figures: itself, or another one of its machine type."""
    if figures.label == HOST:
        return {HOST: figures.value}
    return {HOST: "a host that was not measured", figures.label: figures.value}


def _native(labels: Mapping[str, str], rate: float) -> dict[str, str]:
    """A bridge's own metrics at a packet rate, of which a quarter comes in, and an eighth goes to relays."""
    shares = {"incoming": 0.25, "outgoing": 0.5, "relay_incoming": 0.125, "relay_outgoing": 0.125}
    return {selector(f"jitsi_jvb_{name}_packet_rate", labels): _flat(share * rate) for name, share in shares.items()}


def _recorded(figures: Figures) -> list[Expected]:
    """Half of the max packet rate is half of the capacity, by the bridge's own metrics and by those of observe."""
    labels, rate = _labels(figures), round(figures.max_packet_rate) / 2
    observed = {
        selector("jvbtune_packet_rate", labels): _flat(rate),
        selector("jvbtune_capacity_used_ratio", labels): _flat(0.25),
    }
    both = {**_native(labels, 2 * rate), **observed}
    return [
        Expected(_native(labels, rate), RULE_PACKET_RATE, rate, labels),
        Expected(_native(labels, rate), RULE_CAPACITY_USED, 0.5, labels),
        Expected(both, RULE_CAPACITY_USED, 0.25, labels),
    ]


def _cases(figures: Figures) -> list[Case]:
    labels = _labels(figures)
    host = labels[HOST]

    def of(name: str, **more: str) -> str:
        return selector(name, {**labels, **more})

    def used(share: float) -> dict[str, str]:
        return {of("jvbtune_capacity_used_ratio"): _flat(share)}

    def slow(per_second: float) -> dict[str, str]:
        return {
            of("jvbtune_transit_packets_total"): _growing(1000),
            of("jvbtune_transit_over_50ms_packets_total"): _growing(per_second),
        }

    def histogram(fast_per_second: float) -> dict[str, str]:
        return {
            of("jitsi_jvb_rtp_transit_time_bucket", le="50.0"): _growing(fast_per_second),
            of("jitsi_jvb_rtp_transit_time_count"): _growing(1000),
        }

    quarter_over = f"25% of the packets of {host} take more than 50 ms inside the bridge"
    cases = [
        Case("JvbCapacityUsedHigh", used(0.9), labels, f"{host} has 90% of the packet rate that it sustains"),
        Case("JvbCapacityUsedHigh", used(0.75), None),
        Case("JvbOverCapacity", used(1.25), labels, f"{host} is above its measured max packet rate"),
        Case("JvbOverCapacity", used(0.98), None),
        Case(
            "JvbSocketDrops",
            {of("jvbtune_socket_drops_total"): _growing(4)},
            labels,
            f"{host} drops 4 packets per second because a receive buffer is full",
        ),
        Case(
            "JvbSocketDrops",
            {of("node_netstat_Udp_RcvbufErrors"): _growing(4)},
            labels,
            f"{host} drops 4 packets per second because a receive buffer is full",
        ),
        Case(
            "JvbSocketDrops",
            {of("jvbtune_socket_drops_total"): _growing(0, 5000), of("node_netstat_Udp_RcvbufErrors"): _growing(100)},
            None,
        ),
        Case(
            "JvbBacklogDrops",
            {of("jvbtune_softnet_dropped_packets_total"): _growing(8)},
            labels,
            f"{host} drops 8 packets per second before they reach a socket",
        ),
        Case(
            "JvbBacklogDrops",
            {
                of("node_softnet_dropped_total", cpu="0"): _growing(4),
                of("node_softnet_dropped_total", cpu="1"): "0x240",
            },
            labels,
            f"{host} drops 4 packets per second before they reach a socket",
        ),
        Case("JvbBacklogDrops", {of("jvbtune_softnet_dropped_packets_total"): _growing(0, 9)}, None),
        Case("JvbTransitDelayHigh", slow(250), labels, quarter_over),
        Case("JvbTransitDelayHigh", slow(100), None),
        Case("JvbTransitDelayHigh", histogram(750), labels, quarter_over),
        Case("JvbTransitDelayHigh", histogram(900), None),
        Case("JvbTransitDelayHigh", {**slow(100), **histogram(750)}, None),
        Case(
            "JvbSteal",
            {of("jvbtune_steal_ratio"): _flat(0.25)},
            labels,
            f"The hypervisor takes 25% of the CPU of {host}",
        ),
        Case(
            "JvbSteal",
            {of("jvbtune_steal_ratio"): _flat(0.1), of("node_cpu_seconds_total", cpu="0", mode="steal"): _growing(0.5)},
            None,
        ),
        Case("JvbHostLost", {of("jvbtune_up"): _flat(0)}, labels, f"{host} is not reached"),
        Case(
            "JvbHostLost",
            {of("jvbtune_up"): _flat(1), of("up", job="jitsi-videobridge"): _flat(0)},
            None,
        ),
        Case(
            "JvbHostLost",
            {of("up", job="jitsi-videobridge"): _flat(0)},
            {**labels, "job": "jitsi-videobridge"},
            f"{host} is not reached",
        ),
        Case(
            "JvbBridgeDown",
            {of("jvbtune_up"): _flat(1), of("jvbtune_bridge_up"): _flat(0)},
            labels,
            f"The bridge on {host} does not run, or does not answer",
        ),
        Case("JvbBridgeDown", {of("jvbtune_up"): _flat(1), of("jvbtune_bridge_up"): _flat(1)}, None),
        Case(
            "JvbObserveDown",
            {'up{job="jvbtune",instance="m:9794"}': _flat(0)},
            {"job": "jvbtune", "instance": "m:9794"},
            "jvbtune observe at m:9794 is not reached",
        ),
        Case("JvbObserveDown", {'up{job="jvbtune",instance="m:9794"}': _flat(1)}, None),
    ]
    return cases + _threshold_cases(figures, labels) + _kind_cases(labels)


def _threshold_cases(figures: Figures, labels: Mapping[str, str]) -> list[Case]:
    summary = f"The stress of {labels[HOST]} does not follow the load threshold that was measured for it"
    in_force = selector("jvbtune_load_threshold_in_force", labels)
    cases = [
        Case("JvbThresholdNotInForce", {in_force: _flat(0)}, labels, summary),
        Case("JvbThresholdNotInForce", {in_force: _flat(1)}, None),
    ]
    if figures.load_threshold is not None:
        rate = figures.load_threshold / 2
        stress = selector("jitsi_jvb_stress", labels)
        configured = selector("jvbtune_load_threshold_configured", labels)
        cases += [
            Case("JvbThresholdNotInForce", {**_native(labels, rate), stress: _flat(0.25)}, labels, summary),
            Case("JvbThresholdNotInForce", {**_native(labels, rate), stress: _flat(0.5)}, None),
            # that of a weaker host of the type
            Case("JvbThresholdNotInForce", {**_native(labels, rate), stress: _flat(0.75)}, None),
            Case("JvbThresholdNotInForce", {**_native(labels, rate / 50), stress: _flat(0.25)}, None),
            Case("JvbThresholdNotInForce", {**_native(labels, rate), stress: _flat(0.25), in_force: _flat(1)}, None),
            # observe is gone after 20 minutes, in the middle of the rule's window
            Case(
                "JvbThresholdNotInForce",
                {
                    selector("jvbtune_packet_rate", {**labels, "job": "jvbtune"}): f"{rate:g}x20 stale",
                    **_native(labels, rate),
                    stress: _flat(0.25),
                },
                labels,
                summary,
            ),
            Case(
                "JvbCapacityUsedHigh",
                _native(labels, 0.9 * figures.load_threshold),
                labels,
                f"{labels[HOST]} has 90% of the packet rate that it sustains",
            ),
            Case(
                "JvbCapacityUsedHigh",
                {
                    **_native(labels, 0.75 * figures.load_threshold),
                    selector("jvbtune_capacity_used_ratio", labels): _flat(0.9),
                },
                None,
            ),
            Case(
                "JvbCapacityUsedHigh",
                {**_native(labels, 0.675 * figures.load_threshold), configured: _flat(0.75 * figures.load_threshold)},
                labels,
                f"{labels[HOST]} has 90% of the packet rate that it sustains",
            ),
            Case(
                "JvbCapacityUsedHigh",
                {**_native(labels, 0.9 * figures.load_threshold), configured: _flat(2 * figures.load_threshold)},
                labels,
                f"{labels[HOST]} has 90% of the packet rate that it sustains",
            ),
        ]
    return cases


def _kind_cases(labels: Mapping[str, str]) -> list[Case]:
    """Three hosts of one kind, of which one needs twice the CPU."""
    own = {**labels, "machine_type": labels.get("machine_type", "kind")}
    others = [{HOST: f"other-{index}", "machine_type": own["machine_type"]} for index in (1, 2)]

    def kind(cores: float, hosts: Sequence[Mapping[str, str]]) -> dict[str, str]:
        found = {}
        for one in hosts:
            found[selector("jvbtune_packet_rate", one)] = _flat(4000)
            found[selector("jvbtune_process_cpu_cores", one)] = _flat(cores if one == own else 0.5)
        return found

    summary = f"{labels[HOST]} needs 250 µs of CPU per packet, 30 % more than its machine type"
    return [
        Case("JvbWorseThanItsKind", kind(1.0, [own, *others]), own, summary),
        Case("JvbWorseThanItsKind", kind(0.625, [own, *others]), None),
        Case("JvbWorseThanItsKind", kind(1.0, [own, others[0]]), None),
    ]
