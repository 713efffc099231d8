"""Classes: loss, area under the ROC curve, and agreeing that every class occurs."""

import json
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from lego_core.errors import PlanError
from lego_core.tasks import Classification

VECTORS = Path(__file__).parents[2] / "vectors"
BINARY = Classification(classes=("alive", "dead"))
THREE = Classification(classes=("a", "b", "c"))


def column(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).unsqueeze(1)


def test_two_classes_need_one_logit_and_give_two_probabilities() -> None:
    logits = torch.tensor([[0.0], [2.0], [-200.0]])

    predictions = BINARY.predict(logits)

    assert BINARY.num_outputs == 1
    torch.testing.assert_close(predictions[:, 1:], logits.sigmoid())
    torch.testing.assert_close(predictions.sum(dim=1), torch.ones(3))


def test_three_classes_need_three_logits() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])

    assert THREE.num_outputs == 3
    torch.testing.assert_close(THREE.predict(logits), logits.softmax(dim=1))


def test_one_logit_costs_what_two_with_that_difference_cost() -> None:
    logit, chosen = torch.tensor([[0.7], [-1.2], [3.0]]), column([1, 0, 0])

    expected = functional.cross_entropy(torch.cat([torch.zeros(3, 1), logit], dim=1), chosen[:, 0].long())

    torch.testing.assert_close(BINARY.loss(logit, chosen), expected)


@pytest.mark.parametrize(("classes", "weights"), [(2, (0.5, 3.0)), (3, (0.5, 3.0, 1.0))])
def test_a_weight_multiplies_a_patients_loss_and_divides_nothing(
    classes: int, weights: tuple[float, ...]
) -> None:
    plain = Classification(classes=tuple("abc"[:classes]))
    weighted = Classification(classes=plain.classes, class_weights=weights)
    logits = torch.randn(1, plain.num_outputs, generator=torch.Generator().manual_seed(0))

    for index, weight in enumerate(weights):
        torch.testing.assert_close(
            weighted.loss(logits, column([index])), weight * plain.loss(logits, column([index]))
        )


def test_the_area_is_that_of_scikit_learn() -> None:
    case = json.loads((VECTORS / "area_under_roc.json").read_text())
    predictions, classes = (
        torch.tensor(case["inputs"]["probabilities"]),
        torch.tensor(case["inputs"]["class"]),
    )

    three = THREE.score(predictions, classes.float().unsqueeze(1))
    second = torch.stack([1 - predictions[:, 1], predictions[:, 1]], dim=1)
    binary = BINARY.score(second, (classes == 1).float().unsqueeze(1))

    assert three.value == pytest.approx(case["expected"]["multi_class"], rel=1e-12)
    assert three.pairs == 4 * 6 + 3 * 7 + 3 * 7
    assert binary.value == pytest.approx(case["expected"]["binary"], rel=1e-12)
    assert binary.pairs == 3 * 7


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=30))
def test_the_area_is_that_of_scikit_learn_ties_and_all(patients: list[tuple[bool, int]]) -> None:
    positive, eighths = (np.array(values) for values in zip(*patients, strict=True))
    predictions = torch.tensor(np.stack([1 - eighths / 8, eighths / 8], axis=1))

    score = BINARY.score(predictions, torch.tensor(positive).double().unsqueeze(1))

    assert score.pairs == positive.sum() * (~positive).sum()
    if score.pairs:
        assert score.value == pytest.approx(roc_auc_score(positive, eighths))


def test_a_site_with_one_class_has_no_pairs_and_no_warning() -> None:
    score = BINARY.score(torch.full((30, 2), 0.5), column([1] * 30))

    assert (score.value, score.pairs) == (0.5, 0)


def test_a_class_nobody_has_does_not_enter_the_mean() -> None:
    predictions = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]])

    score = THREE.score(predictions, column([0, 1, 1]))

    assert (score.value, score.pairs) == (1.0, 4)


def test_a_thousand_areas_of_600_patients_take_under_a_second() -> None:
    rng = torch.Generator().manual_seed(0)
    predictions, seen = BINARY.predict(torch.randn(600, 1, generator=rng)), column([0, 1, 0] * 200)

    start = perf_counter()
    for _ in range(1000):
        BINARY.score(predictions, seen)

    assert perf_counter() - start < 1


def test_a_class_that_occurs_nowhere_is_named() -> None:
    with pytest.raises(
        PlanError, match="No training patient of any site has class 'b', so it cannot be learned"
    ):
        THREE.agree(THREE.count_outcomes(column([0, 2, 2])))


def test_a_class_that_one_site_lacks_may_come_from_another() -> None:
    statistics = THREE.count_outcomes(column([0, 0])) + THREE.count_outcomes(column([1, 2]))

    assert THREE.agree(statistics).classes == THREE.classes


def test_base_logits_say_of_everybody_what_is_true_of_the_group() -> None:
    counted = THREE.count_outcomes(column([0, 0, 0, 0, 1, 2, 2, 2]))
    agreed = THREE.agree(counted)

    predicted = agreed.predict(torch.tensor([agreed.base_logits]))

    assert predicted[0].tolist() == pytest.approx([4 / 8, 1 / 8, 3 / 8])


def test_base_logits_of_two_weighted_classes_are_those_of_the_weighted_group() -> None:
    task = Classification(classes=("no", "yes"), class_weights=(1.0, 3.0))

    agreed = task.agree(task.count_outcomes(column([0, 0, 0, 1])))

    assert agreed.base_logits == pytest.approx([0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"classes": ("one",)}, "classes must be two or more different names"),
        ({"classes": ("a", "a")}, "classes must be two or more different names"),
        ({"classes": ("a", "b"), "class_weights": (1.0,)}, "class-weights lists 1 weights for 2 classes"),
        (
            {"classes": ("a", "b"), "class_weights": (1.0, 0.0)},
            "class-weights must be finite numbers above 0",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Classification(**settings)


def test_a_number_that_is_no_class_is_told_which_classes_there_are() -> None:
    with pytest.raises(Exception, match=r"whole number from 0 \('a'\) to 2 \('c'\)"):
        THREE.check_outcomes(column([0, 3]))
