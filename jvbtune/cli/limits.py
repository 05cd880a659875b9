"""The limits of a max packet rate as options, the same for every command that fits or searches."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from jvbtune.fit.limits import Limits

Command = TypeVar("Command", bound=Callable[..., Any])


class Ratio(click.ParamType[float]):
    """``0.8`` or ``80%``."""

    name = "ratio"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        try:
            ratio = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            self.fail(f"{text!r} is not a ratio such as 0.8 or 80%", param, ctx)
        if not 0 < ratio <= 1:
            self.fail(f"{text} is not above 0 and at most 1 (1 % is 0.01, or 1%)", param, ctx)
        return ratio


class Milliseconds(click.ParamType[float]):
    """``50ms``, ``0.05s``, or a bare number of milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"\s*([0-9.]+)\s*(us|µs|ms|s|)\s*", str(value))
        try:
            number = float(match[1]) if match else -1.0
        except ValueError:
            number = -1.0
        if match is None or not 0 < number < math.inf:
            self.fail(f"{value!r} is not a duration such as 50ms", param, ctx)
        return number * {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "": 1.0, "s": 1e3}[match[2]]


def limit_options(command: Command) -> Command:
    """``--cpu``, ``--loss``, ``--delay-p99``, ``--rx-thread`` and ``--gc``; None for each that was not given."""
    options = (
        ("--cpu", "cpu_ratio", Ratio(), f"CPU limit, as a share of the bridge's cores. Default: {Limits.cpu_ratio:g}."),
        ("--loss", "loss_ratio", Ratio(), f"Limit of lost packets, end to end. Default: {Limits.loss_ratio:g}."),
        (
            "--delay-p99", "delay_p99_ms", Milliseconds(),
            f"Limit of the 99th percentile of delay. Default: {Limits.delay_p99_ms:g}ms.",
        ),
        (
            "--rx-thread", "rx_thread_ratio", Ratio(),
            f"Limit of the receive thread, as a share of one core. Default: {Limits.rx_thread_ratio:g}.",
        ),
        ("--gc", "gc_ratio", Ratio(), f"Limit of the time in garbage collection. Default: {Limits.gc_ratio:g}."),
    )  # fmt: skip
    for flag, name, kind, text in reversed(options):
        command = click.option(flag, name, type=kind, help=text)(command)
    return command


def given(**options: float | None) -> dict[str, float]:
    """The limits that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}
