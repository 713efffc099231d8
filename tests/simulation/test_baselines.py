"""What every baseline promises, on made-up patients with all layouts and with gaps."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sksurv.linear_model import CoxnetSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv
from torch import Tensor

from lego_core import (
    Cohort,
    Measurement,
    ModalitySchema,
    Outcome,
    PatientRecord,
    Split,
    TrainingSettings,
    split_by_patient,
)
from lego_core.datasets import Synthetic
from lego_core.datasets._synthetic_modalities import (
    SyntheticBag,
    SyntheticImage,
    SyntheticModality,
    SyntheticSeries,
    SyntheticTable,
)
from lego_core.datasets._synthetic_outcomes import (
    SyntheticClass,
    SyntheticLabels,
    SyntheticOutcome,
    SyntheticSurvival,
)
from lego_core.errors import DataError, LegoError, PlanError
from lego_core.tasks import Classification, MultiLabel, Survival, Task
from simulations.baselines import BASELINES, AbstractBaseline, Baseline, Fitted
from simulations.baselines._choosing import outcomes_of
from simulations.baselines._features import FeatureTable
from simulations.baselines._survival import at_bin_ends

SETTINGS = TrainingSettings(epochs=25, batch_size=32, learning_rate=3e-3, patience=25)
TASKS: dict[str, tuple[Task, SyntheticOutcome]] = {
    "survival": (Survival(), SyntheticSurvival()),
    "two classes": (Classification(classes=("no", "yes")), SyntheticClass()),
    "three classes": (Classification(classes=("a", "b", "c")), SyntheticClass(classes=3)),
    "labels": (MultiLabel(labels=("x", "y")), SyntheticLabels(labels=2)),
}
MODALITIES: dict[str, SyntheticModality] = {
    "clinical": SyntheticTable(features=6, strength=2, noise=0.3, missing=0.05),
    "laboratory": SyntheticSeries(features=3, longest=4, noise=0.3, missing=0.1, absent=0.3),
    "slides": SyntheticBag(features=4, largest=6, noise=0.3, telling=0.8, absent=0.3),
    "scan": SyntheticImage(size=(6, 6), noise=0.3, absent=0.3),
}
every_baseline = pytest.mark.parametrize("kind", BASELINES)
every_task = pytest.mark.parametrize("name", TASKS)


@cache
def patients(name: str, *, count: int = 200) -> tuple[Cohort, Cohort, Cohort, Task]:
    """Training, validation and test patients of a task, and the task with its bins."""
    task, outcome = TASKS[name]
    cohort = Synthetic(patients=count, outcome=outcome, modalities=MODALITIES, shared=0.5).load()
    cohort = split_by_patient(cohort, Split(train=0.5, validation=0.2, test=0.3), task=task, seed=0)
    train, validation, test = (cohort.part(part) for part in ("train", "validation", "test"))
    return train, validation, test, task.agree(task.summarise(train))


def fit(kind: str, name: str, *, seed: int = 0) -> Fitted:
    train, validation, _, task = patients(name)
    return fit_on(BASELINES[kind], train, validation, task=task, seed=seed)


def fit_on(
    baseline: AbstractBaseline, train: Cohort, validation: Cohort, *, task: Task, seed: int = 0
) -> Fitted:
    return baseline.fit(train, validation, task=task, settings=SETTINGS, seed=seed)


@cache
def fitted(kind: str, name: str) -> tuple[Fitted, Cohort, Task]:
    """A trained baseline, the test patients and the task; skips what the baseline does not learn."""
    train, _, test, task = patients(name)
    if BASELINES[kind].unfit_for(train, task=task):
        pytest.skip("another kind of task")
    return fit(kind, name), test, task


# ---- the promises -------------------------------------------------------------------------------


def test_every_baseline_can_be_named_in_settings():
    for kind, baseline in BASELINES.items():
        assert TypeAdapter[Baseline](Baseline).validate_python({"kind": kind}) == baseline


@every_task
@every_baseline
def test_a_strong_signal_is_learned(kind: str, name: str):
    model, test, task = fitted(kind, name)

    assert task.score(model.predict(test), outcomes_of(test)).value > 0.65
    assert model.num_parameters > 0


@every_task
@every_baseline
def test_predictions_have_the_form_of_the_task(kind: str, name: str):
    model, test, task = fitted(kind, name)
    predictions = model.predict(test)

    assert predictions.dtype == torch.float32
    assert ((predictions >= 0) & (predictions <= 1)).all()
    if isinstance(task, Survival):
        assert predictions.shape == (len(test), task.num_bins)
        assert (predictions.diff(dim=1) <= 1e-6).all()
    elif isinstance(task, Classification):
        assert predictions.shape == (len(test), len(task.classes))
        torch.testing.assert_close(predictions.sum(dim=1), torch.ones(len(test)))
    else:
        assert predictions.shape == (len(test), 2)


@every_baseline
@pytest.mark.parametrize("name", ["survival", "two classes"])
def test_company_and_order_of_patients_do_not_change_a_prediction(kind: str, name: str):
    model, test, _ = fitted(kind, name)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0)).tolist()[:20]

    shuffled = model.predict(test.keep(test.records[index] for index in order))

    torch.testing.assert_close(shuffled, model.predict(test)[order], rtol=1e-3, atol=1e-4)


@every_baseline
@pytest.mark.parametrize("name", ["survival", "two classes"])
def test_patients_with_one_modality_alone_are_predicted(kind: str, name: str):
    model, test, _ = fitted(kind, name)

    for modality in MODALITIES:
        predictions = model.predict(test.only(modality))
        assert predictions.isfinite().all()
        assert len(predictions) == len(test.only(modality))


@every_baseline
@pytest.mark.parametrize("name", ["survival", "two classes"])
def test_one_seed_gives_one_model(kind: str, name: str):
    model, test, _ = fitted(kind, name)

    torch.testing.assert_close(fit(kind, name).predict(test), model.predict(test), rtol=0, atol=0)


@every_baseline
def test_features_may_outnumber_patients_and_some_may_be_constant_or_never_measured(kind: str):
    for name in ("survival", "two classes"):
        train, validation, _, task = patients(name)
        if BASELINES[kind].unfit_for(train, task=task):
            continue
        wide_train, wide_validation = _widened(train), _widened(validation)
        settings = SETTINGS.model_copy(update={"epochs": 1})

        model = BASELINES[kind].fit(wide_train, wide_validation, task=task, settings=settings, seed=0)

        assert model.predict(wide_validation).isfinite().all()


@every_baseline
def test_outcomes_that_are_all_alike_are_refused_with_a_sentence(kind: str):
    for name, values, sentence in (
        ("survival", (100.0, 0.0), "no event was seen among them"),
        ("two classes", (1.0,), "all of them have the same class"),
        ("labels", (1.0, 0.0), "every label is the same for all of them"),
    ):
        train, validation, _, task = patients(name)
        alike = train.keep(replace(record, outcome=Outcome(values)) for record in train.records)
        if BASELINES[kind].unfit_for(train, task=task):
            continue
        with pytest.raises(DataError, match=sentence):
            fit_on(BASELINES[kind], alike, validation, task=task)


@every_baseline
def test_a_patient_with_no_modality_is_refused_with_a_sentence(kind: str):
    name = "survival" if kind != "logistic-regression" else "two classes"
    model, test, _ = fitted(kind, name)
    empty = test.keep([replace(test.records[0], modalities={})])

    with pytest.raises(DataError, match="1 of 1 patients have none of the modalities"):
        model.predict(empty)


@every_baseline
def test_without_validation_patients_it_is_trained_all_the_same(kind: str):
    name = "survival" if kind != "logistic-regression" else "two classes"
    train, validation, test, task = patients(name)
    settings = SETTINGS.model_copy(update={"epochs": 1})

    model = BASELINES[kind].fit(train, validation.keep([]), task=task, settings=settings, seed=0)

    assert model.predict(test).isfinite().all()


def test_a_task_that_is_not_learned_is_refused_with_a_sentence():
    train, validation, _, task = patients("two classes")

    assert BASELINES["cox"].unfit_for(train, task=task)
    with pytest.raises(
        PlanError, match=r"Baseline 'cox' cannot be used here\. It learns tasks of kind 'survival'"
    ):
        fit_on(BASELINES["cox"], train, validation, task=task)


def _widened(cohort: Cohort) -> Cohort:
    """More columns in the table than patients: noise, one constant, one never measured."""
    noise = torch.randn(len(cohort), 1, 150, generator=torch.Generator().manual_seed(len(cohort)))
    noise[..., 0], noise[..., 1] = 7.0, torch.nan
    schema = cohort.schemas["clinical"]
    features = (*schema.features, *(f"noise-{index}" for index in range(150)))
    records = (
        replace(record, modalities={**record.modalities, "clinical": Measurement(_beside(record, row))})
        for record, row in zip(cohort.records, noise, strict=True)
    )
    return Cohort(
        tuple(records), {**cohort.schemas, "clinical": ModalitySchema(layout="table", features=features)}
    )


def _beside(record: PatientRecord, row: Tensor) -> Tensor:
    return torch.cat([record.modalities["clinical"].values, row], dim=1)


# ---- one row of features per patient ------------------------------------------------------------


def test_series_bags_and_images_become_summaries_means_and_pixels():
    nan = float("nan")
    series = Measurement(torch.tensor([[nan, nan], [2.0, nan], [6.0, nan], [4.0, nan]]), torch.arange(4.0))
    bag = Measurement(torch.tensor([[1.0], [3.0], [nan]]))
    image = Measurement(torch.tensor([[5.0], [6.0]]))
    schemas = {
        "visits": ModalitySchema(layout="series", features=("a", "b")),
        "bag": ModalitySchema(layout="bag", features=("c",)),
        "image": ModalitySchema(layout="image", features=("grey",), grid=(1, 2)),
    }
    first = PatientRecord("1", {"visits": series, "bag": bag, "image": image}, Outcome((0.0,)))
    single = Measurement(torch.zeros(1, 2), torch.zeros(1))
    blank = Measurement(torch.zeros(2, 1))
    second = PatientRecord("2", {"visits": single, "bag": blank, "image": blank}, Outcome((1.0,)))

    table = FeatureTable.of(Cohort((first, second), schemas))
    raw = table.matrix(Cohort((first, second), schemas)) * table.stddev + table.mean
    found = dict(zip(table.names, raw[0], strict=True))

    assert found == pytest.approx(
        {
            "visits: a first": 2,
            "visits: a last": 4,
            "visits: a mean": 4,
            "visits: a lowest": 2,
            "visits: a highest": 6,
            "visits: a number": 3,
            "visits: b number": 0,
            "bag: c mean": 2,
            "image: grey pixel 0": 5,
            "image: grey pixel 1": 6,
        }
    )  # what was never measured in `b` is the same for all, and left out


def test_columns_without_any_difference_are_refused_with_a_sentence():
    schemas = {"table": ModalitySchema(layout="table", features=("a",))}
    records = [
        PatientRecord(str(n), {"table": Measurement(torch.ones(1, 1))}, Outcome((0.0,))) for n in range(3)
    ]

    with pytest.raises(DataError, match="All 1 columns are the same for all 3 training patients"):
        FeatureTable.of(Cohort(tuple(records), schemas))


def test_what_was_not_measured_becomes_the_training_mean():
    train, _, test, _ = patients("survival")
    table = FeatureTable.of(train)
    missing = np.isnan(table.matrix(test))

    assert missing.any()
    assert (table.filled(test)[missing] == 0).all()
    np.testing.assert_allclose(np.nanmean(table.matrix(train), axis=0), 0, atol=1e-6)


# ---- known answers ------------------------------------------------------------------------------


@cache
def tables_only(name: str) -> tuple[Cohort, Cohort, Task, np.ndarray, np.ndarray]:
    """Training and test patients of one complete table, and their rows scaled by scikit-learn."""
    task, outcome = TASKS[name]
    table = SyntheticTable(features=5)
    cohort = Synthetic(patients=150, outcome=outcome, modalities={"table": table}).load()
    cohort = split_by_patient(cohort, Split(), task=task, seed=0)
    train, test = cohort.part("train"), cohort.part("test")
    rows, new = (
        np.concatenate([r.modalities["table"].values.double().numpy() for r in part.records])
        for part in (train, test)
    )
    scaler = StandardScaler().fit(rows)
    return train, test, task.agree(task.summarise(train)), scaler.transform(rows), scaler.transform(new)


@pytest.mark.parametrize("name", ["two classes", "three classes"])
def test_logistic_regression_is_that_of_scikit_learn(name: str):
    train, test, task, rows, new = tables_only(name)
    by_hand = LogisticRegression(C=0.1, max_iter=10_000).fit(rows, outcomes_of(train)[:, 0].numpy())

    baseline = BASELINES["logistic-regression"].model_copy(update={"inverse_penalties": (0.1,)})
    model = fit_on(baseline, train, test, task=task)

    np.testing.assert_allclose(model.predict(test), by_hand.predict_proba(new), atol=1e-4)
    assert model.num_parameters == by_hand.coef_.size + by_hand.intercept_.size


def test_cox_regression_is_that_of_scikit_survival_where_its_path_ranks_validation_best():
    train, test, task, rows, new = tables_only("survival")
    times, events = outcomes_of(train).double().numpy().T
    path = CoxnetSurvivalAnalysis(
        n_alphas=50, l1_ratio=BASELINES["cox"].l1_ratio, alpha_min_ratio=0.05, fit_baseline_model=True
    ).fit(rows, Surv.from_arrays(events == 1, times))
    new_times, new_events = outcomes_of(test).double().numpy().T
    ranks = [
        concordance_index_censored(new_events == 1, new_times, path.predict(new, alpha=alpha))[0]
        for alpha in path.alphas_
    ]
    around = [np.mean([ranks[min(max(at + step, 0), 49)] for step in range(-4, 5)]) for at in range(50)]
    curves = path.predict_survival_function(new, alpha=path.alphas_[int(np.argmax(np.round(around, 9)))])
    ends = [np.nextafter(edge, 0) for edge in task.bin_edges_days] + [curves[0].x[-1]]

    model = fit_on(BASELINES["cox"], train, test, task=task)

    np.testing.assert_allclose(model.predict(test), [curve(ends) for curve in curves], atol=1e-4)


def test_survival_is_read_before_an_edge_and_after_the_last_step():
    task = Survival(num_bins=3, bin_edges_days=(10.0, 20.0))
    curves = np.array([[0.9, 0.8, 0.5]])

    assert at_bin_ends(curves, np.array([5.0, 10.0, 30.0]), task=task).tolist() == [[0.9, 0.8, 0.5]]
    assert at_bin_ends(curves, np.array([10.0, 12.0, 14.0]), task=task).tolist() == [[1.0, 0.5, 0.5]]


def test_bins_without_edges_are_refused_with_a_sentence():
    with pytest.raises(LegoError, match="no edges between bins"):
        at_bin_ends(np.ones((1, 2)), np.array([1.0, 2.0]), task=Survival())
