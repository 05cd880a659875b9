"""Run directories: raw data first, append-only, readable whatever happened to the writer."""

from jvbtune.store.directories import Damaged
from jvbtune.store.places import remember
from jvbtune.store.run import Run, RunWriter, create_run, list_runs, newest_of_hosts, open_run, runs_directory

__all__ = [
    "Damaged",
    "Run",
    "RunWriter",
    "create_run",
    "list_runs",
    "newest_of_hosts",
    "open_run",
    "remember",
    "runs_directory",
]
