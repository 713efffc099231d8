"""`bench quality`: every method on the same patients, whatever the data are like."""

import io
import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from lego_core.errors import DataError, LegoError, PlanError, RunError
from lego_core.evaluation import score
from lego_core.merge import LegoMerge
from lego_core.merging import ModalityArithmetic, RegMean
from lego_core.plan import Merging
from lego_core.records import Cohort, Measurement
from lego_core.tasks import Classification, MultiLabel, Survival
from lego_core.training import predict_logits
from simulations.baselines import BASELINES, AbstractBaseline, Fitted
from simulations.benchmarks.benchmark import Benchmark, run_job
from simulations.benchmarks.blocks import Bench
from simulations.benchmarks.figure import draw_forest
from simulations.benchmarks.methods import all_methods, choose_methods
from simulations.benchmarks.protocol import Place, Protocol, unpaired
from simulations.benchmarks.results import Results
from simulations.benchmarks.rules import RULES
from simulations.benchmarks.subject import Source, open_subject
from simulations.benchmarks.summary import summarise
from simulations.benchmarks.table import markdown, remarks, terminal
from simulations.cli import app

ROOT = Path(__file__).resolve().parents[2]
LEGO = ["best-block", "ensemble", "merge:harmonic-mean", "fuse:stack"]
TEN_LINES = """
patients = "people.csv"
id-column = "id"
outcome = { kind = "class", column = "fate" }
[modalities.blood]
layout = "table"
features = ["a", "b"]
[modalities.visits]
layout = "series"
file = "visits.csv"
time-column = "day"
"""
SYNTHETIC = """
kind = "synthetic"
patients = 60
outcome = { kind = "OUTCOME" }
[modalities.one]
layout = "table"
features = 3
[modalities.two]
layout = "table"
features = 3
"""
TINY = """
name = "tiny"
task = TASK
privacy = { kind = "no-privacy" }
latent = { num-latents = 2, latent-dim = 8, num-heads = 2, depth = 1 }
training = { epochs = 2, batch-size = 16 }
[modalities.one.encoder]
kind = "tabular"
token-dim = 8
hidden-dims = [8]
[modalities.two.encoder]
kind = "tabular"
token-dim = 8
hidden-dims = [8]
"""
TASKS = {
    "survival": '{ kind = "survival" }',
    "class": '{ kind = "classification", classes = ["no", "yes"] }',
}


def write_people(folder: Path, fates: Sequence[str]) -> None:
    """A table of patients and a table of visits; what they show has to do with the fate."""
    rng = np.random.default_rng(0)
    sick = np.array([fate == max(fates) for fate in fates])
    ids = [f"00{index}" for index in range(len(fates))]
    people = pd.DataFrame({"id": ids, "fate": fates, "a": sick + rng.normal(size=len(ids)), "b": 1.0})
    people.to_csv(folder / "people.csv", index=False)
    visits = pd.DataFrame({"id": ids * 2, "day": np.repeat([0, 30], len(ids))})
    visits["value"] = np.tile(sick, 2) + rng.normal(size=len(visits))
    visits.to_csv(folder / "visits.csv", index=False)


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def tiny_source(folder: Path, outcome: str = "survival") -> Source:
    dataset = write(folder / "small.toml", SYNTHETIC.replace("OUTCOME", outcome))
    return Source(
        dataset=dataset, plan=write(folder / "tiny-plan.toml", TINY.replace("TASK", TASKS[outcome]))
    )


def prepare(source: Source, folder: Path, *, repeats: int = 1, quick: bool = False) -> Benchmark:
    patients = len(open_subject(source).cohort)
    protocol = Protocol.for_cohort(patients, repeats=repeats, seed=0, quick=quick)
    benchmark = Benchmark(source=source, protocol=protocol, quick=quick, folder=folder)
    benchmark.store.claim(benchmark.settings())
    return benchmark


def run_here(benchmark: Benchmark, methods: Sequence[str]) -> Results:
    for job in benchmark.jobs(methods):
        run_job(benchmark, job)
    return summarise(benchmark, methods).results


class Guess(AbstractBaseline):
    """Says the same of everybody, or fails."""

    kind: str = "guess"
    problem: str = ""

    def _fit(self, train: Cohort, validation: Cohort, **_: object) -> Fitted:  # type: ignore[override]
        if self.problem == "value":
            raise ValueError("all samples are censored")
        if self.problem == "data":
            raise DataError("Nothing can be learned.")
        return Same(float("nan") if self.problem == "nan" else 0.5)


class Same:
    """One prediction for all."""

    num_parameters = 1

    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, cohort: Cohort) -> torch.Tensor:
        return torch.full((len(cohort), 4), self.value)


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


def test_a_folder_with_other_settings_is_refused(finished: tuple[Benchmark, Results], tmp_path: Path) -> None:
    benchmark, _ = finished
    other = replace(benchmark, protocol=benchmark.protocol.model_copy(update={"seed": 1}))
    with pytest.raises(RunError, match=r"holds a benchmark with other settings: \['seed'\] differ"):
        benchmark.store.claim(other.settings())

    more = replace(benchmark, protocol=benchmark.protocol.model_copy(update={"repeats": 7}))
    benchmark.store.claim(more.settings())

    write(tmp_path / "letter.txt", "dear")
    with pytest.raises(RunError, match="is not empty and holds no benchmark"):
        replace(benchmark, folder=tmp_path).store.claim(benchmark.settings())


def test_a_folder_of_a_plan_that_merges_otherwise_is_refused(tmp_path: Path) -> None:
    source, results = tiny_source(tmp_path), tmp_path / "results"
    prepare(source, results)
    otherwise = TINY.replace("TASK", TASKS["survival"]) + '[merging.heads]\nkind = "linear"\n'
    other = replace(source, plan=write(tmp_path / "other-plan.toml", otherwise))

    with pytest.raises(RunError, match=r"with other settings: \['merging'\] differ"):
        prepare(other, results)


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        ("value", "ValueError: all samples are censored"),
        ("data", "Nothing can be learned."),
        ("nan", "It predicts numbers that are not finite for 12 of 12 patients."),
    ],
)
def test_a_method_that_fails_is_noted_and_the_others_go_on(
    problem: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BASELINES, "bad", Guess(problem=problem))
    monkeypatch.setitem(BASELINES, "good", Guess())

    results = run_here(prepare(tiny_source(tmp_path), tmp_path / "out"), ["baseline:bad", "baseline:good"])

    bad, good = results.methods["baseline:bad"], results.methods["baseline:good"]
    assert (bad.mean, bad.trials, len(bad.failed)) == (None, 0, 5)
    assert (good.mean, good.trials) == (0.5, 5)
    assert "| baseline:bad | failed |" in markdown(results)
    assert any(f"baseline:bad failed in 5 of 5 trials: {sentence}" in line for line in remarks(results))


def test_the_mean_is_over_the_folds_that_worked_and_the_table_says_so(tmp_path: Path) -> None:
    """Six events in five folds: where two of them are tested, too few are left for four bins of time."""
    benchmark = prepare(few_events(tmp_path, events=6), tmp_path / "out")

    results = run_here(benchmark, LEGO)

    row = results.methods["merge:harmonic-mean"]
    assert row.mean is not None
    assert (row.trials, len(row.failed)) == (4, 1)
    assert "The group saw 3 events, and 4 time bins need at least 4" in row.failed[0]
    assert "merge:harmonic-mean (the plan's) (4 of 5 trials)" in markdown(results)


@pytest.mark.parametrize("events", [0, 1])
def test_no_events_end_in_sentences_and_not_in_a_crash(events: int, tmp_path: Path) -> None:
    results = run_here(prepare(few_events(tmp_path, events=events), tmp_path / "out"), LEGO)

    assert all(row.mean is None and len(row.failed) == 5 for row in results.methods.values())
    assert "time bins need at least 4" in markdown(results)
    draw_forest(results, tmp_path / "figure.svg")


def few_events(folder: Path, *, events: int) -> Source:
    rng = np.random.default_rng(1)
    people = pd.DataFrame({"id": range(40), "event": [1] * events + [0] * (40 - events)})
    people["time"] = [*range(10, 10 + events), *([400] * (40 - events))]
    people[["a", "b"]] = rng.normal(size=(40, 2))
    people.to_csv(folder / "people.csv", index=False)
    text = """
        patients = "people.csv"
        id-column = "id"
        outcome = { kind = "survival", event-column = "event", time-column = "time" }
        modalities.one = { layout = "table", features = ["a"] }
        modalities.two = { layout = "table", features = ["b"] }
    """
    plan = write(folder / "tiny-plan.toml", TINY.replace("TASK", TASKS["survival"]))
    return Source(dataset=write(folder / "rare.toml", text), plan=plan)


@pytest.mark.parametrize(("sick", "expected"), [(1, 1), (3, 0)])
def test_one_class_only_in_a_split_is_a_sentence(sick: int, expected: int, tmp_path: Path) -> None:
    """One patient of a class: where they are tested, nobody shows the class in training."""
    write_people(tmp_path, ["dead"] * (30 - sick) + ["living"] * sick)
    source = Source(dataset=write(tmp_path / "people.toml", TEN_LINES))

    results = run_here(prepare(source, tmp_path / "out", quick=False), ["ensemble"])

    failed = results.methods["ensemble"].failed
    assert len(failed) == expected
    assert all("has class 'living', so it cannot be learned" in sentence for sentence in failed)
    assert (results.methods["ensemble"].mean is None) == (sick == 1)


def test_ten_lines_about_a_dataset_never_seen_are_enough(tmp_path: Path) -> None:
    write_people(tmp_path, ["well", "ill"] * 25)
    source = Source(dataset=write(tmp_path / "people.toml", TEN_LINES))
    subject = open_subject(source)
    assert subject.plan.task == Classification(classes=("ill", "well"))
    assert {name: one.encoder.kind for name, one in subject.plan.modalities.items()} == {
        "blood": "tabular",
        "visits": "time_series",
    }

    results = run_here(prepare(source, tmp_path / "out", quick=True), ["merge:mean", "fuse:weave"])

    assert results.metric == "AUROC"
    assert results.methods["merge:mean"].mean is not None
    assert "**A quick look: few trials, little training. Do not quote it.**" in markdown(results)


def test_the_task_follows_from_the_outcome(tmp_path: Path) -> None:
    def task_of(outcome: str) -> object:
        text = SYNTHETIC.replace('{ kind = "OUTCOME" }', outcome)
        return open_subject(Source(dataset=write(tmp_path / f"{outcome[10:13]}.toml", text))).plan.task

    assert task_of('{ kind = "survival" }') == Survival()
    assert task_of('{ kind = "class", classes = 3 }') == Classification(
        classes=("class 0", "class 1", "class 2")
    )
    assert task_of('{ kind = "labels", labels = 2 }') == MultiLabel(labels=("label 0", "label 1"))


def test_classes_that_are_numbers_are_in_order_of_size(tmp_path: Path) -> None:
    write_people(tmp_path, ["10", "2", "9"] * 8)
    subject = open_subject(Source(dataset=write(tmp_path / "people.toml", TEN_LINES)))

    assert subject.plan.task == Classification(classes=("2", "9", "10"))


def test_a_modality_of_constant_columns_is_left_out_by_name(tmp_path: Path) -> None:
    write_people(tmp_path, ["well", "ill"] * 25)
    text = TEN_LINES.replace('features = ["a", "b"]', 'features = ["b"]')
    subject = open_subject(Source(dataset=write(tmp_path / "people.toml", text)))

    assert subject.modalities == ("visits",)
    assert subject.cohort.modalities == ("visits",)
    assert subject.notes == ("Modality 'blood' is left out: no column of it varies between patients.",)


def test_nothing_but_constant_columns_is_an_error(tmp_path: Path) -> None:
    write_people(tmp_path, ["well", "ill"] * 25)
    text = TEN_LINES.split("[modalities.visits]")[0].replace('["a", "b"]', '["b"]')

    with pytest.raises(DataError, match=r"No column of any modality varies between patients \(\['blood'\]\)"):
        open_subject(Source(dataset=write(tmp_path / "people.toml", text)))


def test_patients_without_any_modality_are_left_out_in_words(tmp_path: Path) -> None:
    write_people(tmp_path, ["well", "ill"] * 25)
    people = pd.read_csv(tmp_path / "people.csv", dtype={"id": str})
    people.loc[:2, ["a", "b"]] = np.nan
    people.to_csv(tmp_path / "people.csv", index=False)
    text = TEN_LINES.split("[modalities.visits]")[0]
    subject = open_subject(Source(dataset=write(tmp_path / "people.toml", text)))

    assert len(subject.cohort) == 47
    assert subject.notes == ("3 of 50 patients hold none of the modalities and are left out.",)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            '["a", "b"]',
            '["a", "weight"]',
            r"lacks 1 columns that the settings name, the first are \['weight'\]",
        ),
        ('column = "fate"', 'column = "end"', r"The patients table lacks 1 columns .* \['end'\]"),
        ('"visits.csv"', '"visit.csv"', "The table of modality 'visits' is not there"),
        (
            'layout = "series"',
            'layout = "serie"',
            "The dataset description 'people.toml': key 'tables.modalities",
        ),
        ("[modalities.blood]", "[modalities.blood", "The dataset description 'people.toml' is not TOML"),
    ],
)
def test_a_description_that_does_not_fit_is_a_sentence(
    old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    write_people(tmp_path, ["well", "ill"] * 25)

    with pytest.raises(DataError, match=sentence):
        open_subject(Source(dataset=write(tmp_path / "people.toml", TEN_LINES.replace(old, new))))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            Source(dataset="pcb"),
            r"There is no dataset 'pcb'. The shipped ones are \['breast', 'icu2012', 'pbc'",
        ),
        (Source(dataset="gone.toml"), "The dataset description 'gone.toml' cannot be read"),
        (Source(dataset="pbc", plan="icu2012"), r"the data lack \['vitals', 'demographics'\]"),
        (Source(dataset="pbc", plan="other"), "There is no shipped plan 'other'"),
    ],
)
def test_a_dataset_that_is_not_there_is_a_sentence(source: Source, sentence: str) -> None:
    with pytest.raises(LegoError, match=sentence):
        open_subject(source)


def test_an_unknown_method_is_answered_with_the_list() -> None:
    with pytest.raises(
        PlanError, match=r"no method \['merge:meen'\]. The methods are \['block:x', 'best-block'"
    ):
        choose_methods(["merge:meen", "ensemble"], modalities=["x"], unfit={})


def test_a_method_that_is_unfit_is_left_out_and_refused_if_it_is_asked_for() -> None:
    unfit = {"baseline:cox": "It learns survival only."}

    assert "baseline:cox" not in choose_methods(None, modalities=["x"], unfit=unfit)
    with pytest.raises(PlanError, match=r"'baseline:cox' is unfit here\. It learns survival only\."):
        choose_methods(["baseline:cox"], modalities=["x"], unfit=unfit)


def test_the_command_says_an_error_in_words_and_ends_with_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["bench", "quality", "--dataset", "pbc", "--methods", "magic", "--output", str(tmp_path)]
    )

    assert done.exit_code == 2
    assert "There is no method ['magic']. The methods are ['block:clinical'" in done.output
    assert not (tmp_path / "bench.json").exists()


def command(folder: Path, *more: str) -> list[str]:
    source = tiny_source(folder)
    return [
        sys.executable, "-m", "simulations", "bench", "quality", "--dataset", source.dataset,
        "--plan", str(source.plan), "--repeats", "3", "--methods", ",".join(LEGO), "--jobs", "1",
        "--output", str(folder / "out"), *more,
    ]  # fmt: skip


def started(folder: Path) -> subprocess.Popen[str]:
    """The command, once it has told of its first trial."""
    running = subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert any("1 of 15 done" in line for line in running.stdout)
    return running


def said_until_all_have_ended(running: subprocess.Popen[str]) -> str:
    """What is still said; a pipe ends when the last process that may write to it has ended."""
    return running.communicate(timeout=60)[0]


@pytest.mark.slow
def test_a_killed_benchmark_goes_on_where_it_was(tmp_path: Path) -> None:
    killed = started(tmp_path)
    killed.kill()
    said_until_all_have_ended(killed)
    there = sorted((tmp_path / "out").glob("trials/*/*.json"))
    before = {path: path.stat().st_mtime_ns for path in there}
    assert 6 <= len(there) < 15 * 6

    done = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, check=True)

    assert all(path.stat().st_mtime_ns == before[path] for path in there)
    results = Results.model_validate_json((tmp_path / "out" / "results.json").read_bytes())
    assert all(row.trials == 15 and not row.failed for row in results.methods.values())
    assert "merge:harmonic-mean" in done.stdout

    whole = tmp_path / "at-once"
    whole.mkdir()
    subprocess.run(command(whole), cwd=ROOT, capture_output=True, check=True)
    at_once = Results.model_validate_json((whole / "out" / "results.json").read_bytes())
    assert {name: row.mean for name, row in at_once.methods.items()} == {
        name: row.mean for name, row in results.methods.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_benchmark_says_how_to_go_on_and_leaves_no_process(sent: int, tmp_path: Path) -> None:
    running = started(tmp_path)
    running.send_signal(sent)

    said = said_until_all_have_ended(running)

    assert running.returncode == 130
    assert "Stopped. What is finished is kept; the same command goes on from there." in said


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["pbc", "icu2012", "tcga-kirp"])
def test_a_quick_look_at_real_patients_finishes(dataset: str, data_dir: Path, tmp_path: Path) -> None:
    source = Source(dataset=dataset, data=data_dir)
    subject = open_subject(source)

    results = run_here(prepare(source, tmp_path / "out", quick=True), LEGO)

    assert results.quick
    assert all(row.mean is not None and not row.failed for row in results.methods.values())
    assert len(results.methods) == len(subject.modalities) + len(LEGO)
