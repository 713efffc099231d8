"""Patients that are hard to learn from: one class, few events, much that was not measured, many columns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bench_runs import LEGO, TEN_LINES, prepare, run_here, write, write_people
from tiny_files import TASKS, tiny_plan

from simulations.benchmarks.figure import draw_forest
from simulations.benchmarks.protocol import Trial
from simulations.benchmarks.results import Results
from simulations.benchmarks.subject import Source
from simulations.benchmarks.table import markdown, remarks


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
    plan = write(folder / "tiny-plan.toml", tiny_plan("one", "two"))
    return Source(dataset=write(folder / "rare.toml", text), plan=plan)


@pytest.mark.parametrize(("sick", "expected"), [(1, 1), (3, 0)])
def test_one_class_only_in_a_split_is_a_sentence(sick: int, expected: int, tmp_path: Path) -> None:
    """One patient of a class: where they are tested, nobody shows the class in training."""
    write_people(tmp_path, ["dead"] * (30 - sick) + ["living"] * sick)
    source = Source(dataset=write(tmp_path / "people.toml", TEN_LINES))

    results = run_here(prepare(source, tmp_path / "out"), ["ensemble"])

    failed = results.methods["ensemble"].failed
    assert len(failed) == expected
    assert all("has class 'living', so it cannot be learned" in sentence for sentence in failed)
    assert (results.methods["ensemble"].mean is None) == (sick == 1)


OWN = [*LEGO, "merge:mean+validation", "merge:trunk-regmean", "fuse:weave"]
REGRESSION = {"survival": "baseline:cox", "class": "baseline:logistic-regression"}
HARD = """
patients = "people.csv"
id-column = "id"
outcome = OUTCOME
modalities.one = { layout = "table", features-like = "blood_*" }
modalities.two = { file = "two.csv", LAYOUT }
"""
OUTCOMES = {
    "survival": '{ kind = "survival", event-column = "died", time-column = "days" }',
    "class": '{ kind = "class", column = "fate", classes = ["no", "yes"] }',
}


LAYOUTS = {"table": 'layout = "table"', "series": 'layout = "series", time-column = "day"'}
ENCODERS = {"table": 'kind = "tabular"', "series": 'kind = "time_series"'}


def hard(folder: Path, outcome: str, *, blood: pd.DataFrame, two: pd.DataFrame, layout: str) -> Source:
    """Sixty patients, every second of whom dies; and two modalities, the second with a file of its own."""
    died = np.arange(60) % 2
    people = pd.DataFrame({"id": range(60), "died": died, "fate": np.where(died, "yes", "no")})
    people = people.assign(days=300 - 150 * died + np.arange(60))
    pd.concat([people, blood], axis=1).to_csv(folder / "people.csv", index=False)
    two.to_csv(folder / "two.csv", index=False)
    text = HARD.replace("OUTCOME", OUTCOMES[outcome]).replace("LAYOUT", LAYOUTS[layout])
    one, heading, _ = tiny_plan("one", "two", task=TASKS[outcome]).partition("[modalities.two.encoder]")
    plan = write(folder / "tiny-plan.toml", f"{one}{heading}\n{ENCODERS[layout]}\ntoken-dim = 8\n")
    return Source(dataset=write(folder / "hard.toml", text), plan=plan)


def scarce(folder: Path, outcome: str, *, every: int) -> Source:
    """Few patients with visits, gaps everywhere, and what was measured in one patient only."""
    rng = np.random.default_rng(2)
    blood = pd.DataFrame({"blood_age": np.arange(60) % 2 + rng.normal(size=60), "blood_rare": np.nan})
    blood.loc[rng.random(60) < 0.3, "blood_age"] = np.nan
    blood.loc[0, "blood_rare"] = 1e4
    blood = blood.assign(blood_sodium=rng.normal(size=60), blood_never=np.nan)
    visits = pd.DataFrame({"id": np.repeat(np.arange(0, 60, every), 3)})
    visits = visits.assign(
        day=np.arange(len(visits)) % 3 * 10, rare=np.where(visits["id"] == 0, -1e4, np.nan)
    )
    visits["pulse"] = visits["id"] % 2 + rng.normal(size=len(visits))
    visits["lactate"] = np.where(rng.random(len(visits)) < 0.7, np.nan, rng.normal(size=len(visits)))
    return hard(folder, outcome, blood=blood, two=visits, layout="series")


def wide(folder: Path, outcome: str) -> Source:
    """Forty-eight columns to every patient, as in a table of genes; one is the same for all."""
    rng = np.random.default_rng(3)
    blood = pd.DataFrame({"blood_age": np.arange(60) % 2 + rng.normal(size=60)})
    genes = pd.DataFrame(rng.normal(size=(60, 2900))).add_prefix("gene-")
    genes = genes.assign(**{"id": range(60), "gene-7": 7.0})
    return hard(folder, outcome, blood=blood, two=genes, layout="table")


def assert_scored(results: Results, name: str, *, patients: int) -> None:
    """A method worked in every trial, spoke of all its patients, and came to a number with an interval."""
    row = results.methods[name]
    assert (row.failed, row.patients) == ((), patients), name
    assert row.mean is not None, name
    assert row.ci95 is not None, name
    assert 0 <= row.ci95[0] <= row.mean <= row.ci95[1] <= 1, name


@pytest.mark.parametrize("outcome", ["survival", "class"])
def test_what_was_not_measured_keeps_nobody_from_a_prediction(outcome: str, tmp_path: Path) -> None:
    benchmark = prepare(scarce(tmp_path, outcome, every=3), tmp_path / "out")
    pooled = [REGRESSION[outcome], "baseline:gradient-boosting", "baseline:late-concat"]

    results = run_here(benchmark, [*OWN, *pooled])

    trials = [benchmark.trial(place) for place in benchmark.protocol.places]
    assert sum(_never_learned(trial, "one", "blood_rare") for trial in trials) == 1
    assert sum(_never_learned(trial, "two", "rare") for trial in trials) == 1
    of_everybody = [name for name in (*OWN, *pooled) if name != "best-block"]
    for name in ["block:one", *of_everybody]:
        assert_scored(results, name, patients=60)
    assert_scored(results, "block:two", patients=20)
    chosen = [benchmark.store.record(trial.place, "best-block").chosen for trial in trials]
    holders = [len(trial.test.holding(name)) for trial, name in zip(trials, chosen, strict=True)]
    assert_scored(results, "best-block", patients=sum(holders))


def _never_learned(trial: Trial, modality: str, feature: str) -> bool:
    """Whether a test patient shows what nobody in training does."""
    shown = []
    for part in (trial.train, trial.test):
        column = part.schemas[modality].features.index(feature)
        holders = part.holding(modality).records
        shown.append(any(not one.modalities[modality].values[:, column].isnan().all() for one in holders))
    return shown == [False, True]


def test_a_modality_of_patients_who_cannot_be_compared_is_not_scored_and_says_so(tmp_path: Path) -> None:
    """Every fourth patient has visits, and none of these dies."""
    results = run_here(prepare(scarce(tmp_path, "survival", every=4), tmp_path / "out"), LEGO)

    assert "| block:two | not scored |" in markdown(results)
    expected = "block:two is not scored: in no trial can two of its 15 patients be compared."
    assert expected in list(remarks(results))
    assert_scored(results, "ensemble", patients=60)


@pytest.mark.parametrize("outcome", ["survival", "class"])
def test_more_columns_than_patients_end_in_finite_results(outcome: str, tmp_path: Path) -> None:
    methods = [*OWN, REGRESSION[outcome], "baseline:late-concat"]

    results = run_here(prepare(wide(tmp_path, outcome), tmp_path / "out", quick=True), methods)

    for name in ["block:one", "block:two", *methods]:
        assert_scored(results, name, patients=24)
