"""`bench quality`: every method on the same patients, and what comes out of it."""

import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from bench_runs import LEGO, prepare, run_here, tiny_source
from rich.console import Console

from lego_core.evaluation import score
from lego_core.merge import LegoMerge
from lego_core.merging import ModalityArithmetic, RegMean
from lego_core.plan import Merging
from lego_core.records import Cohort, Measurement
from lego_core.tasks import Survival
from lego_core.training import predict_logits
from simulations.benchmarks.benchmark import Benchmark, run_job
from simulations.benchmarks.blocks import Bench
from simulations.benchmarks.figure import draw_forest
from simulations.benchmarks.methods import all_methods
from simulations.benchmarks.protocol import Place, unpaired
from simulations.benchmarks.results import Results
from simulations.benchmarks.rules import RULES
from simulations.benchmarks.subject import Source, open_subject
from simulations.benchmarks.summary import summarise
from simulations.benchmarks.table import markdown, terminal


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Benchmark, Results]:
    """All of our own methods, over one cross-validation of sixty made-up patients."""
    folder = tmp_path_factory.mktemp("bench")
    benchmark = prepare(tiny_source(folder), folder / "out")
    methods = [name for name in all_methods(["one", "two"]) if not name.startswith("baseline")]
    return benchmark, run_here(benchmark, methods)


def test_results_hold_what_the_schema_says(finished: tuple[Benchmark, Results]) -> None:
    _, results = finished
    document = json.loads(results.model_dump_json())

    assert Results.model_validate(document) == results
    assert (document["dataset"], document["metric"]) == ("small", "C-index")
    expected = {"block:one", "block:two", "best-block", "ensemble", "merge:harmonic-mean", "merge:mean"}
    assert expected | {"fuse:stack", "fuse:weave"} <= document["methods"].keys()
    for name, row in document["methods"].items():
        low, high = row["ci95"]
        assert low < row["mean"] < high, name
        assert len(row["per_repeat"]) == 1
        assert row["seconds"] > 0
        assert row["parameters"] > 0
        assert row["failed"] == []
    gain = document["methods"]["ensemble"]["gain_over_best_block"]
    means = {name: row["mean"] for name, row in document["methods"].items()}
    assert gain["mean"] == pytest.approx(means["ensemble"] - means["best-block"])
    assert document["methods"]["best-block"]["gain_over_best_block"] is None


def test_the_table_and_the_figure_show_every_method(
    finished: tuple[Benchmark, Results], tmp_path: Path
) -> None:
    _, results = finished
    table = markdown(results)
    draw_forest(results, tmp_path / "figure.svg")

    for name in results.methods:
        assert f"| {name}" in table
    assert "| merge:harmonic-mean (the plan's) |" in table
    assert "Do not quote it" not in table
    assert ET.parse(tmp_path / "figure.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(("width", "headings"), [(80, 3), (120, 4), (200, 8)])
def test_a_terminal_shows_whole_cells_of_as_many_columns_as_it_has_room_for(
    finished: tuple[Benchmark, Results], width: int, headings: int
) -> None:
    _, results = finished
    console = Console(width=width, record=True, file=io.StringIO())

    console.print(table := terminal(results, width=width))

    assert len(table.columns) == headings
    assert "…" not in console.export_text()


def test_the_mean_is_the_metric_of_the_folds_weighted_by_pairs(finished: tuple[Benchmark, Results]) -> None:
    benchmark, results = finished
    scores = []
    for place in benchmark.protocol.places:
        trial = benchmark.trial(place)
        predictions, _ = benchmark.store.predictions(place, "merge:mean")
        scores.append(trial.agreed(Survival()).score(predictions, trial.test.batch().outcomes))

    expected = sum(one.value * one.pairs for one in scores) / sum(one.pairs for one in scores)
    assert results.methods["merge:mean"].mean == pytest.approx(expected)


def test_the_best_block_is_the_best_on_validation(finished: tuple[Benchmark, Results]) -> None:
    benchmark, _ = finished
    for place in benchmark.protocol.places:
        trial = benchmark.trial(place)
        task = trial.agreed(Survival())
        bench = Bench(benchmark.plan, trial, task, benchmark.store)
        values = {
            block.modality: score(block, trial.validation, task=task).value for block in bench._blocks()
        }

        assert benchmark.store.record(place, "best-block").chosen == max(
            values, key=lambda name: values[name]
        )


def test_the_ensemble_is_the_mean_of_the_blocks(finished: tuple[Benchmark, Results]) -> None:
    benchmark, _ = finished
    place = Place(1, 2)
    said = {
        name: benchmark.store.predictions(place, name)[0] for name in ("block:one", "block:two", "ensemble")
    }

    assert torch.allclose(said["ensemble"], (said["block:one"] + said["block:two"]) / 2)


def test_a_rule_gets_the_common_start_and_the_gram_matrices_that_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "regmean", Merging(trunk=RegMean()))
    monkeypatch.setitem(RULES, "arithmetic", Merging(trunk=ModalityArithmetic(), heads=ModalityArithmetic()))
    rules = ["merge:regmean", "merge:arithmetic", "merge:harmonic-mean"]

    results = run_here(prepare(tiny_source(tmp_path), tmp_path / "out"), rules)

    rows = [results.methods[name] for name in rules]
    assert all(row.trials == 5 and not row.failed for row in rows)
    regmean, arithmetic, apart = (row.parameters or 0 for row in rows)
    assert regmean == arithmetic < apart  # one trunk for both modalities


def test_trunk_rules_need_one_trunk_for_all_modalities(finished: tuple[Benchmark, Results]) -> None:
    _, results = finished
    trunks = {name.removeprefix("trunk-") for name in RULES if name.startswith("trunk-")}
    assert trunks == {"linear", "slerp", "arithmetic", "regmean", "ties", "dare", "slerp-own-attention"}

    size = {name: results.methods[f"merge:{name}"].parameters or 0 for name in RULES}
    assert size["trunk-slerp"] < size["trunk-slerp-own-attention"] < size["harmonic-mean"]
    assert {size[f"trunk-{name}"] for name in trunks - {"slerp-own-attention"}} == {size["trunk-slerp"]}


def test_every_rule_merges_in_a_way_of_its_own(finished: tuple[Benchmark, Results]) -> None:
    benchmark, _ = finished
    said = {name: benchmark.store.predictions(Place(1, 1), f"merge:{name}")[0] for name in RULES}

    for one, other in combinations(RULES, 2):
        assert not torch.equal(said[one], said[other]), (one, other)


@pytest.mark.parametrize("latents", ["harmonic-mean", "mean"])
def test_modalities_count_by_their_blocks_scores_on_validation_patients(
    finished: tuple[Benchmark, Results], latents: str
) -> None:
    benchmark, _ = finished
    place = Place(1, 2)
    trial = benchmark.trial(place)
    task = trial.agreed(Survival())
    blocks = Bench(benchmark.plan, trial, task, benchmark.store)._blocks()
    scores = {block.modality: score(block, trial.validation, task=task).value for block in blocks}
    weights = {name: max(value - 0.5, 0) + 0.1 for name, value in scores.items()}
    expected = LegoMerge(blocks, latents=RULES[latents].latents, modality_weights=weights)

    said, _ = benchmark.store.predictions(place, f"merge:{latents}+validation")

    logits, _ = predict_logits(expected, trial.test)
    assert len(set(weights.values())) == 2
    torch.testing.assert_close(said, task.predict(logits), rtol=1e-5, atol=1e-6)


def test_blocks_learn_from_one_modality_of_every_patient_only(tmp_path: Path) -> None:
    benchmark = prepare(tiny_source(tmp_path), tmp_path / "out")
    trial = benchmark.trial(Place(1, 1))
    task = trial.agreed(benchmark.plan.task)
    bench = Bench(benchmark.plan, trial, task, benchmark.store)
    bench.answer("block:one")
    honest = benchmark.store.weights(Place(1, 1), "block:one")

    def spoiled(cohort: Cohort) -> Cohort:
        """The measurements of those whom the deal gave to another modality are nonsense."""
        dealt = unpaired(cohort, task=task, seed=trial.seed)
        return cohort.keep(
            record
            if "one" in own.modalities
            else replace(
                record, modalities={**record.modalities, "one": Measurement(torch.full((1, 3), 1e6))}
            )
            for record, own in zip(cohort.records, dealt.records, strict=True)
        )

    nonsense = replace(trial, train=spoiled(trial.train), validation=spoiled(trial.validation))
    Bench(benchmark.plan, nonsense, task, benchmark.store).answer("block:one")

    again = benchmark.store.weights(Place(1, 1), "block:one")
    assert all(torch.equal(honest[name], again[name]) for name in honest)


def test_what_is_finished_is_not_computed_again(finished: tuple[Benchmark, Results]) -> None:
    benchmark, results = finished
    place = Place(1, 3)
    files = sorted((benchmark.folder / "trials").rglob("*.*"))
    before = {path: path.stat().st_mtime_ns for path in files}
    assert benchmark.jobs(LEGO) == []

    lost = benchmark.folder / "trials" / str(place) / "merge:mean.json"
    lost.unlink()
    jobs = benchmark.jobs(["merge:mean"])
    for job in jobs:
        run_job(benchmark, job)

    assert [(job.place, job.methods) for job in jobs] == [(place, ("merge:mean",))]
    changed = {path.name for path in files if path.stat().st_mtime_ns != before[path]}
    assert changed == {"merge:mean.json", "merge:mean.npz"}
    assert summarise(benchmark, LEGO).results.methods["merge:mean"].mean == results.methods["merge:mean"].mean


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["pbc", "icu2012", "tcga-kirp"])
def test_a_quick_look_at_real_patients_finishes(dataset: str, data_dir: Path, tmp_path: Path) -> None:
    source = Source(dataset=dataset, data=data_dir)
    subject = open_subject(source)

    results = run_here(prepare(source, tmp_path / "out", quick=True), LEGO)

    assert results.quick
    assert all(row.mean is not None and not row.failed for row in results.methods.values())
    assert len(results.methods) == len(subject.modalities) + len(LEGO)
