"""What every test can rely on: a quiet environment, one thread, no hidden randomness."""

import os

os.environ |= {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
}

from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("lego", deadline=None)
settings.load_profile("lego")
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def rng() -> torch.Generator:
    """Randomness for one test."""
    return torch.Generator().manual_seed(20_260_101)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real cohorts; tests that need them skip where it is absent."""
    folder = Path(os.environ.get("LEGO_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder}; set LEGO_DATA to their folder")
    return folder
