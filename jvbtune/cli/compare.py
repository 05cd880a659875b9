"""``jvbtune compare``."""

from __future__ import annotations

from pathlib import Path

import click

from jvbtune.cli.common import json_option, print_json, put, runs_dir_option


@click.command("compare")
@click.argument("runs", nargs=-1, metavar="RUN…")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of --json.")
@runs_dir_option
@json_option
def command(runs: tuple[str, ...], schema: bool, runs_dir: Path | None, as_json: bool) -> None:
    """Compare runs: max packet rate with its interval, traffic mix, kernel, bridge, machine.

    Two runs differ if their 95 % intervals do not overlap, which is stricter than a test at 5 %. What else differs
    between them is listed: a difference may come from the traffic mix, not from the host.

    \b
    Example:
      jvbtune compare 20260801-jvb-eu-1 20260802-jvb-us-1
    """
    from jvbtune.cli.result_text import interval, limit, pps
    from jvbtune.result.compare import Comparison, compare
    from jvbtune.result.stored import result_of, schema_of, to_json
    from jvbtune.store import open_run

    if schema:
        print_json(schema_of(Comparison, "jvbtune compare --json"))
        return
    if not runs:
        raise click.UsageError("Missing argument 'RUN…'.")
    found = compare([result_of(open_run(run, runs_dir)) for run in runs])
    if as_json:
        print_json(to_json(found))
        return
    for side in found.runs:
        figures, facts = side.recommendation, side.provenance
        figure = "no recommendation"
        if figures is not None:
            figure = (
                f"{pps(figures.max_packet_rate_pps)} ({interval(figures.interval_pps)}), "
                f"limited by {limit(figures.binding_limit)}"
            )
        put(f"{side.id}: {figure}")
        parts = (facts.jvb_version, facts.java and f"Java {facts.java}", facts.kernel and f"kernel {facts.kernel}")
        machine = ", ".join(str(part) for part in (side.host, *parts, facts.cpu) if part)
        put(f"    {machine}")
    for pair in found.comparisons:
        ratio = f" (× {pair.ratio:.3f})" if pair.ratio else ""
        put(f"{pair.b} compared with {pair.a}: {pair.verdict.value}{ratio}")
        if pair.differs_besides:
            put(f"    Differs besides: {'; '.join(pair.differs_besides)}")
