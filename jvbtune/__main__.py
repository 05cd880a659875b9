"""``python -m jvbtune``."""

from jvbtune.cli import main

main()
