"""Boosted trees on all features: what often wins on tables."""

from typing import ClassVar, Literal, final

import numpy as np
from pydantic import Field
from sklearn.ensemble import HistGradientBoostingClassifier
from sksurv.ensemble import GradientBoostingSurvivalAnalysis

from lego_core.tasks import Survival, Task
from simulations.baselines._choosing import best_on
from simulations.baselines._classes import class_weight, fit_each, predict_each, questions
from simulations.baselines._on_features import AbstractOnFeatures, FittedOnFeatures, Lesson
from simulations.baselines._survival import at_bin_ends, by_risk, times_and_events

WITHOUT_VALIDATION = 100  # trees, where there is nobody to stop on
STEP = 5  # trees between two looks at the validation patients


@final
class GradientBoosting(AbstractOnFeatures):
    """Trees that each correct the ones before, until validation patients gain nothing more.

    Classes are learned by histogram trees, which know what to do with a missing value; labels
    one by one. Survival is learned by trees on the gradient of Cox's partial likelihood, with the
    training mean where nothing was measured; as many trees are kept as score best on validation.
    A tree or a split looks at some of the features only, so that thousands of them cost little.

    Args:
        learning_rate: How much of its correction each tree makes.
        max_trees: Most trees.
        max_leaves: Most leaves of a tree; trees for survival have a depth of 2 instead.
        min_patients: Fewest training patients in a leaf.
        feature_share: Share of the features that a split of a histogram tree may choose from;
            trees for survival take the square root of their number.
        patience: Trees without a better validation loss after which training stops (classes).

    Source:
        Friedman. "Greedy Function Approximation: A Gradient Boosting Machine." Annals of
        Statistics 29(5), 2001. doi:10.1214/aos/1013203451. Ke et al. "LightGBM." NeurIPS 2017
        (histogram trees). Ridgeway. "The State of Boosting." Computing Science and Statistics 31,
        1999 (survival). scikit-learn's `HistGradientBoostingClassifier`, scikit-survival's
        `GradientBoostingSurvivalAnalysis`.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "multi-label", "survival")

    kind: Literal["gradient-boosting"] = "gradient-boosting"
    learning_rate: float = Field(default=0.05, gt=0)
    max_trees: int = Field(default=400, ge=5)
    max_leaves: int = Field(default=8, ge=2)
    min_patients: int = Field(default=20, ge=1)
    feature_share: float = Field(default=0.3, gt=0, le=1)
    patience: int = Field(default=30, ge=1)

    def _learn(self, lesson: Lesson) -> FittedOnFeatures:
        return (
            self._learn_survival(lesson) if isinstance(lesson.task, Survival) else self._learn_classes(lesson)
        )

    def _learn_classes(self, lesson: Lesson) -> FittedOnFeatures:
        table, validation, task, seed = lesson.table, lesson.validation, lesson.task, lesson.seed
        rows = table.matrix(lesson.train)
        seen = table.matrix(validation) if len(validation) else rows[:0]
        judged = questions(validation, task=task) if len(validation) else None

        def fit(answers: np.ndarray, number: int) -> HistGradientBoostingClassifier:
            known = np.isin(judged[number], answers) if judged else np.zeros(0, dtype=bool)
            if judged and known.any():
                stop_on = {"X_val": seen[known], "y_val": judged[number][known]}
                return self._classifier(task, seed=seed, stops=True).fit(rows, answers, **stop_on)
            return self._classifier(task, seed=seed, stops=False).fit(rows, answers)

        fitted = fit_each(fit, questions(lesson.train, task=task))
        nodes = sum(_most_nodes(one) for one in fitted if isinstance(one, HistGradientBoostingClassifier))
        return FittedOnFeatures(
            table, lambda new: predict_each(fitted, new, task=task), nodes, reads_missing=True
        )

    def _classifier(self, task: Task, *, seed: int, stops: bool) -> HistGradientBoostingClassifier:
        return HistGradientBoostingClassifier(
            learning_rate=self.learning_rate,
            max_iter=self.max_trees if stops else min(self.max_trees, WITHOUT_VALIDATION),
            max_leaf_nodes=self.max_leaves,
            min_samples_leaf=self.min_patients,
            max_features=self.feature_share,
            class_weight=class_weight(task),
            early_stopping=stops,  # pyright: ignore[reportArgumentType] - a bool is documented
            n_iter_no_change=self.patience,
            random_state=seed,
        )

    def _learn_survival(self, lesson: Lesson) -> FittedOnFeatures:
        table, validation, task, seed = lesson.table, lesson.validation, lesson.task, lesson.seed
        rows, outcomes = table.filled(lesson.train), times_and_events(lesson.train)
        trees = min(self.max_trees, WITHOUT_VALIDATION)
        if len(validation):
            longest = self._survival_trees(self.max_trees, seed=seed).fit(rows, outcomes)
            risks = list(longest.staged_predict(table.filled(validation)))[STEP - 1 :: STEP]
            trees = STEP * (
                1 + best_on(validation, [by_risk(risk) for risk in risks], task=task, neighbours=2)
            )
        model = self._survival_trees(trees, seed=seed).fit(rows, outcomes)

        def answer(new: np.ndarray) -> np.ndarray:
            curves = model.predict_survival_function(new, return_array=True)
            return at_bin_ends(curves, model.unique_times_, task=task)

        nodes = sum(tree.tree_.node_count for tree in model.estimators_.ravel())
        return FittedOnFeatures(table, answer, nodes)

    def _survival_trees(self, trees: int, *, seed: int) -> GradientBoostingSurvivalAnalysis:
        return GradientBoostingSurvivalAnalysis(
            learning_rate=self.learning_rate,
            n_estimators=trees,
            subsample=0.5,
            max_depth=2,
            max_features="sqrt",
            random_state=seed,
        )


def _most_nodes(model: HistGradientBoostingClassifier) -> int:
    """How many nodes the trees have if each has all the leaves it may have."""
    return model.n_iter_ * model.n_trees_per_iteration_ * (2 * model.max_leaf_nodes - 1)
