"""Runs that several tests look at; each is made once per file of tests."""

import pytest
from rehearsal import Rehearsal, Run, rehearse

from lego_core.plan import RunPlan
from simulations.in_process import Fault, answer_faithfully


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a plan over tiny sites in a folder of its own."""

    def run_plan(plan: RunPlan, fault: Fault = answer_faithfully, **more: object) -> Rehearsal:
        return rehearse(plan, tmp_path_factory.mktemp(plan.name), fault=fault, **more)

    return run_plan
