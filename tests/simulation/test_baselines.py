"""What every baseline promises, on made-up patients with all layouts and with gaps."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sksurv.ensemble import RandomSurvivalForest
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
from lego_core.records import Inputs, Tokens
from lego_core.tasks import Classification, MultiLabel, Survival, Task
from simulations.baselines import BASELINES, AbstractBaseline, Baseline, Fitted, MultiModN
from simulations.baselines._choosing import outcomes_of
from simulations.baselines._features import FeatureTable
from simulations.baselines._networks import AbstractNetwork, FittedNetwork
from simulations.baselines._pooling import GatedAttention
from simulations.baselines._steps import Steps
from simulations.baselines._survival import at_bin_ends, left_at_events, times_and_events
from simulations.baselines._tokens import ChunkTokens
from simulations.baselines.late_bilinear import FullProduct, LowRankProduct

SETTINGS = TrainingSettings(
    epochs=8,
    batch_size=32,
)
ONE_EPOCH = TrainingSettings(epochs=1)
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
SMALLER = {"random-survival-forest": {"trees": 30}, "gradient-boosting": {"max_trees": 60}}
SMALL = {
    kind: one.model_copy(
        update={"learning_rates": (5e-3,)} if isinstance(one, AbstractNetwork) else SMALLER.get(kind, {})
    )
    for kind, one in BASELINES.items()
}
every_baseline = pytest.mark.parametrize("kind", BASELINES)
every_task = pytest.mark.parametrize("name", TASKS)
two_tasks = pytest.mark.parametrize("name", ["survival", "two classes"])


@cache
def patients(name: str, *, count: int = 200) -> tuple[Cohort, Cohort, Cohort, Task]:
    """Training, validation and test patients of a task, and the task with its bins."""
    task, outcome = TASKS[name]
    cohort = Synthetic(patients=count, outcome=outcome, modalities=MODALITIES, shared=0.5).load()
    cohort = split_by_patient(cohort, Split(train=0.5, validation=0.2, test=0.3), task=task, seed=0)
    train, validation, test = (cohort.part(part) for part in ("train", "validation", "test"))
    return train, validation, test, task.agree(task.summarise(train))


def fit_on(
    baseline: AbstractBaseline,
    train: Cohort,
    validation: Cohort,
    *,
    task: Task,
    settings: TrainingSettings = ONE_EPOCH,
    seed: int = 0,
) -> Fitted:
    return baseline.fit(train, validation, task=task, settings=settings, seed=seed)


@cache
def fitted(kind: str, name: str, *, settings: TrainingSettings = ONE_EPOCH) -> tuple[Fitted, Cohort, Task]:
    """A trained baseline, the test patients and the task; skips what the baseline does not learn."""
    train, validation, test, task = patients(name)
    if SMALL[kind].unfit_for(train, task=task):
        pytest.skip("another kind of task")
    return fit_on(SMALL[kind], train, validation, task=task, settings=settings), test, task


def task_of(kind: str) -> str:
    """The name of a task that the baseline learns."""
    return "two classes" if kind == "logistic-regression" else "survival"


# ---- the promises -------------------------------------------------------------------------------


def test_every_baseline_can_be_named_in_settings():
    for kind, baseline in BASELINES.items():
        assert TypeAdapter[Baseline](Baseline).validate_python({"kind": kind}) == baseline


@two_tasks
@every_baseline
def test_a_strong_signal_is_learned(kind: str, name: str):
    model, test, task = fitted(kind, name, settings=SETTINGS)

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


@two_tasks
@every_baseline
def test_company_and_order_of_patients_do_not_change_a_prediction(kind: str, name: str):
    model, test, _ = fitted(kind, name)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0)).tolist()[:20]

    shuffled = model.predict(test.keep(test.records[index] for index in order))

    torch.testing.assert_close(shuffled, model.predict(test)[order], rtol=1e-3, atol=1e-4)


@two_tasks
@every_baseline
def test_patients_with_one_modality_alone_are_predicted(kind: str, name: str):
    model, test, _ = fitted(kind, name)

    for modality in MODALITIES:
        predictions = model.predict(test.only(modality))
        assert predictions.isfinite().all()
        assert len(predictions) == len(test.only(modality))


@two_tasks
@every_baseline
def test_one_seed_gives_one_model(kind: str, name: str):
    model, test, _ = fitted(kind, name)
    train, validation, _, task = patients(name)

    again = fit_on(SMALL[kind], train, validation, task=task)

    torch.testing.assert_close(again.predict(test), model.predict(test), rtol=0, atol=0)


@every_baseline
def test_features_may_outnumber_patients_and_some_may_be_constant_or_never_measured(kind: str):
    train, validation, _, task = patients(task_of(kind))
    wide_train, wide_validation = _widened(train), _widened(validation)

    model = fit_on(SMALL[kind], wide_train, wide_validation, task=task)

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
    model, test, _ = fitted(kind, task_of(kind))
    empty = test.keep([replace(test.records[0], modalities={})])

    with pytest.raises(DataError, match="1 of 1 patients have none of the modalities"):
        model.predict(empty)


@every_baseline
def test_without_validation_patients_it_is_trained_all_the_same(kind: str):
    train, validation, test, task = patients(task_of(kind))

    model = fit_on(SMALL[kind], train, validation.keep([]), task=task)

    assert model.predict(test).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["three classes", "labels"])
@every_baseline
def test_a_strong_signal_in_several_answers_is_learned(kind: str, name: str):
    model, test, task = fitted(kind, name, settings=SETTINGS)

    assert task.score(model.predict(test), outcomes_of(test)).value > 0.65


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


def test_a_forest_is_the_same_if_patients_left_at_events():
    train, _, _, rows, new = tables_only("survival")
    outcomes = times_and_events(train)
    fewer = left_at_events(outcomes)
    one, other = (
        RandomSurvivalForest(n_estimators=10, min_samples_leaf=3, random_state=0).fit(rows, told)
        for told in (outcomes, fewer)
    )

    events = one.unique_times_[one.is_event_time_]
    curves = [forest.predict_survival_function(new) for forest in (one, other)]

    assert set(np.unique(fewer["time"])) <= {0.0, *events} < {0.0, *np.unique(outcomes["time"])}
    told, again = ([curve(events) for curve in own] for own in curves)
    np.testing.assert_allclose(told, again, atol=1e-12)


def test_steps_are_few_and_in_order_and_keep_what_is_rare():
    chance = np.random.default_rng(0)
    rare = np.ones(500)
    rare[7] = 0
    rows = np.stack([chance.lognormal(size=500), rare, 1 - rare], axis=1)

    numbers = Steps.of(rows, most=6).number(rows)

    counts = np.unique(numbers[:, 0], return_counts=True)[1]
    assert len(counts) == 6
    assert counts.sum() == 500
    assert (np.diff(numbers[np.argsort(rows[:, 0]), 0]) >= 0).all()
    np.testing.assert_array_equal(numbers[:, 1:], rows[:, 1:])


def test_survival_is_read_before_an_edge_and_after_the_last_step():
    task = Survival(num_bins=3, bin_edges_days=(10.0, 20.0))
    curves = np.array([[0.9, 0.8, 0.5]])

    assert at_bin_ends(curves, np.array([5.0, 10.0, 30.0]), task=task).tolist() == [[0.9, 0.8, 0.5]]
    assert at_bin_ends(curves, np.array([10.0, 12.0, 14.0]), task=task).tolist() == [[1.0, 0.5, 0.5]]


def test_bins_without_edges_are_refused_with_a_sentence():
    with pytest.raises(LegoError, match="no edges between bins"):
        at_bin_ends(np.ones((1, 2)), np.array([1.0, 2.0]), task=Survival())


def test_what_weighs_instances_is_unfit_for_tables_alone_and_what_guides_for_one_modality():
    train, _, task, _, _ = tables_only("survival")

    assert "all modalities here are tables" in str(BASELINES["attention-mil"].unfit_for(train, task=task))
    assert "the modalities are ['table']" in str(BASELINES["mcat"].unfit_for(train, task=task))
    lost = BASELINES["mcat"].model_copy(update={"guide": "lost"})
    assert "Its guide is to be 'lost'" in str(lost.unfit_for(patients("survival")[0], task=task))


def test_attention_weights_are_a_share_of_the_present_tokens(rng: torch.Generator):
    present = torch.tensor([[True, True, False], [True, False, False]])
    tokens = Tokens(torch.randn(2, 3, 8, generator=rng), present)

    weights = GatedAttention(8).weights(tokens)

    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    assert (weights[~present] == 0).all()
    assert (weights[present] > 0).all()


def test_attention_over_instances_does_not_ask_for_their_order():
    model, test, _ = fitted("attention-mil", "survival")

    def reversed_slides(record: PatientRecord) -> PatientRecord:
        slides = Measurement(record.modalities["slides"].values.flip(0))
        return replace(record, modalities={**record.modalities, "slides": slides})

    having = test.holding("slides")
    turned = having.keep(reversed_slides(record) for record in having.records)

    torch.testing.assert_close(model.predict(turned), model.predict(having), rtol=1e-4, atol=1e-5)


def test_two_factors_are_fused_by_their_outer_product_with_ones(rng: torch.Generator):
    first, second = torch.randn(4, 3, generator=rng), torch.randn(4, 3, generator=rng)
    fusion = FullProduct(2, 3, 5)
    weights = fusion.linear.weight.detach().numpy().reshape(5, 4, 4)
    one, other = (np.hstack([factor.numpy(), np.ones((4, 1))]) for factor in (first, second))

    by_hand = np.einsum("bi,bj,kij->bk", one, other, weights) + fusion.linear.bias.detach().numpy()

    np.testing.assert_allclose(fusion([first, second]).detach(), by_hand, rtol=1e-4, atol=1e-5)


def test_a_product_of_low_rank_is_the_full_product_with_weights_of_that_rank(rng: torch.Generator):
    factors = [torch.randn(4, 2, generator=rng) for _ in range(3)]
    fusion = LowRankProduct(3, 2, 5, rank=2)
    with torch.no_grad():
        fusion.weights.normal_(generator=rng)
        fusion.bias.normal_(generator=rng)
    a, b, c = fusion.weights.detach().numpy()
    weights = np.einsum("r,rik,rjk,rlk->kijl", fusion.ranks.detach().numpy(), a, b, c)
    ones = [np.hstack([factor.numpy(), np.ones((4, 1))]) for factor in factors]

    by_hand = np.einsum("bi,bj,bl,kijl->bk", *ones, weights) + fusion.bias.detach().numpy()

    np.testing.assert_allclose(fusion(factors).detach(), by_hand, rtol=1e-4, atol=1e-4)


def test_multimodn_learns_from_every_decoding_and_predicts_from_the_last():
    task, outcomes = TASKS["two classes"][0], torch.tensor([[1.0], [0.0]])
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, -1.0, 3.0]])
    each = [task.loss(logits[:, step : step + 1], outcomes) for step in range(3)]

    assert MultiModN().loss(task)(logits, outcomes).item() == pytest.approx(sum(map(float, each)) / 3)
    model, test, _ = fitted("multimodn", "two classes")
    alone = test.holding("clinical").only("clinical")
    assert model.predict(alone).std(dim=0).min() > 0


@pytest.mark.parametrize("kind", ["healnet", "multimodn"])
def test_a_modality_that_is_skipped_leaves_no_trace(kind: str):
    model, test, _ = fitted(kind, "survival")
    assert isinstance(model, FittedNetwork)
    alone = test.holding("clinical").only("clinical")
    before = model.predict(alone)

    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if "scan" in name:
                weight.add_(1.0)

    torch.testing.assert_close(model.predict(alone), before, rtol=0, atol=0)


def test_the_learning_rate_with_the_least_validation_loss_is_chosen():
    train, validation, test, task = patients("survival")
    useless, fine = 1e-9, 1e-3

    def trained_with(*rates: float) -> Tensor:
        network = BASELINES["snn"].model_copy(update={"learning_rates": rates})
        return fit_on(network, train, validation, task=task, settings=SETTINGS).predict(test)

    assert torch.equal(trained_with(useless, fine), trained_with(fine))
    settings = SETTINGS.model_copy(update={"learning_rate": fine})
    plain = BASELINES["snn"].model_copy(update={"learning_rates": ()})
    as_settings_say = fit_on(plain, train, validation, task=task, settings=settings)
    assert torch.equal(as_settings_say.predict(test), trained_with(fine))


def test_a_chunk_of_one_feature_is_a_token_of_its_own(rng: torch.Generator):
    tokens = ChunkTokens(3, 4)
    values = torch.randn(2, 1, 3, generator=rng)
    measured = torch.tensor([[[True, True, False]], [[True, True, True]]])
    inputs = Inputs(values * measured, measured, measured[..., 0], torch.zeros(2, 1), torch.ones(2).bool())

    made = tokens(inputs)

    assert made.values.shape == (2, 3, 4)
    expected = values[0, 0, 1] * tokens.value[1, 0] + tokens.name[1]
    torch.testing.assert_close(made.values[0, 1], expected)
    torch.testing.assert_close(made.values[0, 2], tokens.absent[2, 0] + tokens.name[2])
    assert ChunkTokens(2900, 4)(_blank(2900)).values.shape[1] <= 64


def _blank(num_features: int) -> Inputs:
    values = torch.zeros(1, 1, num_features)
    return Inputs(values, values == 0, torch.ones(1, 1).bool(), torch.zeros(1, 1), torch.ones(1).bool())
