"""Labels: several yes-or-no questions at once."""

import pytest
import torch
from pydantic import ValidationError

from lego_core.errors import PlanError
from lego_core.tasks import Classification, MultiLabel

TASK = MultiLabel(labels=("oedema", "sepsis", "fracture"))


def test_one_label_is_scored_as_two_classes_are() -> None:
    logits = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    outcomes = (torch.arange(50) % 3 == 0).float().unsqueeze(1)
    label, binary = MultiLabel(labels=("dead",)), Classification(classes=("alive", "dead"))

    assert label.score(label.predict(logits), outcomes) == binary.score(binary.predict(logits), outcomes)
    torch.testing.assert_close(label.loss(logits, outcomes), binary.loss(logits, outcomes))


def test_labels_that_all_or_none_have_do_not_enter_the_score() -> None:
    outcomes = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    predictions = torch.tensor([[0.9, 0.1, 0.2], [0.1, 0.2, 0.1]])

    score = TASK.score(predictions, outcomes)

    assert (score.value, score.pairs) == (1.0, 1)


def test_strata_name_the_rarest_label_of_a_patient() -> None:
    outcomes = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])

    assert TASK.strata(outcomes).tolist() == [2, 3, 3, 0]


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_a_label_that_never_differs_is_named(answer: float) -> None:
    outcomes = torch.tensor([[1.0, answer, 0.0], [0.0, answer, 1.0]])

    with pytest.raises(PlanError, match="the same answer for label 'sepsis', so it cannot be learned"):
        TASK.agree(TASK.count_outcomes(outcomes))


@pytest.mark.parametrize("labels", [(), ("a", "a")])
def test_labels_must_be_different_names(labels: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="labels must be one or more different names"):
        MultiLabel(labels=labels)
