"""``jvbtune`` with the stand-in for load, in a process of its own: ``python -m tests.fleet.cli_standin sweep …``"""

from __future__ import annotations

import jvbtune.fleet.measuring
from jvbtune.cli import main
from tests.fleet import standin

jvbtune.fleet.measuring.Sweep = standin.Sweep  # type: ignore[misc,assignment]

if __name__ == "__main__":
    main()
