"""What does patient-level privacy cost?"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Annotated, ClassVar, Literal, Self, final

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from lego_core.accounting import needed_noise
from lego_core.encoders import Tabular
from lego_core.privacy import PatientDp, default_delta
from lego_core.private_training import PrivateTrainer
from lego_core.records import Cohort
from lego_core.statistics import FeatureStatistics
from simulations.benchmarks.models import Model
from simulations.benchmarks.studies._arms import Arm, Comparison, Measured, conditions_of
from simulations.benchmarks.studies._contract import AbstractStudy, Steps
from simulations.benchmarks.studies._figures import side_by_side
from simulations.benchmarks.studies._lab import Lab, Trained
from simulations.benchmarks.studies._members import members_told
from simulations.benchmarks.studies._results import StudyResults

OPEN = "no privacy"
BEST, ENSEMBLE, MERGE = "best block", "ensemble", "merge"
BLOCK, ATTACK, NOISE = "block ", "members told: ", "noise multiplier"


@final
class PrivacyStudy(AbstractStudy):
    """Blocks trained without privacy as the plan says, and by DP-SGD within one epsilon after another.

    Each block is trained by one site, which has all patients dealt to its modality; noise is that
    site's, and since every patient trains one block, the epsilon of a block is the patient's and the
    merge's. Delta is the smaller of 1e-5 and 1 / (10 N). One recipe serves every epsilon, chosen on
    validation patients, as TRIED tells: only encoders are trained, tables are read by a small encoder,
    and the noise multiplier follows from epsilon, steps and batches. Epsilon does not cover the number of
    patients, means and spreads, base rates, the choices made by validation patients (the recipe, the
    best block), nor the scores. Members told is a loss threshold attack: the area under its ROC curve
    for telling a model's training patients from test patients, .5 by chance. Noise comes from the
    seed here, and at a site from the operating system.

    Args:
        epsilons: What training may cost a patient.
        steps_taken: Noisy steps of each training.
        share: With which probability a patient takes part in a step.
        learning_rate: Step size of AdamW under noise.
        clip_norm: Largest norm of a patient's gradient.
        tables: The encoder of tables under noise; other encoders are the plan's.

    Source:
        Abadi et al. "Deep Learning with Differential Privacy." CCS 2016. arXiv:1607.00133.
    """

    kind: Literal["privacy"] = "privacy"
    question: ClassVar[str] = "What does patient-level privacy cost?"
    dataset: ClassVar[str] = "icu2012"
    fewest_modalities: ClassVar[int] = 2
    epsilons: tuple[Annotated[float, Field(gt=0)], ...] = (8.0, 3.0, 1.0)
    steps_taken: int = Field(default=20, ge=1)
    share: float = Field(default=0.5, gt=0, le=1)
    learning_rate: float = Field(default=2e-2, gt=0)
    clip_norm: float = Field(default=0.01, gt=0)
    tables: Tabular = Tabular(
        num_tokens=1, token_dim=16, hidden_dims=(16,), squares=False, missing_indicators=False
    )

    def quick(self) -> Self:
        """One epsilon, and everybody in every step, whose noise is soon worked out."""
        return self.model_copy(update={"epsilons": (3.0,), "share": 1.0})

    def steps(self) -> Steps:
        """Training without privacy, then within every epsilon."""
        within = {_named(epsilon): partial(self._within, epsilon=epsilon) for epsilon in self.epsilons}
        return {OPEN: _without, **within}

    def comparisons(self, arms: Sequence[Arm], /) -> list[Comparison]:
        """Every epsilon against no privacy; and whether merging is worth it under each."""
        private = [condition for condition in conditions_of(arms) if condition != OPEN]
        blocks = list(dict.fromkeys(arm.method for arm in arms if arm.method.startswith(BLOCK)))
        costs = {"the merge": [MERGE], "the ensemble": [ENSEMBLE], "a block, on average": blocks}
        return [
            *(
                Comparison(
                    what,
                    "the same without privacy",
                    tuple((Arm(condition, method), Arm(OPEN, method)) for method in methods),
                    f"within {condition}",
                )
                for what, methods in costs.items()
                for condition in private
            ),
            *(
                Comparison(
                    "the merge",
                    than,
                    ((Arm(condition, MERGE), Arm(condition, other)),),
                    f"within {condition}",
                )
                for than, other in (("the best block", BEST), ("the ensemble", ENSEMBLE))
                for condition in private
            ),
        ]

    def figure(self, results: StudyResults) -> Figure:
        """What is predicted, and how well members are told, from no privacy to the most."""
        blocks = {method: method for method in results.methods if method.startswith(BLOCK)}
        attacks = {m: m.removeprefix(ATTACK) for m in results.methods if m.startswith(ATTACK)}
        return side_by_side(
            results,
            along="privacy",
            conditions=results.conditions,
            panels={
                results.metric: {**blocks, MERGE: MERGE, ENSEMBLE: ENSEMBLE},  # colours go by place in both
                "members told from test patients, AUC": attacks,
            },
        )

    def _within(self, lab: Lab, *, epsilon: float) -> Iterable[Measured]:
        lab = _reading_with(lab, self.tables)
        team, noises = [], []
        for modality in lab.modalities:
            patients = lab.dealt(lab.trial.train, modality)
            terms = self.terms(len(patients), epsilon=epsilon)
            team.append(self.train(lab, modality, patients, terms))
            noises.append(terms.noise_multiplier)
        yield from _measured(lab, team, condition=_named(epsilon))
        yield Measured(Arm(_named(epsilon), NOISE), max(noises), "clip norms")

    def terms(self, patients: int, *, epsilon: float) -> PatientDp:
        """The recipe for so many patients, with as little noise as epsilon allows."""
        batch = max(1, round(self.share * patients))
        noise = _least_noise(epsilon, default_delta(patients), batch / patients, self.steps_taken)
        return PatientDp(
            kind="patient-dp",
            epsilon=epsilon,
            noise_multiplier=noise,
            clip_norm=self.clip_norm,
            batch_size=batch,
            steps=self.steps_taken,
        )

    def train(self, lab: Lab, modality: str, patients: Cohort, terms: PatientDp) -> Trained:
        """Train one block on these patients with noise, from the common start."""
        block = lab.untrained(modality)
        block.normalise_with(FeatureStatistics.of(patients.marked("train"), modality).normalisation())
        recipe = {"learning_rate": self.learning_rate, "keep": "mean", "dropout": False}
        trainer = PrivateTrainer(
            block,
            task=lab.task,
            settings=lab.plan.training_of(modality).model_copy(update=recipe),
            privacy=terms,
            device="cpu",
            entropy=_entropy(lab.trial.seed, modality, terms.epsilon),
        )
        trainer.fit(patients, seed=lab.trial.seed)
        return Trained(block.eval(), patients)


def _entropy(seed: int, modality: str, epsilon: float) -> Callable[[int], bytes]:
    """Random bytes that can be repeated; no two blocks share them, or their noise could be subtracted."""
    return np.random.default_rng([seed, *f"{modality} {epsilon}".encode()]).bytes


@cache
def _least_noise(epsilon: float, delta: float, rate: float, steps: int) -> float:
    return needed_noise(epsilon, delta=delta, sampling_rate=rate, steps=steps)


def _without(lab: Lab) -> Iterable[Measured]:
    return _measured(lab, [lab.train(modality) for modality in lab.modalities], condition=OPEN)


def _reading_with(lab: Lab, tables: Tabular) -> Lab:
    """The same trial with another encoder for tables."""
    smaller = {
        name: own.model_copy(update={"encoder": tables}) if own.encoder.kind == tables.kind else own
        for name, own in lab.plan.modalities.items()
    }
    return lab.with_plan(lab.plan.model_copy(update={"modalities": smaller}))


def _measured(lab: Lab, team: Sequence[Trained], *, condition: str) -> Iterable[Measured]:
    """What each model says of test patients, and how well it tells members from them."""
    models: dict[str, tuple[Model, Cohort]] = {
        **{f"{BLOCK}{one.modality}": (one.block, one.patients) for one in team},
        MERGE: (lab.merged(team), lab.trial.train),
    }
    for name, (model, _) in models.items():
        yield Measured(Arm(condition, name), lab.said(model))
    yield Measured(Arm(condition, BEST), lab.said(lab.best_of(team).block))
    yield Measured(Arm(condition, ENSEMBLE), lab.ensemble(team))
    for name, (model, members) in models.items():
        told = members_told(model, members, lab=lab)
        if told is not None:
            yield Measured(Arm(condition, f"{ATTACK}{name}"), told, "AUC")


def _named(epsilon: float) -> str:
    return f"epsilon {epsilon:g}"
