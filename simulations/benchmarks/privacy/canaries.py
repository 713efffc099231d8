"""How much privacy is lost at the least? Odd patients are put among the real ones, and looked for.

A canary has random values and the outcome that a model finds least likely for them. A coin says of
each whether it takes part. Whoever can tell from the trained block which ones did, has shown that
no guarantee with a small epsilon can hold: with one, only so many guesses are right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import binom
from torch import Tensor

from lego_core.block import LegoBlock
from lego_core.records import Cohort, Outcome, PatientRecord
from simulations.benchmarks.privacy.counting import least_share
from simulations.benchmarks.privacy.federation import train_block
from simulations.benchmarks.privacy.membership import losses_of
from simulations.benchmarks.privacy.patients import Patients
from simulations.benchmarks.privacy.protections import AbstractProtection, NoProtection

LOUDNESS = 1.0  # spreads of a canary's values, next to those of patients: a canary is odd, not loud
GUESSED = 0.5  # share of the canaries of whom a guess is made: those of whom it is surest
LEVEL = 0.95
HIGHEST = 50.0  # an epsilon that no audit reaches


@dataclass(frozen=True, slots=True)
class Guessed:
    """What the canaries of one training gave away.

    Args:
        canaries: How many there were.
        guesses: Of how many a guess was made.
        right: How many guesses were right.
        members: How many patients and canaries took part.
    """

    canaries: int
    guesses: int
    right: int
    members: int


def look_for_canaries(
    modality: str, *, patients: Patients, protection: AbstractProtection, canaries: int, seed: int
) -> Guessed:
    """Train a block with canaries among its patients, and guess which of them took part.

    The attacker is generous to himself: he has a block of the same real patients, without any canary.

    Args:
        modality: Which block.
        patients: Half of the pool are the real patients.
        protection: What is audited.
        canaries: How many; about half of them take part.
        seed: Another seed makes other canaries and another training.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(patients.pool)).tolist()
    real = patients.pool.keep(patients.pool.records[row] for row in order[: len(order) // 2]).only(modality)
    judge = train_block(modality, real, patients=patients, protection=NoProtection(), seed=seed)
    odd = make_canaries(canaries, modality, judge=judge, patients=patients, rng=rng)
    took_part = rng.random(canaries) < 0.5
    records = [*real.records, *(r for r, is_in in zip(odd.records, took_part, strict=True) if is_in)]
    mixed = odd.keep(records[row] for row in rng.permutation(len(records)).tolist())
    block = train_block(modality, mixed, patients=patients, protection=protection, seed=seed + 1)
    before, after = (losses_of(model, odd, task=patients.task) for model in (judge, block))
    return guess(before - after, took_part, members=len(mixed))


def make_canaries(
    count: int, modality: str, *, judge: LegoBlock, patients: Patients, rng: np.random.Generator
) -> Cohort:
    """Random values in the form of public patients, with the public outcome that surprises a model most."""
    public = patients.public.only(modality)
    forms = [public.records[place] for place in rng.integers(len(public), size=count)]
    outcomes = list({record.outcome for record in public.records})
    odd = [_with_random_values(form, modality, judge, number, rng) for number, form in enumerate(forms)]
    surprises = [
        losses_of(judge, public.keep(replace(one, outcome=outcome) for one in odd), task=patients.task)
        for outcome in outcomes
    ]
    worst = np.argmax(surprises, axis=0)
    return public.keep(
        replace(one, outcome=outcomes[place]) for one, place in zip(odd, worst.tolist(), strict=True)
    )


def guess(scores: Float[np.ndarray, "C"], took_part: Bool[np.ndarray, "C"], *, members: int) -> Guessed:
    """Say of the highest scores that they took part and of the lowest that they did not."""
    each_way = round(GUESSED * len(scores) / 2)
    order = np.argsort(scores, kind="stable")
    lowest, highest = order[:each_way], order[len(order) - each_way :]
    right = int((~took_part[lowest]).sum() + took_part[highest].sum())
    return Guessed(len(scores), 2 * each_way, right, members)


def together(each: Sequence[Guessed]) -> Guessed:
    """Several trainings as one audit.

    Each has canaries of its own, so one canary more or less concerns one of them alone: together
    they are one mechanism with the guarantee of each.
    """
    return Guessed(*(sum(getattr(one, name) for one in each) for name in Guessed.__slots__))


def least_epsilon(found: Guessed, *, delta: float) -> float:
    """The largest epsilon that so many right guesses rule out, with 95 % confidence.

    Without delta it is the logit of the Clopper-Pearson bound on the share of right guesses.

    Args:
        found: The guesses.
        delta: Of the guarantee; 0 if there is none.

    Source:
        Steinke, Nasr, Jagielski. "Privacy Auditing with One (1) Training Run." NeurIPS 2023.
        arXiv:2305.08846, theorem 5.2.
    """
    share = least_share(found.right, found.guesses, level=LEVEL)
    if share <= 0.5:
        return 0.0
    low, high = 0.0, float(min(np.log(share / (1 - share)), HIGHEST)) if share < 1 else HIGHEST
    if not delta:
        return high
    while high - low > 1e-4:
        middle = (low + high) / 2
        if chance_of(found, epsilon=middle, delta=delta) <= 1 - LEVEL:
            low = middle
        else:
            high = middle
    return low


def chance_of(found: Guessed, *, epsilon: float, delta: float) -> float:
    """The largest probability of so many right guesses under (epsilon, delta)-differential privacy."""
    right, guesses = found.right, found.guesses
    share = 1 / (1 + np.exp(-epsilon))
    numbers = np.arange(1, right + 1)
    near = binom.cdf(right - 1, guesses, share) - binom.cdf(right - 1 - numbers, guesses, share)
    extra = 2 * found.canaries * delta * float((near / numbers).max(initial=0.0))
    return float(min(binom.sf(right - 1, guesses, share) + extra, 1.0))


def _with_random_values(
    form: PatientRecord, modality: str, judge: LegoBlock, number: int, rng: np.random.Generator
) -> PatientRecord:
    measured = form.modalities[modality]
    noise = torch.from_numpy(rng.standard_normal(measured.values.shape)).float()
    values: Tensor = judge.feature_mean + LOUDNESS * judge.feature_stddev * noise
    own = replace(measured, values=torch.where(measured.values.isnan(), measured.values, values))
    return replace(form, patient_id=f"canary-{number}", modalities={modality: own}, outcome=Outcome((0.0,)))
