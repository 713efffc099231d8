"""The studies of the domain and of the common start."""

from dataclasses import replace
from itertools import combinations
from typing import cast

import pytest
import torch
from study_runs import NAMES, PLACE, finished
from torch import Tensor

from lego_core.block import LegoBlock
from lego_core.training import Epoch, Trainer
from simulations.benchmarks.studies import Arm, Lab
from simulations.benchmarks.studies.domain import FREQUENCY, DomainStudy
from simulations.benchmarks.studies.start import COMMON, Start, own_starts, seed_phase


def test_domains_differ_in_the_latent_contract_alone() -> None:
    run, results = finished("domain")
    said = {one.arm: one.what for step in run.study.steps() for one in run.notebook.read(PLACE, step)}

    assert len({arm.condition for arm in said}) == 3
    in_frequency, dropped, signal = (
        cast(Tensor, said[Arm(condition, "ensemble")])
        for condition in dict.fromkeys(a.condition for a in said)
    )
    assert not torch.allclose(in_frequency, dropped)
    assert not torch.allclose(in_frequency, signal)
    assert results.conditions[0] == FREQUENCY


def test_the_plans_own_domain_does_not_change_the_study(lab: Lab) -> None:
    elsewhere = lab.with_latent(lab.plan.latent.model_copy(update={"domain": "signal", "phase": "dropped"}))

    ours, theirs = (list(DomainStudy().steps()[FREQUENCY](one)) for one in (lab, elsewhere))

    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(cast(Tensor, one.what), cast(Tensor, other.what))


def test_a_seed_phase_leaves_equal_trunks_and_none_leaves_the_common_start(lab: Lab) -> None:
    start = lab.untrained("one").trunk.state_dict()
    without, after = seed_phase(lab, 0), seed_phase(lab, 2)

    for name, tensor in start.items():
        assert all(torch.equal(block.trunk.state_dict()[name], tensor) for block in without)
        moved = [block.trunk.state_dict()[name] for block in after]
        assert all(torch.equal(one, moved[0]) for one in moved)
    assert not torch.equal(after[0].trunk.latent, start["latent"])


def test_one_seed_round_moves_the_trunk_by_the_mean_weighted_by_patients(lab: Lab) -> None:
    start = lab.untrained("one").trunk.state_dict()
    alone: list[tuple[Tensor, int]] = []
    for modality in NAMES:
        only = replace(
            lab, plan=lab.plan.model_copy(update={"modalities": {modality: lab.plan.modalities[modality]}})
        )
        patients = lab.dealt(lab.trial.train, modality)
        lonely = replace(only, trial=replace(only.trial, train=patients))
        alone.append((seed_phase(lonely, 1)[0].trunk.latent, len(patients)))

    expected = sum(latent * size for latent, size in alone) / sum(size for _, size in alone)

    assert torch.allclose(seed_phase(lab, 1)[0].trunk.latent, cast(Tensor, expected), atol=1e-6)
    assert not torch.allclose(start["latent"], cast(Tensor, expected), atol=1e-6)


def test_own_starts_are_apart_in_the_trunk_alone(lab: Lab) -> None:
    own, common = own_starts(lab), [lab.untrained(modality) for modality in lab.modalities]

    latents = [block.trunk.latent for block in (*own, common[0])]
    assert not any(torch.equal(one, other) for one, other in combinations(latents, 2))
    for block, counterpart in zip(own, common, strict=True):
        for name, tensor in counterpart.encoder.state_dict().items():
            assert torch.equal(block.encoder.state_dict()[name], tensor)


@pytest.mark.parametrize(("epochs", "local_epochs"), [(2, 1), (25, 3), (6, 2)])
def test_all_conditions_train_as_many_epochs_as_the_plan_says(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, epochs: int, local_epochs: int
) -> None:
    plan = lab.plan
    longer = {
        "training": plan.training.model_copy(update={"epochs": epochs}),
        "rounds": plan.rounds.model_copy(update={"local_epochs": local_epochs}),
    }
    passes: dict[str, int] = {}

    def counted(self: Trainer, *_args: object, seed: int, on_epoch: object = None) -> list[Epoch]:
        modality = cast(LegoBlock, self.model).modality
        passes[modality] = passes.get(modality, 0) + self.settings.epochs
        return []

    monkeypatch.setattr(Trainer, "fit", counted)
    fitting = 0
    for step in Start().steps().values():
        passes.clear()
        measured = list(step(replace(lab, plan=plan.model_copy(update=longer))))
        assert passes == (dict.fromkeys(NAMES, epochs) if measured else {})
        fitting += bool(measured)

    # own start and the common start; then the lengths of 1, 2, 4, 8 rounds that leave an epoch
    assert fitting == 2 + sum(rounds * local_epochs < epochs for rounds in (1, 2, 4, 8))


def test_a_seed_phase_that_does_not_fit_is_not_compared() -> None:
    _, results = finished("start")  # with 2 epochs, of which 1 seed round takes 1

    assert results.conditions == ["own start", COMMON, "1 seed round"]
    assert [one.where for one in results.comparisons if one.than == "that without"] == ["with 1 seed round"]
