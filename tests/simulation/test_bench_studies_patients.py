"""The studies of how many patients a modality has, shares with others, or brings paired."""

from dataclasses import replace
from typing import cast

import numpy as np
import torch
from study_runs import NAMES
from torch import Tensor

from lego_core.fuse import LegoFuse
from simulations.benchmarks.protocol import in_even_order, unpaired
from simulations.benchmarks.studies import Arm, Lab
from simulations.benchmarks.studies.imbalance import FEWEST_PATIENTS, Imbalance, fewer
from simulations.benchmarks.studies.overlap import overlapping
from simulations.benchmarks.studies.paired import Paired, groups


def test_an_overlap_keeps_numbers_and_shares_what_it_says(lab: Lab) -> None:
    before: set[str] = set()
    for share in (0.0, 0.25, 0.5, 1.0):
        ids = {name: [r.patient_id for r in own.records] for name, own in overlapping(lab, share).items()}
        sizes = {len(own) for own in ids.values()}
        common = set.intersection(*(set(own) for own in ids.values()))

        (each,) = sizes
        assert each == len(lab.trial.train) // 3
        assert all(len(set(own)) == each for own in ids.values())
        assert len(common) == round(share * each)
        assert len(set().union(*ids.values())) == len(common) + 3 * (each - len(common))
        assert before <= common
        before = common


def test_an_overlap_is_of_training_patients_only(lab: Lab) -> None:
    train = {record.patient_id for record in lab.trial.train.records}

    assert all({r.patient_id for r in own.records} <= train for own in overlapping(lab, 0.5).values())


def test_every_beginning_of_an_even_order_has_the_strata_in_proportion(lab: Lab) -> None:
    cohort = lab.trial.train
    ordered = in_even_order(cohort, task=lab.task, seed=1)
    strata = lab.task.strata(ordered.batch().outcomes).numpy()

    assert sorted(r.patient_id for r in ordered.records) == sorted(r.patient_id for r in cohort.records)
    for stop in (10, 25, 60):
        for stratum in np.unique(strata):
            expected = stop * (strata == stratum).mean()
            assert abs((strata[:stop] == stratum).sum() - expected) <= 1.5


def test_a_scarce_modality_keeps_its_part_and_smaller_groups_are_inside_larger_ones(lab: Lab) -> None:
    own = lab.dealt(lab.trial.train, "one")
    half, fifth = (fewer(own, ratio, lab=lab) for ratio in (2, 5))

    assert (len(half), len(fifth)) == (round(len(own) / 2), round(len(own) / 5))
    ids = [{r.patient_id for r in part.records} for part in (fifth, half, own)]
    assert ids[0] < ids[1] < ids[2]


def test_ratios_that_leave_too_few_patients_are_left_out(lab: Lab) -> None:
    study = Imbalance(ratios=(1, 2, 50))
    left = len(lab.dealt(lab.trial.train, "one"))

    arms = [one.arm for one in study.steps()["every ratio"](lab)]

    assert left / 2 >= FEWEST_PATIENTS > left / 50
    assert {arm.condition for arm in arms} == {f"{name} 1:{ratio}" for name in NAMES for ratio in (1, 2)}
    assert {one.where for one in study.comparisons(arms)} == {"at 1:1", "at 1:2"}


def test_groups_of_paired_patients_are_inside_one_another_and_end_with_everybody(lab: Lab) -> None:
    found = groups(lab, (0, 10, 25, 10_000))

    ids = [{r.patient_id for r in group.records} for group in found.values()]
    assert list(found) == ["0", "10", "25", "all"]
    assert [len(own) for own in ids] == [0, 10, 25, len(lab.trial.train)]
    assert ids[0] < ids[1] < ids[2] < ids[3]
    assert ids[3] <= {r.patient_id for r in lab.trial.train.records}


def test_only_patients_with_several_modalities_are_paired(lab: Lab) -> None:
    train = lab.trial.train
    alone = unpaired(train, task=lab.task, seed=0).records
    lab = replace(lab, trial=replace(lab.trial, train=train.keep((*train.records[:12], *alone[12:]))))

    assert {name: len(group) for name, group in groups(lab, (0, 10, 25)).items()} == {
        "0": 0,
        "10": 10,
        "all": 12,
    }


def test_without_paired_patients_fuse_is_untrained_and_nothing_is_trained_end_to_end(lab: Lab) -> None:
    said = {one.arm: one.what for one in Paired(numbers=(0,)).steps()["every number"](lab)}
    team = [lab.train(modality) for modality in lab.modalities]
    untrained = LegoFuse([one.block for one in team], order="weave")

    assert Arm("0", "late-concat") not in said
    assert Arm("all", "late-concat") in said
    assert torch.equal(cast(Tensor, said[Arm("0", "fuse, weave")]), lab.said(untrained))
    assert not torch.equal(cast(Tensor, said[Arm("all", "fuse, weave")]), lab.said(untrained))


def test_at_depth_one_both_orders_of_fuse_are_one(lab: Lab) -> None:
    shallow = lab.with_latent(lab.plan.latent.model_copy(update={"depth": 1}))

    methods = {one.arm.method for one in Paired(numbers=(0,)).steps()["every number"](shallow)}

    assert methods == {"merge", "fuse, stack", "late-concat"}
