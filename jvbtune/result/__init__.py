"""One typed result of a run: derived once, stored with the run, read by show, explain, report, compare and export.

run directory ─▶ derive (fits) ─▶ RunResult ─▶ result.json ─▶ whoever tells or exports it
"""

from jvbtune.result.model import RunResult
from jvbtune.result.stored import result_of

__all__ = ["RunResult", "result_of"]
