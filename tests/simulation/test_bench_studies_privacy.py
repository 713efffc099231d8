"""The study of what patient-level privacy costs."""

from typing import cast

import numpy as np
import pytest
import torch
from study_runs import NAMES
from torch import Tensor

from lego_core.accounting import NoisySteps, epsilon_of
from lego_core.block import LegoBlock
from lego_core.records import Cohort
from lego_core.training import predict_logits
from simulations.benchmarks.studies import Arm, Lab, PrivacyStudy
from simulations.benchmarks.studies._members import members_told
from simulations.benchmarks.studies.privacy import ATTACK, ENSEMBLE, MERGE, NOISE, OPEN

LEAST = PrivacyStudy(epsilons=(3.0,), steps_taken=2, share=1.0)


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_the_noise_keeps_a_whole_training_within_epsilon_and_hardly_less_would(epsilon: float) -> None:
    terms = LEAST.terms(40, epsilon=epsilon)
    rate = terms.sampling_rate(40)

    spent, with_less = (
        epsilon_of([NoisySteps(share * terms.noise_multiplier, rate, terms.steps)], delta=1e-5).value
        for share in (1.0, 0.98)
    )

    assert spent <= epsilon < with_less
    assert (terms.batch_size, terms.delta_for(40)) == (40, 1e-5)


def test_a_patient_takes_part_in_the_training_of_one_block_only(lab: Lab) -> None:
    ids = [{r.patient_id for r in lab.dealt(lab.trial.train, name).records} for name in NAMES]

    assert sum(len(own) for own in ids) == len(set().union(*ids)) == len(lab.trial.train)


def test_noise_is_the_same_for_the_same_seed_and_common_parts_stay_as_they_began(lab: Lab) -> None:
    patients = lab.dealt(lab.trial.train, "one")
    terms = LEAST.terms(len(patients), epsilon=3.0)

    first, second = (LEAST.train(lab, "one", patients, terms).block for _ in range(2))

    begun = lab.untrained("one")
    assert _said(first, lab).equal(_said(second, lab))
    assert all(
        torch.equal(own, other)
        for own, other in zip(first.trunk.parameters(), begun.trunk.parameters(), strict=True)
    )
    assert not torch.equal(_said(first, lab), _said(begun, lab))


def test_no_two_blocks_share_their_noise(lab: Lab) -> None:
    patients = lab.dealt(lab.trial.train, "one")
    learned = [
        _said(LEAST.train(lab, "one", patients, LEAST.terms(len(patients), epsilon=epsilon)).block, lab)
        for epsilon in (3.0, 3.0001)  # the same noise multiplier
    ]

    assert LEAST.terms(30, epsilon=3.0).noise_multiplier == LEAST.terms(30, epsilon=3.0001).noise_multiplier
    assert not torch.equal(*learned)


def test_without_privacy_blocks_and_merge_are_the_plans(lab: Lab) -> None:
    said = {one.arm: one.what for one in LEAST.steps()[OPEN](lab)}
    team = [lab.train(modality) for modality in lab.modalities]

    assert torch.equal(cast(Tensor, said[Arm(OPEN, MERGE)]), lab.said(lab.merged(team)))
    assert torch.equal(cast(Tensor, said[Arm(OPEN, ENSEMBLE)]), lab.ensemble(team))
    assert Arm(OPEN, NOISE) not in said
    assert 0 <= cast(float, said[Arm(OPEN, f"{ATTACK}{MERGE}")]) <= 1


def test_members_are_told_by_how_little_they_surprise(lab: Lab) -> None:
    one = lab.train("one")

    told = members_told(one.block, one.patients, lab=lab)

    ids = {record.patient_id for record in one.patients.records}
    train = lab.trial.train
    members = train.keep(record for record in train.records if record.patient_id in ids)
    inside, outside = (_losses(one.block, lab, part) for part in (members, lab.trial.test))
    pairs = inside[:, None] - outside[None, :]
    assert len(inside) == len(one.patients) < len(train)
    assert told == pytest.approx(float(np.mean((pairs < 0) + 0.5 * (pairs == 0))))


def test_nothing_is_told_of_members_where_nobody_holds_everything(lab: Lab) -> None:
    one = lab.train("one")

    assert members_told(one.block, one.patients.keep([]), lab=lab) is None


def _losses(model: LegoBlock, lab: Lab, cohort: Cohort) -> np.ndarray:
    logits, outcomes = predict_logits(model, cohort)
    return np.array([float(lab.task.loss(logits[[row]], outcomes[[row]])) for row in range(len(logits))])


def _said(block: LegoBlock, lab: Lab) -> Tensor:
    return lab.said(block)
