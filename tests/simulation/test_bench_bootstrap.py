"""The fast bootstrap of a benchmark gives the numbers of the slow and plain one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sksurv.metrics import concordance_index_censored
from torch import Tensor

from lego_core.tasks import Classification, MultiLabel, Survival, Task
from simulations.benchmarks.bootstrap import Bootstrap, Scored, interval
from simulations.benchmarks.protocol import Place
from simulations.benchmarks.ranking import tally

TASKS: list[Task] = [
    Survival(bin_edges_days=(1.0, 2.0, 3.0)),
    Classification(classes=("a", "b")),
    Classification(classes=("a", "b", "c")),
    MultiLabel(labels=("p", "q")),
]


def patients(task: Task, number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Predictions and outcomes with many ties."""
    logits = torch.from_numpy(rng.integers(-2, 3, size=(number, task.num_outputs)) / 2).float()
    if isinstance(task, Survival):
        columns = [rng.integers(0, 6, size=number), rng.integers(0, 2, size=number)]
        return task.predict(logits), torch.from_numpy(np.stack(columns, axis=1)).float()
    highest = len(task.classes) if isinstance(task, Classification) else 2
    width = 1 if isinstance(task, Classification) else len(task.labels)
    return task.predict(logits), torch.from_numpy(rng.integers(0, highest, size=(number, width))).float()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}-{task.num_outputs}")
@given(number=st.integers(0, 25), seed=st.integers(0, 10_000))
def test_a_tally_is_the_score_of_the_resampled_table(task: Task, number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    predictions, outcomes = patients(task, number, rng)
    drawn = np.concatenate([np.ones((1, number)), rng.integers(0, 4, size=(4, number))])

    found = tally(task, predictions, outcomes, times_drawn=drawn)

    for index, times in enumerate(drawn):
        rows = torch.from_numpy(np.repeat(np.arange(number), times.astype(int)))
        score = task.score(predictions[rows], outcomes[rows])
        assert found.pairs[index] == score.pairs
        if score.pairs:
            assert found.value[index] == pytest.approx(score.value, abs=1e-12)


def naive_mean(task: Task, trials: dict[Place, tuple[Tensor, Scored]], times: np.ndarray) -> float:
    """Resample every trial's table, score it, weigh folds by pairs, average repeats."""
    repeats = []
    for repeat in sorted({place.repeat for place in trials}):
        scores = []
        for place, (said, tested) in trials.items():
            if place.repeat == repeat:
                rows = np.repeat(np.arange(len(tested.rows)), times[tested.rows].astype(int))
                scores.append(task.score(said[rows], tested.outcomes[rows]))
        pairs = sum(score.pairs for score in scores)
        repeats.append(sum(score.value * score.pairs for score in scores) / pairs)
    return float(np.mean(repeats))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}-{task.num_outputs}")
def test_paired_intervals_are_those_of_the_plain_bootstrap(task: Task) -> None:
    rng = np.random.default_rng(3)
    size = 60
    predictions, outcomes = patients(task, size, rng)
    other, _ = patients(task, size, rng)
    tested, ours, theirs = {}, {}, {}
    for repeat in (1, 2):
        order = rng.permutation(size)
        for fold in (1, 2, 3):
            rows = order[fold - 1 :: 3]
            place = Place(repeat, fold)
            tested[place] = Scored(rows, outcomes[rows])
            ours[place], theirs[place] = predictions[rows], other[rows]
    bootstrap = Bootstrap(tested, patients=size, task=task, seed=5, resamples=30)

    mine, yours = bootstrap.difference(ours, theirs)

    again = np.random.default_rng(5).multinomial(size, np.full(size, 1 / size), size=30)
    plain = [
        [naive_mean(task, {p: (said[p], tested[p]) for p in tested}, times) for times in again]
        for said in (ours, theirs)
    ]
    assert mine.resampled == pytest.approx(plain[0], abs=1e-12)
    assert mine.resampled - yours.resampled == pytest.approx(np.subtract(*plain), abs=1e-12)
    expected = np.quantile(np.subtract(*plain), [0.025, 0.975])
    assert interval(mine.resampled - yours.resampled) == pytest.approx(expected, abs=1e-12)


def test_one_trial_of_all_patients_gives_the_concordance_index_of_scikit_survival() -> None:
    task = Survival(bin_edges_days=(1.0, 2.0, 3.0))
    predictions, outcomes = patients(task, 200, np.random.default_rng(0))
    tested = {Place(1, 1): Scored(np.arange(200), outcomes)}

    means = Bootstrap(tested, patients=200, task=task, seed=0, resamples=20).means({Place(1, 1): predictions})

    times, events = outcomes.double().numpy().T
    expected = concordance_index_censored(events == 1, times, -predictions.double().numpy().sum(axis=1))[0]
    assert means.mean == pytest.approx(expected, abs=1e-12)
    assert means.per_repeat == (means.mean,)


def test_who_is_not_spoken_about_is_not_counted_for_either_of_two_methods() -> None:
    task = Classification(classes=("a", "b"))
    predictions, outcomes = patients(task, 40, np.random.default_rng(1))
    other, _ = patients(task, 40, np.random.default_rng(2))
    place, half = Place(1, 1), np.arange(40) < 20
    silent = predictions.masked_fill(torch.from_numpy(half)[:, None], torch.nan)
    tested = {place: Scored(np.arange(40), outcomes)}
    bootstrap = Bootstrap(tested, patients=40, task=task, seed=0, resamples=20)

    mine, yours = bootstrap.difference({place: silent}, {place: other})

    assert mine.mean == pytest.approx(task.score(predictions[20:], outcomes[20:]).value)
    assert yours.mean == pytest.approx(task.score(other[20:], outcomes[20:]).value)


def test_a_fold_without_comparable_pairs_takes_no_part_and_a_repeat_without_any_is_none() -> None:
    task = Classification(classes=("a", "b"))
    outcomes = torch.tensor([[0.0], [1.0], [0.0], [0.0]])
    said = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.1, 0.9]])
    tested = {
        Place(1, 1): Scored(np.array([0, 1]), outcomes[:2]),
        Place(1, 2): Scored(np.array([2, 3]), outcomes[2:]),
        Place(2, 1): Scored(np.array([0, 2]), outcomes[[0, 2]]),
    }
    bootstrap = Bootstrap(tested, patients=4, task=task, seed=0, resamples=20)

    means = bootstrap.means({place: said[torch.from_numpy(one.rows)] for place, one in tested.items()})

    assert means.per_repeat == (1.0, None)
    assert means.mean == 1.0
