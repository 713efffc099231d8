"""What a user would try instead of merging: one model of all modalities, on pooled and paired data.

To add a baseline, write a file beside these and name it here.
"""

from typing import Annotated

from pydantic import Field

from simulations.baselines._contract import AbstractBaseline, Fitted
from simulations.baselines.attention_mil import AttentionMil
from simulations.baselines.cox import Cox
from simulations.baselines.gradient_boosting import GradientBoosting
from simulations.baselines.healnet import HealNet
from simulations.baselines.late_bilinear import LateBilinear
from simulations.baselines.late_concat import LateConcat
from simulations.baselines.logistic_regression import LogisticRegression
from simulations.baselines.mcat import Mcat
from simulations.baselines.multimodn import MultiModN
from simulations.baselines.perceiver import Perceiver
from simulations.baselines.random_survival_forest import RandomSurvivalForest
from simulations.baselines.snn import Snn

Baseline = Annotated[
    AttentionMil
    | Cox
    | GradientBoosting
    | HealNet
    | LateBilinear
    | LateConcat
    | LogisticRegression
    | Mcat
    | MultiModN
    | Perceiver
    | RandomSurvivalForest
    | Snn,
    Field(discriminator="kind"),
]

BASELINES: dict[str, AbstractBaseline] = {
    baseline.kind: baseline
    for baseline in (
        Cox(),
        RandomSurvivalForest(),
        LogisticRegression(),
        GradientBoosting(),
        Snn(),
        AttentionMil(),
        LateConcat(),
        LateBilinear(),
        Perceiver(),
        MultiModN(),
        Mcat(),
        HealNet(),
    )
}

__all__ = [
    "BASELINES",
    "AbstractBaseline",
    "AttentionMil",
    "Baseline",
    "Cox",
    "Fitted",
    "GradientBoosting",
    "HealNet",
    "LateBilinear",
    "LateConcat",
    "LogisticRegression",
    "Mcat",
    "MultiModN",
    "Perceiver",
    "RandomSurvivalForest",
    "Snn",
]
