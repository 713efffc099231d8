"""What tests of studies are given."""

from pathlib import Path

import pytest
from study_runs import PLACE, prepare

from simulations.benchmarks.studies import STUDIES, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    benchmark = prepare(STUDIES["overlap"], tmp_path).benchmark
    trial = benchmark.trial(PLACE)
    return Lab(benchmark.plan, trial, trial.agreed(benchmark.plan.task))
