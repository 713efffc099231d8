"""The study of what latents lose when they are merged."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from study_runs import NAMES, finished
from torch import Tensor

from lego_core.errors import DataError
from lego_core.evaluation import score
from simulations.benchmarks.protocol import unpaired
from simulations.benchmarks.studies import Lab
from simulations.benchmarks.studies.interference import RULES, latents, likeness, survival


def merged_by(rule: str, parts: Tensor) -> Tensor:
    return RULES[rule].combine(parts, torch.full(parts.shape[:2], 1 / len(parts)))


@pytest.mark.parametrize("rule", list(RULES))
def test_of_equal_latents_everything_survives(rule: str) -> None:
    latent = torch.randn(5, 2, 4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    parts = torch.stack([latent, latent, latent])

    found = survival(merged_by(rule, parts), parts)

    assert found == {
        "cosine": pytest.approx(1, abs=1e-5),
        "correlation": pytest.approx(1, abs=1e-5),
        "length kept": pytest.approx(1, abs=1e-5),
        "cancelled": 0.0,
    }


@pytest.mark.parametrize("rule", ["mean", "harmonic"])
def test_opposite_latents_cancel(rule: str) -> None:
    latent = torch.randn(5, 2, 4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    parts = torch.stack([latent, -latent])

    assert survival(merged_by(rule, parts), parts) == {
        "cosine": 0.0,
        "correlation": 0.0,
        "length kept": 0.0,
        "cancelled": 1.0,
    }


@pytest.mark.parametrize("count", [2, 4])
def test_a_mean_of_unrelated_latents_keeps_one_over_the_root_of_their_number(count: int) -> None:
    parts = torch.zeros(count, 6, 1, count, dtype=torch.complex64)
    for block in range(count):  # each has an element of its own
        parts[block, :, 0, block] = torch.tensor([1.0, -1.0] * 3)

    found = survival(merged_by("mean", parts), parts)
    lost = survival(merged_by("harmonic", parts), parts)

    for quantity in ("cosine", "correlation", "length kept"):
        assert found[quantity] == pytest.approx(count**-0.5)
    assert lost["length kept"] == 0  # a block that says nothing leaves nothing of the others


def test_of_two_magnitudes_in_one_direction_the_harmonic_mean_keeps_less() -> None:
    parts = torch.tensor([1.0, 3.0], dtype=torch.complex64)[:, None, None, None].expand(2, 4, 1, 2)

    kept = [survival(merged_by(rule, parts), parts)["length kept"] for rule in ("mean", "harmonic")]

    assert kept == [pytest.approx(1), pytest.approx(1.5 / 2)]


def test_likeness_is_the_cosine_of_each_patient_and_the_correlation_over_all() -> None:
    chance = np.random.default_rng(0)
    one, other = (chance.normal(size=(1, 7, 2, 3)) + 5 for _ in range(2))
    rows = [(a.ravel(), b.ravel()) for a, b in zip(one[0], other[0], strict=True)]
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in rows]
    apart = [latent[0] - latent[0].mean(axis=0) for latent in (one, other)]

    found = likeness(*(torch.from_numpy(latent).to(torch.complex64) for latent in (one, other)))

    assert found["cosine"] == pytest.approx(np.mean(cosines), abs=1e-5)
    expected = np.corrcoef(apart[0].ravel(), apart[1].ravel())[0, 1]
    assert found["correlation"] == pytest.approx(expected, abs=1e-5)
    assert found["cosine"] > 0.9 > abs(found["correlation"])  # what all patients share is no signal


def test_what_all_pairs_have_in_common_is_what_blocks_have_in_common() -> None:
    _, results = finished("interference")

    by_pairs = results.row("2", "block to block, before the merge: cosine")
    by_all = results.row("3", "block to block, before the merge: cosine")
    assert by_pairs is not None
    assert by_all is not None
    assert by_pairs.mean == pytest.approx(by_all.mean)
    assert results.row("2", "block to block, before the merge: length kept") is None


def test_latents_need_patients_who_hold_everything(lab: Lab) -> None:
    alone = unpaired(lab.trial.test, task=lab.task, seed=0)
    nobody = replace(lab, trial=replace(lab.trial, test=alone))

    with pytest.raises(DataError, match=r"0 of \d+ test patients hold all of"):
        latents(nobody, [lab.train(modality) for modality in NAMES])


def test_a_study_weighs_modalities_by_validation_if_the_plan_does(lab: Lab) -> None:
    team = [lab.train(modality, epochs=2) for modality in NAMES]
    merging = lab.plan.merging.model_copy(update={"modality_weights": "validation"})
    scores = {
        one.modality: score(one.block, lab.trial.validation.only(one.modality), task=lab.task).value
        for one in team
    }

    weights = lab.merged(team, merging=merging).modality_weights

    assert len(set(weights.values())) > 1
    assert weights == pytest.approx({name: max(value - 0.5, 0) + 0.1 for name, value in scores.items()})
