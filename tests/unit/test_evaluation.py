"""Scores: made at a site of enough patients, pooled by comparable pairs, compared on the same resamples."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from blocks import tiny_block, tiny_cohort
from hypothesis import given, settings
from hypothesis import strategies as st

from lego_core import Cohort, LegoFuse, LegoMerge
from lego_core.evaluation import EvaluationReport, ModelSet, evaluate, pool, score, subsets
from lego_core.protocol import ScoreRow, SiteReport
from lego_core.records import Outcome, Part, PatientRecord
from lego_core.tasks import Classification, Survival

TASK = Classification(classes=("no", "yes", "maybe"))
MODALITIES = ("a", "b", "c")


def models(modalities: Sequence[str] = MODALITIES, *, fused: bool = False) -> ModelSet:
    blocks = [tiny_block(name, num_outputs=3) for name in modalities]
    return ModelSet(LegoMerge(blocks), LegoFuse(blocks) if fused else None).eval()


def at_site(held: list[str], *, part: Part = "test", seed: int = 0) -> Cohort:
    """Patients in one part, at a site that knows all three modalities."""
    known = tiny_cohort([*held, "abc"], seed=seed)
    return known.keep(known.records[:-1]).marked(part)


def report_of(
    cohort: Cohort,
    *,
    model: ModelSet | None = None,
    site: str = "here",
    seed: int = 0,
    smallest_count: int = 10,
) -> SiteReport:
    return evaluate(
        model or models(), cohort, task=TASK, all_modalities=MODALITIES, site=site, seed=seed,
        bootstrap=20, smallest_count=smallest_count,
    )  # fmt: skip


def row_of(report: SiteReport, method: str, modalities: str, patients: str = "holding") -> ScoreRow:
    wanted = (method, tuple(modalities), patients)
    (row,) = [row for row in report.scores if (row.method, row.modalities, row.patients) == wanted]
    return row


# ---- subsets -------------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1), unique=True, max_size=6))
def test_subsets_are_all_there_are_each_once_and_small_ones_first(names):
    chosen = subsets(names)

    assert len(chosen) == len(set(chosen)) == 2 ** len(names) - 1
    assert [len(one) for one in chosen] == sorted(len(one) for one in chosen)


def test_subsets_keep_the_order_of_modalities():
    assert subsets("ba") == [("b",), ("a",), ("b", "a")]


# ---- models ----------------------------------------------------------------------------------------


def test_ensemble_is_the_mean_of_the_blocks_predictions():
    chosen, batch = models(), tiny_cohort(["abc"] * 6).batch()

    blocks = [TASK.predict(chosen.merged.blocks[name](batch.inputs[name])) for name in MODALITIES]

    torch.testing.assert_close(chosen.predict("ensemble", batch, TASK), torch.stack(blocks).mean(dim=0))


def test_merge_and_fuse_predict_as_their_models_do():
    chosen, batch = models(fused=True), tiny_cohort(["abc"] * 6).batch()

    torch.testing.assert_close(chosen.predict("merge", batch, TASK), TASK.predict(chosen.merged(batch)))
    torch.testing.assert_close(chosen.predict("fuse", batch, TASK), TASK.predict(chosen.fused(batch)))


def test_block_sees_its_modality_only():
    chosen, batch = models(), tiny_cohort(["abc"] * 6).batch().only(["b"])

    alone = TASK.predict(chosen.merged.blocks["b"](batch.inputs["b"]))
    torch.testing.assert_close(chosen.predict("block", batch, TASK), alone)


def test_one_modality_is_scored_by_its_block_and_several_by_ensemble_and_merge():
    assert models().methods(["a"]) == ["block"]
    assert models().methods(["a", "b"]) == ["ensemble", "merge"]
    assert models(fused=True).methods(["a"]) == ["block", "fuse"]
    assert models(fused=True).methods(["a", "b"]) == ["ensemble", "merge", "fuse"]


def test_score_leaves_out_patients_without_the_block_s_modality():
    block, cohort = tiny_block("a", num_outputs=3), tiny_cohort(["a", "b", "ab", "a"] * 5)

    assert score(block, cohort, task=TASK) == score(block, cohort.holding("a"), task=TASK)


# ---- one site -----------------------------------------------------------------------------------------


def test_every_subset_is_scored_where_it_is_held():
    report = report_of(at_site(["abc"] * 10 + ["ab"] * 10))

    counts = {(row.modalities, row.patients): row.count for row in report.scores}
    assert {"".join(subset): counts[subset, "holding"] for subset in subsets(MODALITIES)} == {
        "a": 20, "b": 20, "c": 10, "ab": 20, "ac": 10, "bc": 10, "abc": 10,
    }  # fmt: skip
    assert {count for (_, patients), count in counts.items() if patients == "complete"} == {10}


def test_site_without_a_modality_has_no_complete_patients():
    report = report_of(at_site(["ab"] * 12), model=models(("a", "b")))

    assert {row.patients for row in report.scores} == {"holding"}
    assert {row.modalities for row in report.scores} == {("a",), ("b",), ("a", "b")}


@pytest.mark.parametrize(("count", "rows", "withheld"), [(9, 0, 1), (10, 1, 0), (0, 0, 0)])
def test_fewer_than_ten_patients_are_withheld_and_counted(count, rows, withheld):
    report = report_of(at_site(["a"] * count), model=models(("a",)), smallest_count=10)

    assert (len(report.scores), report.withheld) == (rows, withheld)


def test_charts_are_withheld_with_their_scores():
    report = report_of(at_site(["a"] * 9 + ["b"] * 12), model=models(("a", "b")))

    assert {chart.modalities for chart in report.charts} == {("b",)}


@pytest.mark.parametrize(
    ("others", "shown"),
    [
        (["a"] * 5, {"ab", "b"}),  # 25 with a less 20 with both would be 5
        (["a"] * 10, {"a", "b", "ab"}),
        (["a"] * 5 + ["b"] * 5, {"ab"}),
        ([], {"a", "b", "ab"}),
    ],
)
def test_groups_that_differ_by_a_few_patients_are_not_both_scored(others, shown):
    report = report_of(at_site(["ab"] * 20 + others), model=models(("a", "b")))

    assert {"".join(row.modalities) for row in report.scores} == shown
    assert {chart.count for chart in report.charts} <= {row.count for row in report.scores}
    assert (report.withheld == 0) == (shown == {"a", "b", "ab"})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0, 3, 9, 10, 15]), min_size=3, max_size=3))
def test_counts_of_a_report_never_differ_by_a_few_patients(counts):
    patterns = ["a", "b", "ab"]
    cohort = at_site(
        [one for one, count in zip(patterns, counts, strict=True) for _ in range(count)] or ["c"]
    )

    report = report_of(cohort, model=models(("a", "b")))

    told = {"".join(row.modalities): row.count for row in report.scores if row.patients == "holding"}
    both = told.get("ab")
    assert both is None or not any(0 < told[name] - both < 10 for name in "ab" if name in told)


def test_charts_of_groups_whose_difference_has_few_of_a_class_are_not_both_drawn():
    cohort = at_site(["ab"] * 40 + ["a"] * 12)
    report = report_of(cohort, model=models(("a", "b")))
    within = [one.outcome.values[0] for one in cohort.records if "b" not in one.modalities]
    few = any(0 < within.count(index) < 10 for index in set(within))

    charted = {(chart.modalities, chart.count) for chart in report.charts}

    assert few
    assert {row.count for row in report.scores} == {40, 52}
    assert {count for _, count in charted} == {40}


def test_charts_are_of_single_modalities_and_of_all():
    report = report_of(at_site(["abc"] * 12))

    assert {len(chart.modalities) for chart in report.charts} == {1, 3}


def test_training_and_validation_patients_are_not_scored():
    cohort = at_site(["a"] * 12)
    others = [
        replace(record, patient_id=f"q{number}", part=("train", "validation")[number % 2])
        for number, record in enumerate(at_site(["a"] * 30, seed=4).records)
    ]

    alone = report_of(cohort, model=models(("a",)))
    among = report_of(cohort.keep([*cohort.records, *others]), model=models(("a",)))

    assert alone.scores == among.scores


def test_score_is_that_of_the_task():
    cohort = at_site(["ab"] * 16)
    chosen = models(("a", "b"))
    row = row_of(report_of(cohort, model=chosen), "merge", "ab")

    batch = cohort.only("a", "b").batch()
    expected = TASK.score(chosen.predict("merge", batch, TASK), batch.outcomes)

    assert (row.value, row.pairs) == (expected.value, expected.pairs)


def test_resamples_are_the_same_for_every_method_and_again():
    report = report_of(at_site(["ab"] * 20), model=models(("a", "b")))

    again = report_of(at_site(["ab"] * 20), model=models(("a", "b")))
    pairs = {tuple(pairs for _, pairs in row.resampled) for row in report.scores}

    assert report == again
    assert len(pairs) == 1
    assert all(len(row.resampled) == 20 for row in report.scores)


def test_another_seed_resamples_otherwise():
    one, other = (report_of(at_site(["a"] * 20), model=models(("a",)), seed=seed) for seed in (0, 1))

    assert one.scores[0].value == other.scores[0].value
    assert one.scores[0].resampled != other.scores[0].resampled


def test_sites_of_equal_size_resample_otherwise():
    one, other = (report_of(at_site(["a"] * 20), model=models(("a",)), site=site) for site in ("x", "y"))

    assert one.scores[0].value == other.scores[0].value
    assert one.scores[0].resampled != other.scores[0].resampled


def test_resamples_of_a_site_are_the_same_in_every_process():
    cohort, predicted = at_site(["a"] * 20), models(("a",))
    batch = cohort.only("a").batch()
    predictions = predicted.predict("block", batch, TASK)
    digest = hashlib.sha256(b"resamples/3/clinic").hexdigest()
    generator = torch.Generator().manual_seed(int(digest[:16], 16))

    (row,) = report_of(cohort, model=predicted, site="clinic", seed=3).scores

    rows = torch.randint(20, (20, 20), generator=generator)
    again = [TASK.score(predictions[drawn], batch.outcomes[drawn]) for drawn in rows]
    assert row.resampled == tuple((one.value, one.pairs) for one in again)


def test_site_of_test_patients_only_can_be_scored():
    task = Survival(num_bins=3, bin_edges_days=(1.0, 2.0))
    cohort = at_site(["a"] * 20)
    outcomes = [replace(r.outcome, values=(float(n), n % 2.0)) for n, r in enumerate(cohort.records)]
    records = [replace(r, outcome=outcome) for r, outcome in zip(cohort.records, outcomes, strict=True)]

    report = evaluate(
        models(("a",)),
        cohort.keep(records),
        task=task,
        all_modalities=("a",),
        site="here",
        seed=0,
        bootstrap=20,
    )

    assert {chart.details["integrated_brier"] for chart in report.charts} == {None}


def with_times(cohort: Cohort, *, days: float) -> list[PatientRecord]:
    outcomes = [(days * number, float(number % 3 > 0)) for number in range(len(cohort))]
    return [
        replace(record, patient_id=f"{record.part}-{number}", outcome=Outcome(outcome))
        for number, (record, outcome) in enumerate(zip(cohort.records, outcomes, strict=True))
    ]


def test_charts_can_do_without_outcomes_of_training_patients():
    task = Survival(num_bins=3, bin_edges_days=(4.0, 9.0))
    cohort = at_site(["a"] * 40)
    test = with_times(cohort, days=0.5)

    def brier(*, days: float, reference: Literal["train", "test"]) -> float:
        patients = [*test, *with_times(cohort.marked("train"), days=days)]
        report = evaluate(
            models(("a",)), cohort.keep(patients), task=task, all_modalities=("a",), site="here", seed=0,
            bootstrap=2, reference=reference,
        )  # fmt: skip
        return report.charts[0].details["integrated_brier"]

    assert brier(days=0.5, reference="train") != brier(days=1.0, reference="train")
    assert brier(days=0.5, reference="test") == brier(days=1.0, reference="test")
    assert brier(days=1.0, reference="test") == pytest.approx(brier(days=0.5, reference="train"))


# ---- validation patients, on whom a run chooses ----------------------------------------------------------


def test_complete_validation_patients_are_scored_by_each_block_and_by_what_sees_everything():
    report = report_of(at_site(["abc"] * 12 + ["ab"] * 20, part="validation"), model=models(fused=True))

    assert report.scores == report.charts == ()
    assert [(row.method, "".join(row.modalities), row.patients, row.count) for row in report.validation] == [
        ("block", "a", "complete", 12), ("block", "b", "complete", 12), ("block", "c", "complete", 12),
        ("ensemble", "abc", "complete", 12), ("merge", "abc", "complete", 12),
        ("fuse", "abc", "complete", 12),
    ]  # fmt: skip


def test_validation_patients_are_scored_as_test_patients_would_be():
    cohort = at_site(["abc"] * 12)
    test, validation = (report_of(cohort.marked(part)) for part in ("test", "validation"))

    chosen = {(row.method, row.modalities) for row in validation.validation}
    complete = [row for row in test.scores if row.patients == "complete"]
    assert validation.validation == tuple(row for row in complete if (row.method, row.modalities) in chosen)


@pytest.mark.parametrize(("count", "rows", "withheld"), [(9, 0, 5), (10, 5, 0), (0, 0, 0)])
def test_scores_of_few_validation_patients_are_withheld_and_counted(count, rows, withheld):
    report = report_of(at_site(["abc"] * count + ["ab"] * 20, part="validation"))

    assert (len(report.validation), report.validation_withheld, report.withheld) == (rows, withheld, 0)


def test_site_that_lacks_a_block_has_nothing_to_choose_on():
    report = report_of(at_site(["abc"] * 12, part="validation"), model=models(("a", "b")))

    assert (report.validation, report.validation_withheld) == ((), 0)


def test_run_of_one_modality_has_nothing_to_choose():
    cohort = tiny_cohort(["a"] * 12).marked("validation")

    report = evaluate(
        models(("a",)), cohort, task=TASK, all_modalities=("a",), site="here", seed=0, bootstrap=20
    )

    assert report.validation == ()


# ---- pooling ---------------------------------------------------------------------------------------------


def row(
    value: float, pairs: float, *, method: str = "block", modalities: str = "a", resampled: object = None,
    patients: str = "complete", count: int = 10,
) -> ScoreRow:  # fmt: skip
    again = resampled if resampled is not None else [(value, pairs)] * 20
    return ScoreRow.model_validate(
        {
            "method": method, "modalities": tuple(modalities), "patients": patients, "count": count,
            "value": value, "pairs": pairs, "resampled": again,
        }
    )  # fmt: skip


def pooled(*sites: Sequence[ScoreRow], best_block: str = "a") -> EvaluationReport:
    reports = {(f"site-{number}",): SiteReport(scores=tuple(rows)) for number, rows in enumerate(sites)}
    return pool(reports, metric="AUROC", best_block=best_block)


scores = st.tuples(st.floats(0, 1), st.integers(0, 1000).map(float))


@given(st.lists(scores, min_size=1, max_size=6))
def test_pooled_value_is_the_mean_over_sites_weighted_by_pairs(sites):
    (only,) = pooled(*[[row(value, pairs)] for value, pairs in sites]).scores

    total = sum(pairs for _, pairs in sites)
    expected = sum(value * pairs for value, pairs in sites) / total if total else 0.5
    assert only.value == pytest.approx(expected, abs=1e-6)
    assert only.pairs == total
    assert only.count == 10 * len(sites)


@given(st.lists(scores, min_size=1, max_size=6))
def test_pooled_value_lies_between_those_of_the_sites(sites):
    (only,) = pooled(*[[row(value, pairs)] for value, pairs in sites]).scores

    counted = [value for value, pairs in sites if pairs] or [0.5]
    assert min(counted) - 1e-6 <= only.value <= max(counted) + 1e-6


def test_site_without_comparable_pairs_does_not_count():
    (only,) = pooled([row(0.5, 0.0)], [row(0.8, 40.0)]).scores

    assert only.value == pytest.approx(0.8)
    assert only.sites == ("site-0", "site-1")


def test_interval_holds_95_of_100_pooled_resamples():
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 200)), rng.random((2, 200))

    (only,) = pooled(
        [row(0.5, 1.0, resampled=[(v, 30.0) for v in one[0]])],
        [row(0.5, 1.0, resampled=[(v, 10.0) for v in other[0]])],
    ).scores

    low, high = np.quantile(0.75 * one[0] + 0.25 * other[0], [0.025, 0.975])
    assert (only.low, only.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_models_that_say_the_same_gain_nothing():
    resampled = [(value, 10.0) for value in np.linspace(0.2, 0.9, 20)]
    blocks = row(0.6, 10.0, resampled=resampled)
    merged = row(0.6, 10.0, method="merge", modalities="ab", resampled=resampled)

    report = pooled([blocks, merged])

    (gain,) = [one for one in report.scores if one.method == "merge"]
    assert (gain.gain, gain.gain_low, gain.gain_high) == (0.0, 0.0, 0.0)


def test_gain_is_taken_resample_by_resample():
    values = np.linspace(0.2, 0.8, 20)
    block = row(0.5, 10.0, resampled=[(v, 10.0) for v in values])
    merged = row(0.6, 10.0, method="merge", modalities="ab", resampled=[(v + 0.1, 10.0) for v in values])

    (gain,) = [one for one in pooled([block, merged]).scores if one.method == "merge"]

    assert gain.low < 0.4 < gain.high
    assert (gain.gain, gain.gain_low, gain.gain_high) == tuple(pytest.approx(0.1, abs=1e-6) for _ in range(3))


def test_gain_is_over_the_best_block_alone():
    rows = [row(0.5, 10.0), row(0.7, 10.0, modalities="b"), row(0.8, 10.0, method="merge", modalities="ab")]

    gains = {one.modalities: one.gain for one in pooled(rows, best_block="b").scores}

    assert gains == {
        ("a",): pytest.approx(-0.2),
        ("b",): pytest.approx(0.0),
        ("a", "b"): pytest.approx(0.1),
    }


def test_gain_is_taken_over_complete_patients_only():
    rows = [row(0.5, 10.0, patients=patients) for patients in ("complete", "holding")]

    gains = {one.patients: one.gain for one in pooled(rows).scores}

    assert gains == {"complete": 0.0, "holding": None}


def test_gain_is_absent_where_other_sites_scored_the_best_block():
    merged = row(0.8, 10.0, method="merge", modalities="bc")

    report = pooled([row(0.5, 10.0)], [row(0.5, 10.0), merged])

    assert {one.modalities: one.gain for one in report.scores} == {("a",): 0.0, ("b", "c"): None}


def test_gain_is_absent_where_the_best_block_was_not_scored():
    report = pooled([row(0.5, 10.0, modalities="b")], best_block="a")

    assert [one.gain for one in report.scores] == [None]


def test_validation_is_pooled_as_test_is_and_apart_from_it():
    values = np.linspace(0.2, 0.8, 20)
    rows = (
        row(0.5, 10.0, resampled=[(v, 10.0) for v in values]),
        row(0.6, 10.0, method="merge", modalities="ab", resampled=[(v + 0.1, 10.0) for v in values]),
    )
    reports = {
        ("x",): SiteReport(scores=(), validation=rows, validation_withheld=2),
        ("y",): SiteReport(scores=rows),
    }

    both = pool(reports, metric="AUROC", best_block="a")

    assert [one.model_copy(update={"sites": ()}) for one in both.validation] == [
        one.model_copy(update={"sites": ()}) for one in both.scores
    ]
    assert {one.sites for one in both.validation} == {("x",)}
    assert (both.validation_withheld, both.withheld) == (2, 0)


# ---- pairs of blocks -------------------------------------------------------------------------------------


def test_pair_s_merge_is_set_against_the_better_of_its_two_blocks():
    values = np.linspace(0.2, 0.6, 20)
    report = pooled(
        [
            row(0.4, 10.0, resampled=[(v, 10.0) for v in values]),
            row(0.6, 10.0, modalities="b", resampled=[(v + 0.2, 10.0) for v in values]),
            row(0.9, 10.0, modalities="c"),
            row(0.7, 10.0, method="merge", modalities="ab", resampled=[(v + 0.25, 10.0) for v in values]),
        ],
        best_block="c",
    )

    (pair,) = report.pair_merges
    assert (pair.first, pair.second, pair.better, pair.gain.patients) == ("a", "b", "b", 10)
    assert pair.gain.value == pytest.approx(0.1)
    assert (pair.gain.low, pair.gain.high) == (pytest.approx(0.05), pytest.approx(0.05))


@pytest.mark.parametrize(
    "merged",
    [
        {"method": "ensemble", "modalities": "ab"},
        {"method": "merge", "modalities": "abc"},
        {"method": "merge", "modalities": "ab", "patients": "holding"},
        {"method": "merge", "modalities": "ac"},
    ],
)
def test_pairs_are_judged_by_merges_of_two_on_complete_patients_who_saw_both_blocks(merged):
    blocks = [row(0.5, 10.0), row(0.6, 10.0, modalities="b")]

    assert pooled([*blocks, row(0.7, 10.0, **merged)]).pair_merges == ()


def test_pairs_are_not_judged_where_no_two_patients_can_be_compared():
    rows = [row(0.5, 0.0), row(0.5, 0.0, modalities="b"), row(0.5, 0.0, method="merge", modalities="ab")]

    assert pooled(rows).pair_merges == ()


def test_withheld_rows_are_added_up():
    reports = {
        (name,): SiteReport(scores=(row(0.5, 1.0),), withheld=number) for number, name in enumerate("xyz", 1)
    }

    assert pool(reports, metric="AUROC", best_block="a").withheld == 6


def test_order_of_sites_does_not_matter():
    reports = {(f"s{n}",): SiteReport(scores=(row(n / 10, n + 1.0),)) for n in range(5)}

    turned = pool(dict(reversed(reports.items())), metric="AUROC", best_block="a")

    assert turned == pool(reports, metric="AUROC", best_block="a")


def test_sites_that_hold_everything_back_leave_a_report_without_scores():
    reports = {("x",): SiteReport(scores=(), withheld=3), ("y",): SiteReport(scores=(), withheld=1)}

    pooled = pool(reports, metric="AUROC", best_block="a")

    assert pooled.scores == ()
    assert pooled.withheld == 4
    assert pooled.headline() == []


def test_headline_is_each_block_and_all_that_sees_everything():
    rows = [
        row(0.5, 1.0), row(0.6, 1.0, modalities="b"), row(0.6, 1.0, method="fuse"),
        row(0.7, 1.0, method="ensemble", modalities="ab"), row(0.8, 1.0, method="merge", modalities="ab"),
        row(0.4, 1.0, patients="holding"),
    ]  # fmt: skip

    headline = pooled(rows).headline()

    assert [(one.method, one.modalities) for one in headline] == [
        ("block", ("a",)), ("block", ("b",)), ("ensemble", ("a", "b")), ("merge", ("a", "b")),
    ]  # fmt: skip
