"""What a user would try instead of merging: one model of all modalities, on pooled and paired data.

To add a baseline, write a file beside these and name it here.
"""

from typing import Annotated

from pydantic import Field

from simulations.baselines._contract import AbstractBaseline, Fitted
from simulations.baselines.cox import Cox
from simulations.baselines.gradient_boosting import GradientBoosting
from simulations.baselines.logistic_regression import LogisticRegression
from simulations.baselines.random_survival_forest import RandomSurvivalForest

Baseline = Annotated[
    Cox | GradientBoosting | LogisticRegression | RandomSurvivalForest, Field(discriminator="kind")
]

BASELINES: dict[str, AbstractBaseline] = {
    baseline.kind: baseline
    for baseline in (Cox(), GradientBoosting(), LogisticRegression(), RandomSurvivalForest())
}

__all__ = [
    "BASELINES",
    "AbstractBaseline",
    "Baseline",
    "Cox",
    "Fitted",
    "GradientBoosting",
    "LogisticRegression",
    "RandomSurvivalForest",
]
