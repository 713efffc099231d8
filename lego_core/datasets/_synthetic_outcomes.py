"""What becomes of made-up patients, given their risk."""

from abc import abstractmethod
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from lego_core.component import Component


class AbstractSyntheticOutcome(Component):
    """How outcomes are drawn from K risks per patient."""

    @property
    @abstractmethod
    def num_risks(self) -> int:
        """Number of risks K."""

    @abstractmethod
    def draw(self, risks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw rows of `Outcome.values` from risks (B, K)."""


@final
class SyntheticSurvival(AbstractSyntheticOutcome):
    """Proportional hazards: a patient's hazard is constant and grows by e with every unit of risk.

    Args:
        censored: Share of patients who leave before the event, whatever their risk.
        scale_days: Mean time to the event at risk 0.
    """

    kind: Literal["survival"] = "survival"
    censored: float = Field(default=0.3, ge=0, lt=1)
    scale_days: float = Field(default=1000.0, gt=0)

    @property
    def num_risks(self) -> int:
        return 1

    def draw(self, risks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        event_days = self.scale_days * rng.exponential(size=len(risks)) * np.exp(-risks[:, 0])
        leaving = rng.exponential(size=len(risks))
        # Leaving times are stretched until just the wanted share leaves before the event.
        stretch = np.quantile(event_days / leaving, 1 - self.censored)
        leaving_days = stretch * leaving if self.censored else np.full_like(leaving, np.inf)
        return np.stack([np.minimum(event_days, leaving_days), event_days <= leaving_days], axis=1)


@final
class SyntheticClass(AbstractSyntheticOutcome):
    """Logistic: two classes by one risk, or more classes by one risk each.

    Args:
        classes: Number of classes.
    """

    kind: Literal["class"] = "class"
    classes: int = Field(default=2, ge=2)

    @property
    def num_risks(self) -> int:
        return 1 if self.classes == 2 else self.classes

    def draw(self, risks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        against = np.concatenate([np.zeros_like(risks), risks], axis=1) if self.classes == 2 else risks
        # The largest of logits with Gumbel noise is a draw from their softmax.
        return np.argmax(against + rng.gumbel(size=against.shape), axis=1, keepdims=True).astype(np.float64)


@final
class SyntheticLabels(AbstractSyntheticOutcome):
    """Logistic: several findings, each there or not by its own risk.

    Args:
        labels: Number of findings.
    """

    kind: Literal["labels"] = "labels"
    labels: int = Field(default=3, ge=1)

    @property
    def num_risks(self) -> int:
        return self.labels

    def draw(self, risks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return (rng.logistic(size=risks.shape) < risks).astype(np.float64)


SyntheticOutcome = Annotated[
    SyntheticSurvival | SyntheticClass | SyntheticLabels, Field(discriminator="kind")
]
