"""How the benchmark trains what stands beside our own methods."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from torch import nn

from lego_core.datasets import Pbc
from lego_core.encoders import Tabular, TimeSeries
from lego_core.plan import RunPlan
from lego_core.records import Cohort, ModalitySchema
from lego_core.tasks import Task
from lego_core.training import TrainingSettings
from simulations.baselines import BASELINES, Fitted
from simulations.baselines._encoded import AbstractEncodedNetwork
from simulations.benchmarks.models import QUICK_EPOCHS, QUICK_PATIENCE, fit_baseline


class Listener(AbstractEncodedNetwork):
    """Takes note of how it is asked to train."""

    heard: ClassVar[list[tuple[dict[str, Any], TrainingSettings]]] = []

    def build(self, schemas: Mapping[str, ModalitySchema], *, num_outputs: int) -> nn.Module:
        raise AssertionError("nobody asks for it")

    def _fit(
        self, train: Cohort, validation: Cohort, *, task: Task, settings: TrainingSettings, seed: int
    ) -> Fitted:
        self.heard.append((dict(self.encoders), settings))
        raise StopIteration


@pytest.mark.parametrize(
    ("quick", "epochs", "patience"), [(False, 50, 8), (True, QUICK_EPOCHS, QUICK_PATIENCE)]
)
def test_a_plan_that_keeps_the_last_weights_of_few_epochs_does_not_hold_for_baselines(
    monkeypatch: pytest.MonkeyPatch, quick: bool, epochs: int, patience: int
) -> None:
    listener = Listener()
    monkeypatch.setitem(BASELINES, "listener", listener)
    plan = RunPlan.shipped("pbc")
    ours = plan.training.model_copy(update={"dropout": False})
    plan = plan.model_copy(update={"training": ours})
    patients = Pbc().load()
    assert plan.training.keep == "last"

    with pytest.raises(StopIteration):
        fit_baseline("listener", patients, patients, plan=plan, task=plan.task, seed=1, quick=quick)

    ((encoders, settings),) = listener.heard[-1:]
    assert (settings.keep, settings.epochs, settings.patience) == ("best", epochs, patience)
    assert settings.dropout
    assert settings.batch_size == plan.training.batch_size
    assert encoders == {
        "clinical": Tabular(dropout=0, input_dropout=0, squares=False),
        "laboratory": TimeSeries(token_dim=32, time_unit_days=365),
    }
