"""What baselines with networks share: inputs scaled as ours, our training loop, our settings of it."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from lego_core.records import Batch, Cohort, Inputs, ModalitySchema
from lego_core.statistics import FeatureStatistics, Normalisation
from lego_core.tasks import Task
from lego_core.training import Trainer, TrainingSettings, predict_logits
from simulations.baselines._contract import AbstractBaseline, as_in_training

Loss = Callable[[Tensor, Tensor], Tensor]


class AbstractNetwork(AbstractBaseline):
    """A baseline that is a network, trained with AdamW, and stopped by validation patients.

    Args:
        learning_rates: Step sizes to choose from by the validation loss; without any, that of the
            settings. A plan's was chosen for our blocks and is no measure for other networks.
    """

    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = (1e-3,)

    @abstractmethod
    def build(self, schemas: Mapping[str, ModalitySchema], *, num_outputs: int) -> nn.Module:
        """Make the network, with fresh weights from torch's global generator.

        Its `forward(batch: Batch)` takes normalised inputs and gives logits (B, K).
        """

    def loss(self, task: Task) -> Loss:
        """What training minimises, from logits and outcomes."""
        return task.loss

    def seen_as(self, train: Cohort) -> Callable[[Cohort], Cohort]:
        """How patients are shown to the network, given those it is trained on: as they are."""
        schemas = dict(train.schemas)
        return lambda cohort: as_in_training(cohort, schemas)

    @final
    def _fit(
        self, train: Cohort, validation: Cohort, *, task: Task, settings: TrainingSettings, seed: int
    ) -> "FittedNetwork":
        show = self.seen_as(train)
        train, validation = show(train).marked("train"), show(validation)
        tried: list[tuple[float, nn.Module]] = []
        for rate in self.learning_rates or (settings.learning_rate,):
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                network = Normalised(self.build(train.schemas, num_outputs=task.num_outputs), train)
            own = settings.model_copy(update={"learning_rate": rate})
            trainer = Trainer(network, task=task, settings=own, loss=self.loss(task))
            epochs = trainer.fit(train, validation, seed=seed)
            tried.append((min(epoch.validation_loss or 0.0 for epoch in epochs), network))
        best = min(tried, key=lambda one: one[0])[1]
        return FittedNetwork(best, task, show)


@final
@dataclass(frozen=True, slots=True, eq=False)
class FittedNetwork:
    """A trained network, the task, and how patients are shown to it."""

    network: nn.Module
    task: Task
    show: Callable[[Cohort], Cohort]

    @property
    def num_parameters(self) -> int:
        """Weights that were trained."""
        return sum(weight.numel() for weight in self.network.parameters())

    def predict(self, cohort: Cohort) -> Float[Tensor, "B Q"]:
        """Logits, then the task's predictions."""
        logits, _ = predict_logits(self.network, self.show(cohort))
        return self.task.predict(logits[:, -self.task.num_outputs :])


@final
class Normalised(nn.Module):
    """Any network, fed with inputs of mean 0 and spread 1.

    Args:
        network: What is fed.
        train: Patients whose means and spreads are taken; marked as training patients.

    Shapes:
        batch    Batch of B patients, any non-empty subset of modalities each
        returns  (B, K)  logits
    """

    def __init__(self, network: nn.Module, train: Cohort) -> None:
        super().__init__()
        self.network = network
        self.scales = nn.ModuleDict({name: _Scale(train, name) for name in train.modalities})

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Normalise every modality, and ask the network."""
        inputs = {name: scale(batch.inputs[name]) for name, scale in self.scales.items()}
        return self.network(Batch(inputs, batch.outcomes))


class _Scale(nn.Module):
    """Mean and spread of one modality's features."""

    def __init__(self, train: Cohort, modality: str) -> None:
        super().__init__()
        normalisation = FeatureStatistics.of(train, modality).normalisation()
        self.mean, self.stddev = nn.Buffer(normalisation.mean), nn.Buffer(normalisation.stddev)

    def forward(self, inputs: Inputs) -> Inputs:
        return Normalisation(self.mean, self.stddev).normalise(inputs)
