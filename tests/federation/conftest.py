"""Runs that several tests look at; each is made once per file of tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from listening import ListeningGrid
from rehearsal import Rehearsal, Run, rehearse

from lego_core.plan import RunPlan
from simulations.in_process import Fault, answer_faithfully


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a plan over tiny sites in a folder of its own."""

    def run_plan(
        plan: RunPlan,
        fault: Fault = answer_faithfully,
        *,
        prepare: Callable[[Path], None] = lambda _: None,
        grid: type[ListeningGrid] = ListeningGrid,
        sites: int | None = None,
    ) -> Rehearsal:
        folder = tmp_path_factory.mktemp(plan.name)
        return rehearse(plan, folder, fault=fault, prepare=prepare, grid=grid, sites=sites)

    return run_plan
