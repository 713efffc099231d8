"""Predictions are those of the evaluation, and of a patient alone."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction.serving import bundle_of, made_up
from sksurv.metrics import concordance_index_censored
from torchmetrics.functional.classification import multiclass_auroc, multilabel_auroc

from lego_core import Cohort, LegoMerge
from lego_core.errors import BundleError, DataError
from lego_core.evaluation import evaluate
from lego_core.prediction import Problem, SitePatients, choose_model, predict, predict_in_batches
from lego_core.records import ModalitySchema

MODELS = ["merge", "fuse", "ensemble", "block:visits"]
COHORT = made_up()
BUNDLE = bundle_of(COHORT)


def outcomes(cohort: Cohort) -> np.ndarray:
    return np.array([record.outcome.values for record in cohort.records])


# ---- known answers ------------------------------------------------------------------------------


def scored(bundle, cohort: Cohort):
    """What the evaluation says of test patients, by method and modalities, over who holds these."""
    tested = cohort.marked("test")
    names = list(cohort.schemas)
    report = evaluate(
        bundle.models, tested, task=bundle.agreement.task, all_modalities=names, site="here", seed=0,
        bootstrap=20, smallest_count=2, reference="test", with_charts=False,
    )  # fmt: skip
    return {(row.method, row.modalities): row for row in report.scores if row.patients == "holding"}


@pytest.mark.parametrize("method", ["merge", "fuse", "ensemble", "block"])
def test_the_c_index_of_the_table_is_the_evaluations(method):
    rows = scored(BUNDLE, COHORT)
    modalities = ("visits",) if method == "block" else tuple(COHORT.schemas)
    row = rows[(method, modalities)]

    model = "block:visits" if method == "block" else method
    table = predict(BUNDLE, COHORT.holding(*modalities), model=model)

    times, events = outcomes(COHORT.holding(*modalities)).T
    assert len(table) == row.count > 10
    assert concordance_index_censored(events == 1, times, table["risk"])[0] == pytest.approx(
        row.value, abs=1e-6
    )


def test_the_auroc_of_three_classes_is_the_evaluations():
    cohort = made_up("classification", absent=False).holding(*COHORT.schemas)
    bundle = bundle_of(cohort, "classification")
    row = scored(bundle, cohort)[("merge", tuple(cohort.schemas))]

    table = predict(bundle, cohort)

    said = torch.tensor(table.filter(like="probability_").to_numpy(dtype=np.float64))
    truth = torch.tensor(outcomes(cohort)[:, 0]).long()
    assert list(table.filter(like="probability_")) == [
        "probability_no", "probability_a little", "probability_yes",
    ]  # fmt: skip
    assert said.sum(dim=1).tolist() == pytest.approx([1.0] * len(cohort))
    assert float(multiclass_auroc(said, truth, num_classes=3)) == pytest.approx(row.value, abs=1e-6)


def test_the_auroc_of_labels_is_the_evaluations():
    cohort = made_up("multi-label", absent=False).holding(*COHORT.schemas)
    bundle = bundle_of(cohort, "multi-label")
    row = scored(bundle, cohort)[("merge", tuple(cohort.schemas))]

    table = predict(bundle, cohort)

    said = torch.tensor(table[["probability_cough", "probability_fever"]].to_numpy(dtype=np.float64))
    auroc = multilabel_auroc(said, torch.tensor(outcomes(cohort)).long(), num_labels=2)
    assert float(auroc) == pytest.approx(row.value, abs=1e-6)


# ---- any subset ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=8)
@given(st.sets(st.sampled_from(list(COHORT.schemas)), min_size=1))
def test_a_subset_of_modalities_is_the_merge_of_these_only(subset):
    blocks = [block for name, block in BUNDLE.models.merged.blocks.items() if name in subset]
    cohort = COHORT.holding(*subset).only(*subset)
    merged = LegoMerge(blocks).eval()
    with torch.no_grad():
        curve = BUNDLE.agreement.task.predict(merged(cohort.batch()))

    table = predict(BUNDLE, cohort, model="merge")

    assert set(table["modalities"]) == {"+".join(name for name in COHORT.schemas if name in subset)}
    np.testing.assert_allclose(table["risk"], -curve.double().sum(dim=1).numpy(), atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("batch_size", [1, 7])
def test_a_patients_row_does_not_depend_on_the_batch(model, batch_size):
    together = predict(BUNDLE, COHORT, model=model)

    alone = predict(BUNDLE, COHORT, model=model, batch_size=batch_size)

    pd.testing.assert_frame_equal(together, alone, atol=1e-5, rtol=1e-4)


def test_who_lacks_what_a_block_reads_is_listed_and_not_predicted():
    table = predict(BUNDLE, COHORT, model="block:visits").set_index("patient_id")

    without = [r.patient_id for r in COHORT.records if "visits" not in r.modalities]
    assert without
    assert set(table.loc[without, "status"]) == {
        "not predicted: block:visits reads no modality that was measured"
    }
    assert table.loc[without, "risk"].isna().all()
    assert table.drop(index=without)["risk"].notna().all()


def test_nobody_gives_an_empty_table_with_all_its_columns():
    table = predict(BUNDLE, COHORT.keep([]))

    assert len(table) == 0
    assert list(table) == list(predict(BUNDLE, COHORT))


# ---- survival curves ----------------------------------------------------------------------------


def test_a_curve_falls_and_its_median_lies_where_it_crosses_one_half():
    table = predict(BUNDLE, COHORT)
    first, second = BUNDLE.agreement.task.bin_edges_days
    curve = table.filter(like="survival_").filter(regex="d$").to_numpy(dtype=np.float64)

    assert list(table.filter(regex="^survival_")) == [f"survival_{first:.10g}d", f"survival_{second:.10g}d"]
    assert (np.diff(curve, axis=1) <= 0).all()
    reached = table["median_survival_days"].notna().to_numpy()
    assert reached.any()
    assert not reached.all()
    assert (reached == (curve[:, 1] <= 0.5)).all()
    expected = [np.interp(-0.5, -np.array([1.0, *row]), [0.0, first, second]) for row in curve[reached]]
    assert table["median_survival_days"][reached].tolist() == pytest.approx(expected, rel=1e-5)


# ---- features that lack, patients that cannot be taken -------------------------------------------


def without_feature(cohort: Cohort) -> Cohort:
    return cohort.with_features("clinical", ["feature-0", "feature-2"])


def test_a_missing_column_counts_as_cells_that_are_empty():
    emptied = COHORT.with_features("clinical", ["feature-0", "feature-1", "feature-2"])
    for record in emptied.records:
        if "clinical" in record.modalities:
            record.modalities["clinical"].values[:, 1] = torch.nan

    np.testing.assert_allclose(
        predict(BUNDLE, without_feature(emptied))["risk"], predict(BUNDLE, emptied)["risk"], atol=1e-6
    )


def test_a_missing_column_is_told_by_name():
    patients = SitePatients.of_cohort(without_feature(made_up()), BUNDLE.agreement.schemas)

    assert patients.notices == (
        "Modality 'clinical' lacks 1 of the 3 features that the model reads: 'feature-1'. They count as not "
        "measured in every patient, as an empty cell did in training. If they were measured, add the "
        "columns, named as in the run.",
    )


def test_a_modality_without_any_known_feature_is_refused():
    schemas = {"clinical": ModalitySchema(layout="table", features=("height",))}

    with pytest.raises(DataError, match="'clinical' has none of the 3 features that the model reads"):
        SitePatients.of_cohort(Cohort((), schemas), BUNDLE.agreement.schemas)


def test_a_modality_of_another_layout_is_refused():
    schemas = {"clinical": ModalitySchema(layout="bag", features=("feature-0",))}

    with pytest.raises(DataError, match="'clinical' is a bag here, and a table in the run"):
        SitePatients.of_cohort(Cohort((), schemas), BUNDLE.agreement.schemas)


def test_one_whom_the_model_cannot_take_costs_nobody_else():
    cohort = made_up(absent=False)
    bundle = bundle_of(cohort, encoders={"slide": {"kind": "transformer", "token-dim": 4, "max-tokens": 3}})
    patients = SitePatients.of_cohort(cohort, bundle.agreement.schemas)

    [part] = predict_in_batches(bundle, patients, choose_model(bundle, "block:slide"))

    long = {r.patient_id for r in cohort.records if len(r.modalities["slide"].values) > 3}
    assert 0 < len(long) < len(cohort)
    refused = part.table["status"] == "not predicted: the model cannot take it"
    assert set(part.table.loc[refused, "patient_id"]) == long
    assert part.table.loc[~refused, "risk"].notna().all()
    assert {problem.patient_id for problem in part.problems} == long
    assert all(isinstance(one, Problem) and "at most 3 rows" in one.problem for one in part.problems)


# ---- which model --------------------------------------------------------------------------------


def test_the_recommended_model_is_the_one_of_the_report():
    assert choose_model(BUNDLE).name == "merge"


@pytest.mark.parametrize("wish", ["blok:visits", "block:rna", "mean"])
def test_a_model_that_is_not_there_is_refused_with_those_that_are(wish):
    with pytest.raises(
        BundleError, match=rf"has no model '{wish}'. Its models are \['merge', 'ensemble', 'fuse'"
    ):
        choose_model(BUNDLE, wish)


def test_a_fused_model_that_is_not_there_is_refused():
    with pytest.raises(BundleError, match="has no model 'fuse'"):
        choose_model(bundle_of(COHORT, fused=False), "fuse")
