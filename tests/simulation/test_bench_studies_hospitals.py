"""The study of real hospitals: a federation, its sites, and each of them alone."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from study_runs import NAMES, ids_of

from lego_core.errors import DataError
from lego_core.records import Cohort
from lego_core.statistics import FeatureStatistics
from lego_core.training import Trainer
from simulations.benchmarks.studies import Lab, Trained
from simulations.benchmarks.studies._federation import federated
from simulations.benchmarks.studies.hospitals import Hospitals, sites


def at_hospitals(cohort: Cohort, sizes: Sequence[int]) -> Cohort:
    names = [f"h{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return cohort.keep(replace(r, hospital=name) for r, name in zip(cohort.records, names, strict=False))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([3, 12, 4, 20, 5, 2], [20, 12, 14]),  # 5 + 4 + 3, and the 2 that are left over join them
        ([12, 4], [16]),
        ([4, 3], [7]),
        ([10, 10], [10, 10]),
    ],
)
def test_sites_are_whole_hospitals_and_every_patient_is_at_one(
    lab: Lab, sizes: list[int], expected: list[int]
) -> None:
    cohort = at_hospitals(lab.trial.train, sizes)

    dealt = sites(cohort, smallest=10)

    assert [len(site) for site in dealt] == expected
    assert sum(len(site) for site in dealt) == len(set().union(*map(ids_of, dealt))) == len(cohort)
    homes = [{record.hospital for record in site.records} for site in dealt]
    assert not any(one & other for one, other in combinations(homes, 2))


def test_patients_without_a_hospital_cannot_be_dealt_to_hospitals(lab: Lab) -> None:
    first, *others = lab.trial.train.records
    nowhere = lab.trial.train.keep([replace(first, hospital=None), *others])

    with pytest.raises(DataError, match=r"1 of \d+ patients have no hospital"):
        sites(nowhere, smallest=10)


def unjudged(lab: Lab) -> Lab:
    """The same trial without validation patients, so that the last round is kept."""
    return replace(lab, trial=replace(lab.trial, validation=lab.trial.validation.keep(())))


def test_a_federation_of_one_site_trains_as_this_site_does(lab: Lab) -> None:
    lab = unjudged(lab)
    train = lab.trial.train.only("one").marked("train")
    own = lab.untrained("one")
    own.normalise_with(FeatureStatistics.of(train, "one").normalisation())
    settings = lab.plan.training.model_copy(update={"epochs": 1})
    Trainer(own, task=lab.task, settings=settings).fit(train, seed=lab.trial.seed + 1)

    together = federated(lab, "one", [lab.trial.train], rounds=1).block

    for name, tensor in own.state_dict().items():
        assert torch.allclose(together.state_dict()[name], tensor, atol=1e-6)


def test_a_round_moves_the_block_by_the_mean_weighted_by_patients(lab: Lab) -> None:
    lab = unjudged(lab)
    train = lab.trial.train
    few, many = train.keep(train.records[:20]), train.keep(train.records[20:])
    statistics = FeatureStatistics.of(train, "two").normalisation()
    latents = []
    for site in (few, many):
        block = lab.untrained("two")
        block.normalise_with(statistics)
        settings = lab.plan.training.model_copy(update={"epochs": 1})
        Trainer(block, task=lab.task, settings=settings).fit(
            site.only("two").marked("train"), seed=lab.trial.seed + 1
        )
        latents.append(block.trunk.latent.detach() * len(site) / len(train))

    together = federated(lab, "two", [few, many], rounds=1)

    assert torch.allclose(together.block.feature_mean, statistics.mean, atol=1e-5)
    assert torch.allclose(together.block.trunk.latent, latents[0] + latents[1], atol=1e-5)
    assert ids_of(together.patients) == ids_of(train)


def test_a_federation_keeps_its_best_round(lab: Lab) -> None:
    validation = lab.trial.validation.only("one").batch()
    dealt = sites(lab.trial.train, smallest=10)
    reached = []
    for rounds in (1, 2, 3, 4, 5):
        block = federated(lab, "one", dealt, rounds=rounds).block
        with torch.no_grad():
            reached.append(float(lab.task.loss(block(validation.inputs["one"]), validation.outcomes)))

    assert reached == sorted(reached, reverse=True)
    assert reached[-1] < reached[0]


def test_a_federation_keeps_its_last_round_where_the_plan_does(lab: Lab) -> None:
    patience = lab.plan.rounds.model_copy(update={"patience": 1})
    only_worse = lab.plan.training.model_copy(update={"learning_rate": 10.0})
    best = replace(lab, plan=lab.plan.model_copy(update={"training": only_worse, "rounds": patience}))
    to_the_end = {"training": only_worse.model_copy(update={"keep": "last"})}
    last = replace(best, plan=best.plan.model_copy(update=to_the_end))
    nobody_judges = unjudged(replace(lab, plan=lab.plan.model_copy(update=to_the_end)))

    kept_last, expected, kept_best = (
        federated(one, "one", [lab.trial.train], rounds=4).block for one in (last, nobody_judges, best)
    )

    assert torch.equal(kept_last.trunk.latent, expected.trunk.latent)
    assert not torch.equal(kept_best.trunk.latent, expected.trunk.latent)


def test_a_hospital_alone_trains_and_stops_by_its_own_patients_and_is_tested_on_all(lab: Lab) -> None:
    asked: list[tuple[str, Cohort, Cohort, int]] = []
    train = Lab.train

    def watched(self: Lab, modality: str, *, patients: Cohort, validation: Cohort) -> Trained:
        asked.append((modality, patients, validation, len(self.trial.test)))
        return train(self, modality, patients=patients, validation=validation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lab, "train", watched)
        arms = [one.arm for one in Hospitals(at_most=1).steps()["alone"](lab)]

    (hospital,) = {record.hospital for _, own, _, _ in asked for record in own.records}
    for _, own, validation, tested in asked:
        assert ids_of(own) == {r.patient_id for r in lab.trial.train.records if r.hospital == hospital}
        assert ids_of(validation) == {
            r.patient_id for r in lab.trial.validation.records if r.hospital == hospital
        }
        assert tested == len(lab.trial.test)
    assert {arm.method for arm in arms} == {f"alone: {hospital}"}
    assert [modality for modality, *_ in asked] == NAMES
