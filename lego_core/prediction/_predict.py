"""What a model says of patients, each with any subset of the modalities."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from lego_core.bundle import ModelBundle
from lego_core.errors import LegoError
from lego_core.prediction._choice import RECOMMENDED, Choice, choose_model
from lego_core.prediction._patients import Problem, SitePatients
from lego_core.prediction._table import PREDICTED, rows_of
from lego_core.prediction._units import UnitWatch
from lego_core.records import Cohort, PatientRecord

BATCH = 256
NOTHING_KNOWN = "not predicted: no known modality"
UNREADABLE = "not predicted: what was measured cannot be read"
REFUSED = "not predicted: the model cannot take it"


@dataclass(frozen=True)
class Predictions:
    """What came of some patients.

    Args:
        table: One row per patient, in order.
        problems: What could not be read or predicted.
    """

    table: pd.DataFrame
    problems: tuple[Problem, ...]


def predict(
    bundle: ModelBundle, cohort: Cohort, *, model: str = RECOMMENDED, batch_size: int = BATCH
) -> pd.DataFrame:
    """Predict for patients with any subset of the modalities, from raw measurements.

    Args:
        bundle: The result of a run.
        cohort: The patients; their outcomes are not looked at.
        model: `recommended`, `merge`, `fuse`, `ensemble` or `block:NAME`.
        batch_size: How many patients pass at once.

    Returns:
        One row per patient, in order: `patient_id`, `status`, `modalities` that were used, `model`,
        `bundle_sha256`, and the prediction. Classification and multi-label: `probability_NAME` each.
        Survival: `risk`, by which the run ranked patients (higher is earlier), `survival_DAYSd` at the
        inner edges of the plan's time bins, and `median_survival_days`, on a straight line between two
        edges, empty if the curve stays above one half.

    Raises:
        BundleError: If the bundle has no such model.
        DataError: If a modality has another layout than in the run, or none of its features.

    Guarantees:
        A patient's row does not depend on who else is there (up to rounding). A feature that is missing
        counts as not measured.
    """
    choice = choose_model(bundle, model)
    patients = SitePatients.of_cohort(cohort, bundle.agreement.schemas)
    parts = [part.table for part in predict_in_batches(bundle, patients, choice, batch_size=batch_size)]
    return pd.concat(parts, ignore_index=True) if parts else _nobody(bundle, choice)


def predict_in_batches(
    bundle: ModelBundle,
    patients: SitePatients,
    choice: Choice,
    *,
    batch_size: int = BATCH,
    watch: UnitWatch | None = None,
) -> Iterator[Predictions]:
    """Predict for patients who need not all fit into memory.

    Args:
        bundle: The result of a run.
        patients: Who, in the features that the run agreed on.
        choice: The model.
        batch_size: How many patients are read and predicted at once.
        watch: Is shown every batch, to tell afterwards which features look like other units.
    """
    at_first = {problem.patient_id for problem in patients.problems}
    for cohort, problems in patients.batches(batch_size):
        said = _Batch(bundle, choice, cohort, at_first | {problem.patient_id for problem in problems})
        if watch:
            watch.look(cohort.batch())
        yield said.predictions(problems)


@dataclass(frozen=True)
class _Batch:
    """Patients who are predicted together."""

    bundle: ModelBundle
    choice: Choice
    cohort: Cohort
    with_problems: set[str]

    def predictions(self, problems: tuple[Problem, ...]) -> Predictions:
        statuses = {record.patient_id: self._status(record) for record in self.cohort.records}
        predicted: dict[str, Tensor] = {}
        refused: list[Problem] = []
        for used in dict.fromkeys(self._used(record) for record in self.cohort.records):
            group = self.cohort.keep(r for r in self.cohort.records if used and self._used(r) == used)
            predicted |= self._of_group(group, used, refused)
        statuses |= dict.fromkeys((one.patient_id for one in refused), REFUSED)
        known = [record for record in self.cohort.records if statuses[record.patient_id] == PREDICTED]
        rows = [predicted[record.patient_id] for record in known]
        nobody = torch.zeros(0, _width(self.bundle))
        table = rows_of(
            [record.patient_id for record in self.cohort.records],
            status=list(statuses.values()),
            modalities=["+".join(self._used(record)) for record in self.cohort.records],
            model=self.choice.name,
            bundle_sha256=self.bundle.sha256,
            task=self.bundle.agreement.task,
            predictions=torch.stack(rows) if rows else nobody,
        )
        return Predictions(table, (*problems, *refused))

    def _used(self, record: PatientRecord) -> tuple[str, ...]:
        """What the model reads of a patient, in the order of the blocks."""
        return tuple(name for name in self.choice.modalities if name in record.modalities)

    def _status(self, record: PatientRecord) -> str:
        if self._used(record):
            return PREDICTED
        if record.modalities:
            return f"not predicted: {self.choice.name} reads no modality that was measured"
        return UNREADABLE if record.patient_id in self.with_problems else NOTHING_KNOWN

    def _of_group(self, group: Cohort, used: tuple[str, ...], refused: list[Problem]) -> dict[str, Tensor]:
        """Predict for patients who hold the same; one by one if there is one whom the model cannot take."""
        if not len(group):
            return {}
        batch = group.only(*used).batch()
        try:
            said = self.bundle.models.predict(self.choice.method, batch, self.bundle.agreement.task)
        except LegoError as error:
            if len(group) == 1:
                refused.append(Problem(group.records[0].patient_id, "+".join(used), "", error.public))
                return {}
            alone = (self._of_group(group.keep([record]), used, refused) for record in group.records)
            return {name: row for one in alone for name, row in one.items()}
        return {record.patient_id: row for record, row in zip(group.records, said, strict=True)}


def _width(bundle: ModelBundle) -> int:
    return bundle.agreement.task.predict(torch.zeros(1, bundle.agreement.task.num_outputs)).shape[1]


def _nobody(bundle: ModelBundle, choice: Choice) -> pd.DataFrame:
    task = bundle.agreement.task
    return rows_of(
        [], status=[], modalities=[], model=choice.name, bundle_sha256=bundle.sha256, task=task,
        predictions=torch.zeros(0, _width(bundle)),
    )  # fmt: skip
