"""Run directories: raw data first, append-only, readable whatever happened to the writer."""

from jvbtune.store.run import Run, RunWriter, create_run, list_runs, open_run, runs_directory

__all__ = ["Run", "RunWriter", "create_run", "list_runs", "open_run", "runs_directory"]
