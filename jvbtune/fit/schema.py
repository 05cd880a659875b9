"""The JSON Schema of ``jvbtune fit --json``: what a recommendation looks like for a program.

Objects are open: later versions add keys, and none of those here goes away within a ``schema_version``.
"""

from __future__ import annotations

from typing import Any

NUMBER: dict[str, Any] = {"type": "number"}
MAYBE: dict[str, Any] = {"type": ["number", "null"]}
RATIO: dict[str, Any] = {"type": ["number", "null"], "minimum": 0}
TEXT: dict[str, Any] = {"type": "string"}
MAYBE_TEXT: dict[str, Any] = {"type": ["string", "null"]}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
LIMIT: dict[str, Any] = {"enum": ["cpu", "rx_thread", "gc", "loss", "delay", None]}


def _object(required: dict[str, Any], more: dict[str, Any] | None = None, **also: Any) -> dict[str, Any]:
    return {"type": "object", "required": sorted(required), "properties": required | (more or {}), **also}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


LIMITS = _object(
    dict.fromkeys(("cpu_ratio", "loss_ratio", "delay_p99_ms", "rx_thread_ratio", "gc_ratio"), NUMBER),
    description="What the max packet rate has to keep.",
)
BOUND = _object(
    {
        "name": LIMIT,
        "limit": NUMBER,
        "unit": TEXT,
        "estimate_pps": MAYBE | {"description": "null: not met at any load that was run"},
        "interval_pps": {"type": "array", "items": MAYBE, "minItems": 2, "maxItems": 2},
        "restart_low_pps": MAYBE,
        "model": TEXT,
        "formula": TEXT,
    }
)
THRESHOLDS = _object(
    {
        "load_measurement": {"const": "packet-rate"},
        "load_threshold_pps": NUMBER | {"description": "what 19 of 20 restarts carry within every limit"},
        "recovery_threshold_pps": NUMBER,
        "cpu_load_threshold": RATIO,
        "cpu_recovery_threshold": RATIO,
        "cpu_scope": {"enum": ["host", "cpuset", "quota", "bridge", None]},
        "cpu_measured": {"type": "boolean"},
        "average_participant_stress": RATIO,
        "packets_per_participant_pps": RATIO,
        "packets_per_participant_source": {"enum": ["trials", "history", None]},
        "overloaded_pps": NUMBER | {"description": "where Jicofo, at stress 0.8, takes the bridge for overloaded"},
        "cpu_at_overloaded": RATIO,
        "cpu_at_threshold": RATIO,
        "bigger_machine": _or_null(
            _object({"gain_ratio": NUMBER, "at_least": {"type": "boolean"}, "next_limit": LIMIT})
        ),
    }
)
COST = _object(
    {
        "name": {"enum": ["in", "out", "relay", "packets", "endpoints"]},
        "estimate": NUMBER,
        "interval": _or_null({"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}),
        "unit": TEXT,
    },
    description="Marginal CPU of one more packet a second, or of one more endpoint.",
)
SHARES = {"type": "object", "additionalProperties": NUMBER}
MIX = _object(
    {
        "holds_for": TEXT,
        "shares": SHARES | {"description": "of in, out and relay, in the shape of conference that the figures are for"},
        "packets_per_endpoint_pps": MAYBE,
        "worst_shares": SHARES,
        "worst_packets_per_endpoint_pps": MAYBE,
        "worst_rate_ratio": NUMBER | {"description": "packet rate of the dearest plausible mix to that of shares"},
        "worst_source": {"enum": ["trials", "history"]},
        "condition_number": MAYBE,
        "costs": {"type": "array", "items": COST},
        "shape_cost_ratios": SHARES,
        "explanation": TEXT,
    }
)
HOST = _object(
    {
        "host": TEXT,
        "max_packet_rate_pps": MAYBE | {"description": "of the average restart; null: no recommendation"},
        "interval_pps": _or_null({"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}),
        "binding_limit": LIMIT,
        "model": MAYBE_TEXT,
        "reasons": TEXTS,
        "missing_columns": TEXTS,
        "highest_tested_pps": MAYBE,
        "limits": LIMITS,
        "bounds": {"type": "array", "items": BOUND},
        "thresholds": _or_null(THRESHOLDS),
    },
    {
        "next_limit": LIMIT,
        "next_limit_pps": MAYBE,
        "restart_low_pps": MAYBE,
        "export_pps": MAYBE | {"description": "the load threshold; never above the highest load that was run"},
        "extrapolated": {"type": "boolean"},
        "steps": TEXTS,
        "restarts": {"type": "integer"},
        "trials": {"type": "integer"},
        "mix": _or_null(MIX),
    },
)
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "jvbtune fit --json",
    **_object(
        {"schema_version": {"const": 1}, "limits": LIMITS, "hosts": {"type": "array", "items": HOST}},
        {"run": TEXT, "source": TEXT, "missing_columns": TEXTS, "ignored_columns": TEXTS},
    ),
}
