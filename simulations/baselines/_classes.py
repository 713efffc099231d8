"""Tasks with classes or labels, as questions that scikit-learn's classifiers answer."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.dummy import DummyClassifier

from lego_core.records import Cohort
from lego_core.tasks import Classification, MultiLabel, Task
from simulations.baselines._choosing import outcomes_of


def questions(cohort: Cohort, *, task: Task) -> list[np.ndarray]:
    """What each classifier is to learn: the class, or each label by itself (B,)."""
    outcomes = outcomes_of(cohort).numpy().astype(int)
    return list(outcomes.T) if isinstance(task, MultiLabel) else [outcomes[:, 0]]


def class_weight(task: Task) -> dict[int, float] | None:
    """The task's weights as scikit-learn takes them."""
    weights = task.class_weights if isinstance(task, Classification) else None
    return None if weights is None else dict(enumerate(weights))


def fit_each(fit: Callable[[np.ndarray, int], Any], asked: Sequence[np.ndarray]) -> list[Any]:
    """Fit one classifier per question; one whose answer is always the same is answered by that.

    Args:
        fit: The answers to a question and its number, to a fitted classifier.
        asked: The training patients' answers to each question.
    """
    return [
        fit(answers, number) if len(np.unique(answers)) > 1 else _always(answers)
        for number, answers in enumerate(asked)
    ]


def predict_each(fitted: Sequence[Any], rows: np.ndarray, *, task: Task) -> Float[np.ndarray, "B Q"]:
    """Put the answers together to predictions; classes that nobody had in training get 0."""
    num_classes = len(task.classes) if isinstance(task, Classification) else 2
    answers = []
    for classifier in fitted:
        answer = np.zeros((len(rows), num_classes))
        answer[:, classifier.classes_] = classifier.predict_proba(rows)
        answers.append(answer)
    return (
        np.stack([answer[:, 1] for answer in answers], axis=1) if isinstance(task, MultiLabel) else answers[0]
    )


def _always(answers: np.ndarray) -> DummyClassifier:
    return DummyClassifier().fit(np.zeros((len(answers), 1)), answers)
