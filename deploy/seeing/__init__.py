"""What a run is doing, or did: from its diary alone, for people and for machines."""

from deploy.seeing.run_reader import RunReader, find_runs, latest_run
from deploy.seeing.run_state import RunState

__all__ = ["RunReader", "RunState", "find_runs", "latest_run"]
