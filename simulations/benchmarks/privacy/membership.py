"""Was this patient among those who trained the model? Two attacks on what a model says of patients.

Every model is attacked in its turn. The models of the other pairs are its shadow models: trained
in the same way, with and without the patient, by an attacker who has data like ours.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import nn

from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import predict_logits

LEAST_LOSS = 1e-9  # of a patient of whom a model is certain, so that confidence stays a number
LEAST_VARIANCE = 1e-12  # models that all say the same tell nothing apart


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """What M models of one kind say of N patients.

    Args:
        losses: Negative log-likelihood of each patient's outcome.
        member: Who trained each model; models 2k and 2k + 1 share no patient.
    """

    losses: Float[np.ndarray, "M N"]
    member: Bool[np.ndarray, "M N"]


def losses_of(model: nn.Module, cohort: Cohort, *, task: Task) -> Float[np.ndarray, "N"]:
    """The loss of each patient by itself."""
    logits, outcomes = predict_logits(model, cohort)
    each = [task.loss(logits[row : row + 1], outcomes[row : row + 1]) for row in range(len(logits))]
    return torch.stack(each).double().numpy()


def loss_threshold(seen: Losses) -> Float[np.ndarray, "M N"]:
    """Score patients by how little they surprise the model.

    Source:
        Yeom, Giacomelli, Fredrikson, Jha. "Privacy Risk in Machine Learning: Analyzing the
        Connection to Overfitting." CSF 2018. arXiv:1709.01604.
    """
    return -seen.losses


def confidence(losses: Float[np.ndarray, "M N"]) -> Float[np.ndarray, "M N"]:
    """The logit of the likelihood of the patient's outcome, which is about normal over models."""
    losses = np.maximum(losses, LEAST_LOSS)
    return -losses - np.log(-np.expm1(-losses))


def likelihood_ratio(seen: Losses) -> Float[np.ndarray, "M N"]:
    """Score each patient by how much better models that saw them explain what the model says.

    A normal distribution is fitted to the confidence of the shadow models that saw the patient,
    and one to that of the others: a mean for every patient, and since shadow models are few, one
    variance for all patients.

    Source:
        Carlini, Chien, Nasr, Song, Terzis, Tramèr. "Membership Inference Attacks From First
        Principles." IEEE S&P 2022. arXiv:2112.03570 (the online attack, section VI on variances).
    """
    said = confidence(seen.losses)
    scores = np.empty_like(said)
    for model in range(len(said)):
        shadows = [other for other in range(len(said)) if other // 2 != model // 2]
        with_patient, without = (
            _normal(said[shadows], who) for who in (seen.member[shadows], ~seen.member[shadows])
        )
        scores[model] = _log_density(said[model], *with_patient) - _log_density(said[model], *without)
    return scores


def _normal(said: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean over the chosen models for every patient, and the variance around it over all of them."""
    counts = chosen.sum(axis=0)
    means = np.where(chosen, said, 0).sum(axis=0) / counts
    squares = np.where(chosen, np.square(said - means), 0).sum()
    return means, max(float(squares / (counts - 1).sum()), LEAST_VARIANCE)


def _log_density(value: np.ndarray, mean: np.ndarray, variance: float) -> np.ndarray:
    return -np.square(value - mean) / (2 * variance) - np.log(variance) / 2
