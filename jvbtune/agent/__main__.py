"""The archive's entry point."""

import sys

from jvbtune.agent.main import main

sys.exit(main())
