"""The plan of a dataset that comes without one: the task from its outcome, encoders from its modalities."""

import re

from lego_core.datasets import AbstractDataset, ClassOutcome, LabelsOutcome, Synthetic
from lego_core.datasets._listed import AbstractListedDataset
from lego_core.datasets._synthetic_outcomes import SyntheticClass, SyntheticLabels
from lego_core.encoders import Encoder, Image, Patches, Tabular, TimeSeries
from lego_core.errors import PlanError
from lego_core.plan import Fuse, ModalityPlan, RunPlan
from lego_core.privacy import NoPrivacy
from lego_core.records import Cohort, Layout
from lego_core.tasks import Classification, MultiLabel, Survival, Task

# Patients to each feature of a narrow table. Regression asks for ten events to each variable: Peduzzi et
# al. Journal of Clinical Epidemiology 49(12), 1996. doi:10.1016/S0895-4356(96)00236-3.
PATIENTS_PER_FEATURE = 10
OTHER_ENCODERS: dict[Layout, Encoder] = {"series": TimeSeries(), "bag": Patches(), "image": Image()}


def default_plan(name: str, dataset: AbstractDataset, cohort: Cohort) -> RunPlan:
    """Make the plan.

    Raises:
        PlanError: If the dataset's settings do not tell what is predicted.
    """
    ratios = _patients_per_feature(cohort)
    return RunPlan(
        name=re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "dataset",
        task=_task_of(dataset),
        privacy=NoPrivacy(kind="no-privacy"),
        modalities={
            modality: ModalityPlan(
                encoder=_table_encoder(ratios[modality])
                if modality in ratios
                else OTHER_ENCODERS[schema.layout]
            )
            for modality, schema in cohort.schemas.items()
        },
        fuse=Fuse(dropout=any(ratio < 1 for ratio in ratios.values())),
    )


def _patients_per_feature(cohort: Cohort) -> dict[str, float]:
    """How many patients hold a table, for each of its features."""
    return {
        modality: len(cohort.holding(modality)) / schema.num_features
        for modality, schema in cohort.schemas.items()
        if schema.layout == "table"
    }


def _table_encoder(patients_per_feature: float) -> Tabular:
    """Only a narrow table may be learned whole: nothing hidden is dropped, and squares are added."""
    is_narrow = patients_per_feature >= PATIENTS_PER_FEATURE
    return Tabular(dropout=0.0, squares=True) if is_narrow else Tabular(squares=False)


def _task_of(dataset: AbstractDataset) -> Task:
    if dataset.classes_in_order:
        return Classification(classes=dataset.classes_in_order)
    if isinstance(dataset, AbstractListedDataset | Synthetic):
        match dataset.outcome:
            case ClassOutcome(classes=classes):
                return Classification(classes=classes)
            case SyntheticClass(classes=number):
                return Classification(classes=tuple(f"class {index}" for index in range(number)))
            case LabelsOutcome(columns=columns):
                return MultiLabel(labels=columns)
            case SyntheticLabels(labels=number):
                return MultiLabel(labels=tuple(f"label {index}" for index in range(number)))
            case _:
                return Survival()
    raise PlanError(
        "The dataset's description does not tell what is predicted. Name a plan that has its task with "
        "--plan PLAN."
    )
