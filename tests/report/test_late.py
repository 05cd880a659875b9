"""The delay limit by late packets: the report and ``explain`` tell a share, and no milliseconds."""

from __future__ import annotations

import re
from pathlib import Path

from jvbtune.fit import Limits
from jvbtune.report import write_report
from jvbtune.result import result_of
from jvbtune.result.explain import explain
from jvbtune.result.own import store_measurements
from jvbtune.store import open_run
from tests.fit.test_lateness import trials


def test_late_packets_are_drawn_told_and_stored(tmp_path: Path) -> None:
    (run,) = store_measurements(trials(20.0), tmp_path, name="pauses", limits=Limits(delay_p99_ms=20.0))
    result = result_of(run)
    (fit,) = [one for one in result.limit_fits if one.name == "delay"]
    assert (fit.column, fit.limit, fit.unit) == ("late_ratio", 0.01, "of packets later than 20 ms")
    shares = {row["trial"]: row["late_ratio"] for row in result.trials}
    assert sum(share > 0.01 for share in shares.values()) == 8
    page = write_report(run).read_text()
    assert "Late packets against packet rate" in page
    assert "Delay against packet rate" not in page
    assert re.search(r"Delay: 1.% of packets later than 20 ms", page)
    plot = page[page.index('id="plot-delay"') :]
    drawn = dict(re.findall(r'data-trial="([^"]+)"[^>]*?data-y="([^"]+)"', plot[: plot.index("</svg>")]))
    assert {trial: float(share) for trial, share in drawn.items()} == shares
    told = "\n".join(explain(result))
    assert "delay at 0.01 of packets later than 20 ms" in told
    assert "above the limit in 8 of 24 trials by themselves" in told
    assert result_of(open_run(str(run.path))) == result
