"""The end of every command that makes a run: its result, derived and stored once, and its report."""

from __future__ import annotations

from jvbtune.cli.common import print_json, put, say
from jvbtune.cli.result_text import search_lines, summary
from jvbtune.report import write_report
from jvbtune.result.stored import result_of, to_json
from jvbtune.store import Run


def finish(run: Run, *, as_json: bool) -> int:
    """Print the result of a finished run, write its report; the exit code."""
    result = result_of(run, refit=True)
    if as_json:
        print_json(to_json(result))
    else:
        put("\n".join([*summary(result), *(f"  {line}" for line in search_lines(result))]))
    say(f"report: {write_report(run, result)}")
    return 0 if result.recommendation is not None else 5
