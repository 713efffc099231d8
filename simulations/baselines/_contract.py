"""What every baseline promises: a model that a user would train on pooled, paired data instead of merging."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol, final

from jaxtyping import Float
from torch import Tensor

from lego_core.component import Component
from lego_core.errors import DataError, PlanError
from lego_core.records import Cohort, ModalitySchema
from lego_core.tasks import Classification, MultiLabel, Survival, Task
from lego_core.training import TrainingSettings


class Fitted(Protocol):
    """A trained baseline."""

    @property
    def num_parameters(self) -> int:
        """How many numbers training set: weights of a network, coefficients, nodes of trees."""
        ...

    def predict(self, cohort: Cohort) -> Float[Tensor, "B Q"]:
        """Predict as the task does: class probabilities, or survival at the end of each bin.

        Patients stay in their order, and may have any non-empty subset of the modalities.

        Raises:
            DataError: If a patient has none of them, or features of the training are missing.
        """
        ...


class AbstractBaseline(Component):
    """Settings of a model of all modalities at once; `kind` is its name in tables.

    Whatever there is to be chosen (a penalty, when to stop) is chosen on validation patients,
    and nothing ever sees a test patient. The same seed gives the same model.

    Attributes:
        tasks: Kinds of the tasks that it can learn; any, if none is named.
    """

    tasks: ClassVar[tuple[str, ...]] = ()

    @final
    def unfit_for(self, cohort: Cohort, *, task: Task) -> str | None:
        """Why the baseline ("it") cannot be used for such patients, as a sentence; None if it can."""
        if self.tasks and task.kind not in self.tasks:
            known = " and ".join(f"'{kind}'" for kind in self.tasks)
            return f"It learns tasks of kind {known}, and this one is of kind '{task.kind}'."
        return self._unfit_for(cohort)

    def _unfit_for(self, _cohort: Cohort, /) -> str | None:
        """The same of the patients, whatever the task; most baselines can be used for all."""
        return None

    @final
    def fit(
        self, train: Cohort, validation: Cohort, *, task: Task, settings: TrainingSettings, seed: int
    ) -> Fitted:
        """Train on patients with any non-empty subset of the modalities each.

        Args:
            train: Patients to learn from.
            validation: Patients to choose and to stop on.
            task: What is predicted; a survival task with its bins agreed on.
            settings: How networks are trained; other models have settings of their own.
            seed: Decides all that is random.

        Raises:
            PlanError: If the baseline is unfit for such patients, or for the task.
            DataError: If the training patients' outcomes are all alike.
        """
        reason = self.unfit_for(train, task=task)
        if reason:
            raise PlanError(f"Baseline '{self.to_plain()['kind']}' cannot be used here. {reason}")
        check_outcomes_differ(train, task=task)
        return self._fit(train, validation, task=task, settings=settings, seed=seed)

    @abstractmethod
    def _fit(
        self, train: Cohort, validation: Cohort, *, task: Task, settings: TrainingSettings, seed: int
    ) -> Fitted:
        """Train, once it is known that this can be done."""


def check_outcomes_differ(train: Cohort, *, task: Task) -> None:
    """Refuse training patients of whom nothing can be learned.

    Raises:
        DataError: If there is no patient, no event, one class only, or one answer to every label.
    """
    if not len(train):
        raise DataError(
            "There are no training patients for the baselines. Give more patients, or a larger share."
        )
    counts = task.summarise(train.marked("train")).counts.round()
    match task:
        case Survival():
            alike, what = counts[1] < 1, "no event was seen among them"
        case Classification():
            alike, what = (counts > 0).sum() < 2, "all of them have the same class"
        case MultiLabel():
            alike = ((counts == 0) | (counts == len(train))).all()
            what = "every label is the same for all of them"
    if alike:
        raise DataError(
            f"Nothing can be learned from these {len(train)} training patients: {what}. Split again with "
            "another seed or larger shares, so that outcomes differ."
        )


def as_in_training(cohort: Cohort, schemas: Mapping[str, ModalitySchema]) -> Cohort:
    """The same patients with the modalities and features that a model was trained on.

    Raises:
        DataError: If a patient has none of these modalities, or a feature is missing.
    """
    for name in schemas.keys() & cohort.schemas.keys():
        cohort = cohort.with_features(name, schemas[name].features)
    without = sum(schemas.keys().isdisjoint(record.modalities) for record in cohort.records)
    if without:
        raise DataError(
            f"{without} of {len(cohort)} patients have none of the modalities {list(schemas)} that the "
            "baseline was trained on. Leave them out, or give at least one of these modalities."
        )
    return Cohort(cohort.records, schemas)
