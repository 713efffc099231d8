"""The studies of modalities that are absent, and of those that come later."""

import copy
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from study_runs import NAMES, PLACE, finished
from torch import Tensor

from lego_core.evaluation import score
from lego_core.fuse import LegoFuse
from lego_core.merge import LegoMerge
from lego_core.records import Cohort
from simulations.benchmarks.studies import Arm, Lab
from simulations.benchmarks.studies.absent import subsets
from simulations.benchmarks.studies.later import joined_by, jointly


def test_all_subsets_are_shown_and_one_modality_is_its_block() -> None:
    _, results = finished("absent")

    assert subsets("ab") == [("a",), ("b",), ("a", "b")]
    assert len(results.conditions) == 7
    for name in NAMES:
        means = {row.mean for row in results.rows if row.condition == name}
        assert len({round(mean, 6) for mean in means if mean is not None}) == 1


def test_what_is_not_shown_is_not_seen(lab: Lab) -> None:
    team = [lab.train(modality) for modality in lab.modalities]
    merge = lab.merged(team)

    shown = lab.said(merge, shown=["two", "one"])

    two = LegoMerge([one.block for one in team if one.modality != "three"])
    assert torch.allclose(shown, lab.said(two), atol=1e-6)
    assert not torch.allclose(shown, lab.said(merge))


def test_of_patients_without_the_modality_nothing_is_said(lab: Lab) -> None:
    test = lab.trial.test
    some = test.keep(
        replace(record, modalities={"one": record.modalities["one"]}) if index % 2 else record
        for index, record in enumerate(test.records)
    )
    lab = replace(lab, trial=replace(lab.trial, test=some))
    trained = [lab.train("one"), lab.train("two")]

    said, together = lab.said(trained[1].block), lab.ensemble(trained)

    lacking = torch.arange(len(test)) % 2 == 1
    assert torch.equal(said.isnan().all(dim=1), lacking)
    assert torch.equal(together[lacking], lab.said(trained[0].block)[lacking])
    assert not together.isnan().any()


def test_the_best_block_is_best_on_validation(lab: Lab) -> None:
    team = [lab.train(modality) for modality in lab.modalities]
    values = [score(one.block, lab.trial.validation, task=lab.task).value for one in team]

    assert lab.best_of(team) is team[int(np.argmax(values))]


@pytest.mark.parametrize("newcomer", NAMES)
def test_who_comes_later_changes_no_weight_of_the_others(lab: Lab, newcomer: str) -> None:
    team = [lab.train(modality) for modality in lab.modalities if modality != newcomer]
    before = {one.modality: copy.deepcopy(one.block.state_dict()) for one in team}

    joined = joined_by(lab, team, newcomer)
    merge = lab.merged(joined)
    lab.said(merge)

    assert [one.modality for one in joined] == NAMES
    for modality, state in before.items():
        after = merge.blocks[modality].state_dict()
        assert state.keys() == after.keys()
        assert all(torch.equal(tensor, after[name]) for name, tensor in state.items())


def test_it_does_not_matter_in_which_order_modalities_came() -> None:
    run, results = finished("later")
    lab = Lab(run.benchmark.plan, trial := run.benchmark.trial(PLACE), trial.agreed(run.benchmark.plan.task))
    team = [lab.train("three"), lab.train("one")]
    said = {one.arm: one.what for one in run.notebook.read(PLACE, "one by one")}

    assert torch.equal(cast(Tensor, said[Arm("without two", "merge")]), lab.said(lab.merged(team[::-1])))
    everybody = lab.said(lab.merged(joined_by(lab, team, "two")))
    assert torch.equal(cast(Tensor, said[Arm("all modalities", "merge")]), everybody)
    assert results.conditions == ["without one", "without two", "without three", "all modalities"]


def test_training_jointly_begins_with_the_common_start_and_the_patients_own_normalisation(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[LegoFuse] = []

    def untrained(fused: LegoFuse, train: Cohort, validation: Cohort, **_: object) -> LegoFuse:
        assert (len(train), len(validation)) == (len(lab.trial.train), len(lab.trial.validation))
        shown.append(fused)
        return fused

    monkeypatch.setattr("simulations.benchmarks.studies.later.fit_fused", untrained)
    fused = jointly(lab)

    assert shown == [fused]
    for modality, block in fused.blocks.items():
        start = lab.untrained(modality)
        values = lab.trial.train.batch().inputs[modality].values[:, 0]
        assert torch.allclose(block.feature_mean, values.mean(dim=0), atol=1e-5)
        assert torch.equal(block.trunk.latent, start.trunk.latent)
