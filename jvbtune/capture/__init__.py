"""Captures of a bridge: engines behind one seam, ``capture(agent, request, directory, …) -> paths``.

    probe (what the host permits) ─▶ choose (pure) ─▶ the agent's slices ─▶ stacks, packets, CPU ─▶ directory

The agent's side is ``jvbtune.agent.capture``. A new engine is a function there and its obstacles in ``choose``.
"""

from jvbtune.capture.choose import Choice, choose
from jvbtune.capture.cost import Cost, cost
from jvbtune.capture.quality import Quality, quality_of
from jvbtune.capture.request import Place, Request
from jvbtune.capture.store import captures_directory, write_capture
from jvbtune.capture.take import capture

__all__ = [
    "Choice",
    "Cost",
    "Place",
    "Quality",
    "Request",
    "capture",
    "captures_directory",
    "choose",
    "cost",
    "quality_of",
    "write_capture",
]
