"""Logistic regression on all features: the first thing to try."""

from collections.abc import Callable
from typing import ClassVar, Literal, final

import numpy as np
from pydantic import Field
from sklearn import linear_model

from lego_core.tasks import Task
from simulations.baselines._classes import class_weight, fit_each, predict_each, questions
from simulations.baselines._on_features import AbstractOnFeatures, FittedOnFeatures, Lesson


@final
class LogisticRegression(AbstractOnFeatures):
    """A weighted sum of all features, kept small by a penalty on the squared weights.

    More than two classes are learned together (multinomial), labels one by one. The strength
    of the penalty is the one whose model scores best on validation patients.

    Args:
        inverse_penalties: scikit-learn's `C` to choose from, the strongest penalty first.

    Source:
        Hoerl, Kennard. "Ridge Regression." Technometrics 12(1), 1970.
        doi:10.1080/00401706.1970.10488634. le Cessie, van Houwelingen. "Ridge Estimators in
        Logistic Regression." Applied Statistics 41(1), 1992. doi:10.2307/2347628.
        scikit-learn's `LogisticRegression`.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "multi-label")

    kind: Literal["logistic-regression"] = "logistic-regression"
    inverse_penalties: tuple[float, ...] = Field(
        default=(1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 1.0), min_length=1
    )

    def _learn(self, lesson: Lesson) -> FittedOnFeatures:
        task, asked = lesson.task, questions(lesson.train, task=lesson.task)
        rows = lesson.table.filled(lesson.train)
        candidates = [
            fit_each(self._fit_one(rows, strength=strength, task=task), asked)
            for strength in self.inverse_penalties
        ]
        chosen = lesson.best(candidates, lambda fitted, new: predict_each(fitted, new, task=task))
        coefficients = sum(m.coef_.size + m.intercept_.size for m in chosen if hasattr(m, "coef_"))
        return FittedOnFeatures(lesson.table, lambda new: predict_each(chosen, new, task=task), coefficients)

    def _fit_one(
        self, rows: np.ndarray, *, strength: float, task: Task
    ) -> Callable[[np.ndarray, int], linear_model.LogisticRegression]:
        def fit(answers: np.ndarray, _number: int) -> linear_model.LogisticRegression:
            weights = class_weight(task)
            model = linear_model.LogisticRegression(C=strength, class_weight=weights, max_iter=10_000)
            return model.fit(rows, answers)

        return fit
