"""Discrete-time survival: bins, likelihood, concordance, and agreeing on edges."""

import json
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lego_core.errors import PlanError
from lego_core.tasks import Survival

VECTORS = Path(__file__).parents[2] / "vectors"
EDGES = (100.0, 365.25, 1000.0)
TASK = Survival(bin_edges_days=EDGES)


def vector(name: str) -> dict:
    return json.loads((VECTORS / f"{name}.json").read_text())


def outcomes(times: list[float], events: list[int]) -> torch.Tensor:
    return torch.tensor([times, events], dtype=torch.float32).T.contiguous()


def test_a_bin_holds_its_lower_edge_and_not_its_upper_one() -> None:
    times = torch.tensor([0.0, 99.99, 100.0, 365.0, 365.25, 999.0, 1000.0, 1e6])

    assert TASK.bins_of(times).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_loss_is_the_likelihood_of_an_independent_loop() -> None:
    case = vector("survival_nll")
    given_outcomes = outcomes(case["inputs"]["time_days"], case["inputs"]["event"])
    task = Survival(bin_edges_days=tuple(case["inputs"]["edges_days"]))

    loss = task.loss(torch.tensor(case["inputs"]["logits"], dtype=torch.float64), given_outcomes)

    assert loss.item() == pytest.approx(case["expected"]["loss"], rel=1e-12)


def test_survival_is_the_product_of_what_hazards_leave() -> None:
    logits = torch.tensor([[-1.0, 0.5, 2.0, 0.0]])

    survival = TASK.predict(logits)

    torch.testing.assert_close(survival, (1 - logits.sigmoid()).cumprod(dim=1))


def test_bins_after_the_last_follow_up_do_not_enter_the_loss() -> None:
    seen = outcomes([150.0], [1])
    logits = torch.tensor([[0.3, -0.2, 5.0, -5.0]])
    changed = torch.tensor([[0.3, -0.2, -9.0, 9.0]])

    assert TASK.loss(logits, seen) == TASK.loss(changed, seen)


@pytest.mark.parametrize("use", ["loss", "details", "bins"])
def test_nothing_is_learned_before_the_group_agreed_on_edges(use: str) -> None:
    task, seen = Survival(), outcomes([150.0], [1])

    with pytest.raises(PlanError, match="has 4 time bins and no edges between them yet"):
        {
            "loss": lambda: task.loss(torch.zeros(1, 4), seen),
            "details": lambda: task.details(torch.ones(1, 4), seen, reference=seen),
            "bins": lambda: task.bins_of(seen[:, 0]),
        }[use]()


def test_concordance_is_that_of_scikit_survival() -> None:
    case = vector("concordance")
    inputs = case["inputs"]

    score = Survival(num_bins=2).score(
        torch.tensor(inputs["survival"]), outcomes(inputs["time_days"], inputs["event"])
    )

    assert score.value == pytest.approx(case["expected"]["value"], rel=1e-12)
    assert score.pairs == case["expected"]["pairs"]


def concordance_by_pairs(survival: np.ndarray, times: np.ndarray, events: np.ndarray) -> tuple[float, int]:
    """Harrell's definition, pair by pair; censored at the time of an event counts as later."""
    right, pairs = 0.0, 0
    for i in np.flatnonzero(events):
        for j in range(len(times)):
            if times[j] > times[i] or (times[j] == times[i] and not events[j]):
                pairs += 1
                right += 0.5 * (survival[i] == survival[j]) + 1.0 * (survival[i] < survival[j])
    return (right / pairs if pairs else 0.5), pairs


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 4)), min_size=1, max_size=12))
def test_concordance_is_counted_over_pairs_ties_and_all(patients: list[tuple[int, bool, int]]) -> None:
    times, events, quarters = (np.array(column) for column in zip(*patients, strict=True))
    predictions = torch.tensor(quarters / 4).unsqueeze(1)

    score = TASK.score(predictions, torch.tensor(np.stack([times, events], axis=1)).double())

    expected, pairs = concordance_by_pairs(quarters, times, events)
    assert score.pairs == pairs
    assert score.value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("times", "events"), [([3.0, 9.0], [0, 0]), ([5.0, 5.0], [1, 1]), ([1.0, 5.0], [0, 1])]
)
def test_patients_nobody_can_compare_give_no_pairs(times: list[float], events: list[int]) -> None:
    score = TASK.score(torch.rand(2, 4, generator=torch.Generator().manual_seed(0)), outcomes(times, events))

    assert (score.value, score.pairs) == (0.5, 0)


def test_a_hundred_concordances_of_150_patients_take_under_a_second() -> None:
    rng = torch.Generator().manual_seed(0)
    seen = outcomes((1000 * torch.rand(150, generator=rng)).tolist(), [1, 0] * 75)
    predictions = TASK.predict(torch.randn(150, 4, generator=rng))

    start = perf_counter()
    for _ in range(100):
        TASK.score(predictions, seen)

    assert perf_counter() - start < 1


def test_agreed_edges_are_the_quartiles_of_event_times_within_the_grid() -> None:
    rng = np.random.default_rng(0)
    times, events = rng.exponential(800, 500).astype(np.float32), rng.random(500) < 0.4
    seen = torch.tensor(np.stack([times, events], axis=1))

    agreed = Survival().agree(Survival().count_outcomes(seen))

    quartiles = np.quantile(times[events], [0.25, 0.5, 0.75], method="inverted_cdf")
    np.testing.assert_allclose(agreed.bin_edges_days, quartiles, rtol=0.0107)


def test_edges_that_the_plan_sets_stay() -> None:
    seen = outcomes([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1])

    assert TASK.agree(TASK.count_outcomes(seen)).bin_edges_days == TASK.bin_edges_days


def test_base_logits_are_the_hazards_of_the_group() -> None:
    seen = outcomes([5.0, 50.0, 50.0, 400.0], [1, 1, 0, 1])
    task = Survival(num_bins=2, bin_edges_days=(100.0,))

    agreed = task.agree(task.count_outcomes(seen))

    # 2 of 4 in the first bin, 1 of 1 in the second; half an event and half a non-event more
    assert torch.tensor(agreed.base_logits).sigmoid().tolist() == pytest.approx([2.5 / 5, 1.5 / 2])


def test_fewer_events_than_bins_cannot_be_agreed_on() -> None:
    seen = outcomes([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 0])

    with pytest.raises(PlanError, match="The group saw 3 events, and 4 time bins need at least 4"):
        Survival().agree(Survival().count_outcomes(seen))


def test_censored_and_events_are_counted_apart() -> None:
    statistics = TASK.count_outcomes(outcomes([1.0, 2.0, 3.0], [1, 0, 1]))

    assert statistics.counts.tolist() == [1, 2]
    assert statistics.event_times.sum() == 2


@pytest.mark.parametrize(
    ("edges", "sentence"),
    [
        ((1.0, 2.0), "4 bins have 3 edges between them, and bin-edges-days lists 2"),
        ((1.0, 1.0, 2.0), "each later than the one before"),
        ((0.0, 1.0, 2.0), "finite days above 0"),
        ((1.0, 2.0, float("inf")), "finite days above 0"),
        ((1.0, float("nan"), 3.0), "finite days above 0"),
    ],
)
def test_edges_that_are_no_edges_are_refused(edges: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Survival(bin_edges_days=edges)
