"""The whole way: offers, agreement, rounds, merge, fuse, evaluation, bundle."""

import shutil
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import torch
from faults import scoring, worse_every_round
from listening import Overheard
from rehearsal import Rehearsal, Run
from tiny_plans import clinics_only, group, patients_of, tiny_plan, with_survival

from lego_core.assemble import build_block
from lego_core.bundle import ModelBundle
from lego_core.evaluation import evaluate, subsets
from lego_core.exchangeable import exchanged
from lego_core.letters import Letter
from lego_core.plan import RunPlan
from lego_core.protocol import AskFuseUpdate, Outcomes, SiteReport, Update
from lego_core.records import Cohort
from lego_core.statistics import FeatureStatistics
from lego_core.tasks import Survival
from lego_core.training import Trainer

MODALITIES = ("clinical", "blood", "scan")
SITES = ("clinic-1", "clinic-2", "lab", "imaging-1", "imaging-2", "teaching", "district")
LAB, TEACHING, DISTRICT = 2, 5, 6

THREE_MODALITIES = """
name = "three-modalities"
[fuse]
rounds = 1
[modalities.scan.encoder]
kind = "tabular"
token-dim = 4
hidden-dims = [4]
[simulation.data.modalities.scan]
layout = "table"
features = 2
"""
HOSPITALS = patients_of(
    group("clinic", "clinical", hospitals=2, split=(0.6, 0.1, 0.3)),
    group("lab", "blood"),
    group("imaging", "scan", hospitals=2),
    group("teaching", *MODALITIES, split=(0.4, 0.2, 0.4)),
    group("district", "clinical", "blood", split=(0.4, 0.2, 0.4)),
    patients=330,
)


@pytest.fixture(scope="module")
def whole(run: Run) -> Rehearsal:
    return run(with_survival(tiny_plan(THREE_MODALITIES + HOSPITALS), num_bins=3))


def together(cohorts: list[Cohort]) -> Cohort:
    return Cohort(tuple(record for cohort in cohorts for record in cohort.records), cohorts[0].schemas)


# ---- the whole way -----------------------------------------------------------------------------


def test_run_goes_the_whole_way(whole: Rehearsal) -> None:
    waits = {"asked", "heard", "waiting"}
    events = [event["event"] for event in whole.events if event["event"] not in waits]

    assert whole.error is None
    assert whole.report.status == "complete"
    assert not whole.report.left_out
    assert [name for name, after in pairwise([*events, ""]) if name != after] == [
        "run-started", "phase-started", "offer", "phase-started", "agreed", "phase-started",
        "round-started", "answered", "round-finished", "round-started", "answered", "round-finished",
        "block-finished", "phase-started", "merged", "phase-started", "round-started", "answered",
        "round-finished", "block-finished", "phase-started", "round-started", "evaluated",
        "recommended", "finished",
    ]  # fmt: skip


def test_all_groups_train_in_the_same_round(whole: Rehearsal) -> None:
    for number in (1, 2):
        of_round = [one for one in whole.report.rounds if (one.phase, one.round) == ("blocks", number)]

        assert {one.modality: one.asked for one in of_round} == {
            "clinical": ("clinic-1", "clinic-2"),
            "blood": ("lab",),
            "scan": ("imaging-1", "imaging-2"),
        }
        assert all(one.answered == one.asked for one in of_round)


def test_no_patient_with_several_modalities_trains_a_block(whole: Rehearsal) -> None:
    trained = {one.site for one in whole.report.learning if one.phase == "blocks"}

    assert trained == set(SITES) - {"teaching", "district"}


def test_sites_with_paired_patients_train_blocks_where_the_plan_says_so(run: Run) -> None:
    ended = run(tiny_plan("[rounds]\nrounds = 1\npaired-sites-train-blocks = true"))

    assert {one.modality: one.answered for one in ended.report.rounds} == {
        "clinical": ("clinic-1", "clinic-2", "teaching"),
        "blood": ("lab", "teaching"),
    }


def test_report_tells_of_every_site_what_it_holds(whole: Rehearsal) -> None:
    held = {one.site: set(one.patients) for one in whole.report.sites}

    assert held == {
        "clinic-1": {"clinical"}, "clinic-2": {"clinical"}, "lab": {"blood"}, "imaging-1": {"scan"},
        "imaging-2": {"scan"}, "teaching": set(MODALITIES), "district": {"clinical", "blood"},
    }  # fmt: skip
    assert {one.site for one in whole.report.sites if one.paired_patients} == {"teaching", "district"}


def test_learning_curve_has_a_point_for_every_site_and_round(whole: Rehearsal) -> None:
    points = [(one.phase, one.round, one.site) for one in whole.report.learning]

    assert len(points) == len(set(points)) == 2 * 5 + 2
    assert all(one.train_loss is not None for one in whole.report.learning)


def test_mergeability_is_told_for_every_pair_of_blocks(whole: Rehearsal) -> None:
    pairs = [(one.first, one.second) for one in whole.report.mergeability]

    assert pairs == list(combinations(MODALITIES, 2))


def test_page_and_bundle_are_handed_over(whole: Rehearsal) -> None:
    names = {path.name for path in (whole.output / "bundle").iterdir()}

    assert names == {"weights.safetensors", "manifest.json", "report.json", "card.md"}
    assert "three-modalities" in (whole.output / "report.html").read_text()


def test_bundle_predicts_for_a_patient_with_any_modality(whole: Rehearsal) -> None:
    bundle = ModelBundle.load(whole.output / "bundle")
    teaching = whole.patients(TEACHING)

    for subset in subsets(MODALITIES):
        curves = bundle.predict(teaching.only(*subset))

        assert curves.shape == (len(teaching), 3)
        assert ((curves >= 0) & (curves <= 1)).all()


# ---- agreement ----------------------------------------------------------------------------------


def test_federated_normalisation_is_that_of_all_patients_together(whole: Rehearsal) -> None:
    trainers = {"clinical": (0, 1), "blood": (LAB,), "scan": (3, 4)}

    for modality, numbers in trainers.items():
        pooled = together([whole.patients(number) for number in numbers])
        expected = FeatureStatistics.of(pooled, modality).normalisation()
        block = whole.merged.blocks[modality]

        torch.testing.assert_close(block.feature_mean, expected.mean)
        torch.testing.assert_close(block.feature_stddev, expected.stddev)


def test_federated_time_bins_are_those_of_all_patients_together(whole: Rehearsal) -> None:
    task = Survival(num_bins=3)
    cohorts = [whole.patients(number) for number in range(5)]
    pooled = sum((task.summarise(cohort) for cohort in cohorts[1:]), start=task.summarise(cohorts[0]))

    assert whole.report.bin_edges_days == task.agree(pooled).bin_edges_days


def test_outcomes_are_counted_once_per_site(run: Run) -> None:
    ended = run(tiny_plan("[rounds]\nrounds = 1\npaired-sites-train-blocks = true"))

    counted = [one.site for one in ended.answered(Outcomes)]
    assert sorted(counted) == [0, 1, 2, 3]


# ---- rounds --------------------------------------------------------------------------------------


def test_one_site_group_learns_what_the_site_alone_would_learn(whole: Rehearsal) -> None:
    plan, agreement, patients = whole.plan, whole.bundle.agreement, whole.patients(LAB)
    block = build_block(plan, agreement, "blood")
    block.normalise_with(FeatureStatistics.of(patients, "blood").normalisation())
    settings = plan.training.model_copy(update={"epochs": plan.rounds.local_epochs})
    trainer = Trainer(block, task=agreement.task, settings=settings, device="cpu")

    trainer.fit(patients.part("train"), seed=plan.seed * 10_000 + 1)

    federated = whole.checkpoint(1, "blood")
    for name, tensor in block.state_dict().items():
        torch.testing.assert_close(federated[name], tensor, rtol=1e-5, atol=1e-6)


def test_seed_phase_moves_all_trunks_together(run: Run) -> None:
    ended = run(tiny_plan("[rounds]\nrounds = 2\nseed-rounds = 1"))

    start = build_block(ended.plan, ended.bundle.agreement, "blood").state_dict()
    seeded = [ended.checkpoint(1, name) for name in ("clinical", "blood")]
    apart = [ended.checkpoint(2, name) for name in ("clinical", "blood")]
    trunk = [name for name in start if name.startswith("trunk.")]
    assert all(torch.equal(seeded[0][name], seeded[1][name]) for name in trunk)
    assert any(not torch.equal(seeded[1][name], start[name]) for name in trunk)
    assert any(not torch.equal(apart[0][name], apart[1][name]) for name in trunk)


def test_seed_phase_goes_the_mean_way_of_the_sites_of_all_modalities(run: Run) -> None:
    ended = run(tiny_plan("[rounds]\nrounds = 1\nseed-rounds = 1"))

    letters = [sent.letter for sent in ended.answered(Update)]
    weights = torch.tensor([Update.read(letter).weight for letter in letters])
    start = build_block(ended.plan, ended.bundle.agreement, "blood").state_dict()["trunk.latent"]
    ways = torch.stack([letter.tensors["trunk.latent"] for letter in letters])
    mean = torch.einsum("s,s...->...", weights / weights.sum(), ways)
    assert len(letters) == 3
    torch.testing.assert_close(ended.checkpoint(1, "blood")["trunk.latent"], start + mean)


def test_run_that_only_gets_worse_keeps_the_end_of_its_seed_phase(run: Run) -> None:
    ended = run(tiny_plan("[rounds]\nrounds = 3\nseed-rounds = 2"), worse_every_round)

    assert ended.report.kept_rounds == {"clinical": 2, "blood": 2}
    clinical, blood = (ended.merged.blocks[name] for name in ("clinical", "blood"))
    torch.testing.assert_close(clinical.state_dict(), ended.checkpoint(2, "clinical"))
    for name, tensor in clinical.trunk.state_dict().items():
        assert torch.equal(tensor, blood.trunk.state_dict()[name])


def test_without_a_seed_phase_trunks_part_at_once(whole: Rehearsal) -> None:
    clinical, blood = (whole.checkpoint(1, name) for name in ("clinical", "blood"))

    assert not torch.equal(clinical["trunk.latent"], blood["trunk.latent"])


@pytest.fixture(scope="module")
def one_shot(run: Run) -> Rehearsal:
    return run(tiny_plan('[rounds]\nmode = "one-shot"\n[training]\nepochs = 6'))


def test_one_shot_has_one_update_from_each_site(one_shot: Rehearsal) -> None:
    assert sorted(one.site for one in one_shot.answered(Update)) == [0, 1, 2]


def test_one_shot_trains_to_the_end(one_shot: Rehearsal) -> None:
    for sent in one_shot.answered(Update):
        assert len(Update.read(sent.letter).progress.train_losses) > 1


def test_one_shot_stops_early_where_validation_patients_say_so(run: Run) -> None:
    changes = "[training]\nepochs = 60\npatience = 1\nlearning-rate = 0.3"
    ended = run(tiny_plan(f'[rounds]\nmode = "one-shot"\n{changes}'))

    epochs = [len(Update.read(sent.letter).progress.train_losses) for sent in ended.answered(Update)]
    assert len(epochs) == 3
    assert max(epochs) < 60


def test_one_shot_ends_with_what_was_trained(one_shot: Rehearsal) -> None:
    blocks = one_shot.merged.blocks
    assert one_shot.report.kept_rounds == {"clinical": 1, "blood": 1}
    for name in ("clinical", "blood"):
        torch.testing.assert_close(blocks[name].state_dict(), one_shot.checkpoint(1, name))
        start = build_block(one_shot.plan, one_shot.bundle.agreement, name).state_dict()
        assert not torch.equal(blocks[name].trunk.latent, start["trunk.latent"])


def clinics_with(aggregation: str) -> RunPlan:
    return clinics_only(
        f"[rounds]\nrounds = 2\nlocal-epochs = 3\n[aggregation]\n{aggregation}", hospitals=5, patients=150
    )


AGGREGATIONS = {
    "fedavg": 'kind = "fedavg"',
    "fedprox": 'kind = "fedprox"\nstrength = 10.0',
    "fedadam": 'kind = "fedadam"',
    "trimmed-mean": 'kind = "trimmed-mean"',
    "median": 'kind = "median"',
}


Aggregated = dict[str, Rehearsal]


@pytest.fixture(scope="module")
def aggregated(run: Run) -> Aggregated:
    """A run with each aggregation."""
    return {name: run(clinics_with(aggregation)) for name, aggregation in AGGREGATIONS.items()}


def first_updates(ended: Rehearsal) -> list[Letter]:
    """What the five clinics sent in the first round."""
    return [sent.letter for sent in ended.answered(Update)[:5]]


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_every_aggregation_trains(aggregated: Aggregated, name: str) -> None:
    ended = aggregated[name]
    start = build_block(ended.plan, ended.bundle.agreement, "clinical")
    trained = ended.checkpoint(1, "clinical")
    assert ended.report.status == "complete"
    unmoved = {key for key, tensor in exchanged(start).items() if torch.equal(trained[key], tensor)}
    assert unmoved == {"encoder.absent.weight"}  # these tables have no gaps to learn from


def test_every_aggregation_goes_its_own_way(aggregated: Aggregated) -> None:
    ends = [
        tuple(ended.checkpoint(1, "clinical")["trunk.latent"].flatten().tolist())
        for ended in aggregated.values()
    ]

    assert len(set(ends)) == len(AGGREGATIONS)


def test_fedavg_goes_the_mean_way_of_the_sites_weighted_by_patients(aggregated: Aggregated) -> None:
    ended = aggregated["fedavg"]
    letters = first_updates(ended)
    weights = torch.tensor([Update.read(letter).weight for letter in letters])
    start = exchanged(build_block(ended.plan, ended.bundle.agreement, "clinical"))
    after = ended.checkpoint(1, "clinical")

    for name, tensor in start.items():
        ways = torch.stack([letter.tensors[name] for letter in letters])
        mean = torch.einsum("s,s...->...", weights / weights.sum(), ways)
        torch.testing.assert_close(after[name], tensor + mean)


def test_trimmed_mean_goes_the_mean_way_of_the_middle_sites(aggregated: Aggregated) -> None:
    ended = aggregated["trimmed-mean"]
    letters = first_updates(ended)
    start = exchanged(build_block(ended.plan, ended.bundle.agreement, "clinical"))
    after = ended.checkpoint(1, "clinical")

    for name, tensor in start.items():
        ways = torch.stack([letter.tensors[name] for letter in letters]).sort(dim=0).values
        torch.testing.assert_close(after[name], tensor + ways[1:4].mean(dim=0))


def test_fedprox_keeps_sites_near_the_start(aggregated: Aggregated) -> None:
    def way_gone(ended: Rehearsal) -> float:
        ways = [
            torch.cat([way.flatten() for way in letter.tensors.values()]) for letter in first_updates(ended)
        ]
        return float(torch.stack(ways).norm(dim=1).sum())

    free, held = (way_gone(aggregated[name]) for name in ("fedavg", "fedprox"))

    assert held < free


def test_trimmed_mean_with_too_few_sites_is_told(run: Run) -> None:
    ended = run(clinics_only('[aggregation]\nkind = "trimmed-mean"', hospitals=2, patients=60))

    assert ended.error is not None
    assert "With 2 sites and trim-fraction 0.2 no site would be left out" in ended.report.reason


def test_round_with_the_least_federated_validation_loss_is_kept(run: Run) -> None:
    ended = run(tiny_plan("[rounds]\nrounds = 2\n[training]\nlearning-rate = 0.01"))

    for name, block in ended.merged.blocks.items():
        kept = ended.report.kept_rounds[name]
        losses = [one.validation_loss for one in ended.report.rounds if one.modality == name]
        assert losses[1] < losses[0]
        assert kept in (1, 2)
        torch.testing.assert_close(block.state_dict(), ended.checkpoint(kept, name))


@pytest.fixture(scope="module")
def spoilt(run: Run) -> Rehearsal:
    """A run whose every step makes things worse."""
    changes = "[rounds]\nrounds = 6\npatience = 1\n[training]\nlearning-rate = 10.0"
    return run(clinics_only(changes, hospitals=2, patients=90))


def test_run_that_only_gets_worse_keeps_its_start(spoilt: Rehearsal) -> None:
    start = build_block(spoilt.plan, spoilt.bundle.agreement, "clinical")
    kept = spoilt.merged.blocks["clinical"]

    assert spoilt.report.kept_rounds == {"clinical": 0}
    assert all(torch.equal(exchanged(kept)[name], tensor) for name, tensor in exchanged(start).items())


def test_block_stops_when_rounds_no_longer_help(spoilt: Rehearsal) -> None:
    assert len(spoilt.report.rounds) == 2


# ---- fuse ----------------------------------------------------------------------------------------


def test_fuse_rounds_ask_the_sites_with_paired_patients(whole: Rehearsal) -> None:
    (fused,) = [one for one in whole.report.rounds if one.phase == "fuse"]

    assert fused.asked == fused.answered == ("district", "teaching")


def test_site_that_lacks_a_modality_fuses_the_others(whole: Rehearsal) -> None:
    questions = [one.letter for one in whole.asked(AskFuseUpdate, site=DISTRICT)]
    (received,) = [letter for letter in questions if not AskFuseUpdate.read(letter).score_only]
    (sent,) = [one.letter for one in fuse_updates(whole) if one.site == DISTRICT]

    assert AskFuseUpdate.read(received).modalities == ("clinical", "blood")
    assert not [name for name in (*received.tensors, *sent.tensors) if "scan" in name]
    assert [name for name in sent.tensors if name.startswith("head.")]


def test_each_part_of_the_fused_model_moves_by_those_who_hold_it(whole: Rehearsal) -> None:
    updates = {one.site: one.letter for one in fuse_updates(whole)}
    weights = {site: Update.read(letter).weight for site, letter in updates.items()}
    before = whole.merged.blocks.state_dict(prefix="blocks.")
    after = whole.checkpoint(1, "fused", phase="fuse")

    for name in updates[TEACHING].tensors.keys() & before.keys():
        holders = [site for site in updates if name in updates[site].tensors]
        total = sum(weights[site] for site in holders)
        way = sum(updates[site].tensors[name] * (weights[site] / total) for site in holders)
        assert holders == ([TEACHING] if "scan" in name else [TEACHING, DISTRICT])
        torch.testing.assert_close(after[name], before[name] + way)


def fuse_updates(ended: Rehearsal) -> list[Overheard]:
    """The updates of the fuse round: in the order of sites, and after all updates of blocks."""
    updates = ended.answered(Update)
    return sorted(updates[-2:], key=lambda one: one.site)


def test_fused_model_is_trained_with_a_learning_rate_of_its_own(run: Run) -> None:
    ended = run(tiny_plan("[rounds]\nrounds = 1\n[fuse]\nrounds = 1\nlearning-rate = 1e-9"))

    before = ended.merged.blocks.state_dict(prefix="blocks.")
    after = ended.checkpoint(1, "fused", phase="fuse")
    assert all(torch.allclose(after[name], before[name], rtol=0, atol=1e-6) for name in before)


def test_only_the_last_fuse_round_ends_with_the_mean_of_the_weights(run: Run) -> None:
    after = {}
    for keep in ("last", "mean"):
        fuse = f'[fuse]\nrounds = 2\nbatch-size = 4\nkeep = "{keep}"'
        ended = run(tiny_plan(f"[rounds]\nrounds = 1\n{fuse}"))
        after[keep] = [ended.checkpoint(number, "fused", phase="fuse") for number in (1, 2)]

    first, second = ([after[keep][number] for keep in after] for number in (0, 1))
    torch.testing.assert_close(first[0], first[1], rtol=0, atol=0)
    assert any(not torch.equal(second[0][name], second[1][name]) for name in second[0])


def test_blocks_stay_as_they_were_when_fused(whole: Rehearsal) -> None:
    blocks = whole.merged.blocks
    for name in MODALITIES:
        kept = whole.report.kept_rounds[name]
        if kept:
            torch.testing.assert_close(blocks[name].state_dict(), whole.checkpoint(kept, name))
    assert any(whole.report.kept_rounds[name] for name in MODALITIES)


# ---- evaluation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("patients", ["complete", "holding"])
def test_every_subset_of_modalities_is_scored_with_every_method(whole: Rehearsal, patients: str) -> None:
    rows = {(row.modalities, row.method) for row in whole.scores(patients=patients)}

    assert rows == {
        (subset, method)
        for subset in subsets(MODALITIES)
        for method in (("block", "fuse") if len(subset) == 1 else ("ensemble", "merge", "fuse"))
    }


def test_complete_patients_are_those_who_have_everything(whole: Rehearsal) -> None:
    count = len(whole.patients(TEACHING).part("test"))

    for row in whole.scores(patients="complete"):
        assert (row.sites, row.count) == (("teaching",), count)


def test_subset_is_scored_at_every_site_that_holds_it(whole: Rehearsal) -> None:
    numbers = {site: number for number, site in enumerate(SITES)}
    expected = {
        ("clinical",): ("clinic-1", "clinic-2", "district", "teaching"),
        ("blood",): ("district", "teaching"),
        ("clinical", "blood"): ("district", "teaching"),
        ("clinical", "scan"): ("teaching",),
    }

    for subset, sites in expected.items():
        for row in whole.scores(patients="holding", modalities=subset):
            held = [len(whole.patients(numbers[site]).part("test").holding(*subset)) for site in sites]
            assert (row.sites, row.count) == (sites, sum(held))


def test_comparable_pairs_are_those_within_sites(whole: Rehearsal) -> None:
    task = whole.bundle.agreement.task
    pairs = 0.0
    for number in (TEACHING, DISTRICT):
        outcomes = whole.patients(number).part("test").batch().outcomes
        pairs += task.score(torch.rand(len(outcomes), 3), outcomes).pairs

    for row in whole.scores(patients="holding", modalities=("clinical", "blood")):
        assert row.pairs == pairs


def test_gain_is_over_the_best_block_by_validation(whole: Rehearsal) -> None:
    (best,) = whole.scores(patients="complete", method="block", modalities=(whole.results.best_block,))
    (merged,) = whole.scores(patients="complete", method="merge", modalities=MODALITIES)

    assert best.gain == 0.0
    assert merged.gain == pytest.approx(merged.value - best.value)
    assert merged.gain_low <= merged.gain <= merged.gain_high  # type: ignore[operator]


@pytest.mark.parametrize("best", ["clinical", "blood"])
def test_best_block_is_the_one_that_ranks_validation_patients_best(run: Run, best: str) -> None:
    scores = {"clinical": 0.2, "blood": 0.2, best: 0.9}

    ended = run(tiny_plan("[rounds]\nrounds = 1"), scoring(scores))

    assert ended.results.best_block == best


def test_a_site_draws_its_resamples_by_its_own_name(whole: Rehearsal) -> None:
    (sent,) = whole.answered(SiteReport, site=TEACHING)
    bundle, plan = whole.bundle, whole.plan

    expected = evaluate(
        bundle.models, whole.patients(TEACHING), task=bundle.agreement.task, site="teaching", seed=plan.seed,
        all_modalities=tuple(bundle.agreement.schemas), bootstrap=plan.evaluation.bootstrap,
    )  # fmt: skip

    assert SiteReport.read(sent.letter).scores == expected.scores


def test_what_the_merge_scores_is_what_the_bundle_predicts(whole: Rehearsal) -> None:
    bundle = whole.bundle
    task, test = bundle.agreement.task, whole.patients(TEACHING).part("test")
    (row,) = whole.scores(patients="complete", method="fuse", modalities=MODALITIES)

    score = task.score(bundle.predict(test), test.batch().outcomes)

    assert row.value == pytest.approx(score.value)


# ---- again ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hash_of_tiny(run: Run) -> str:
    return run(tiny_plan("[fuse]\nrounds = 1")).weights_hash


def test_same_plan_gives_the_same_weights_again(run: Run, hash_of_tiny: str) -> None:
    assert run(tiny_plan("[fuse]\nrounds = 1")).weights_hash == hash_of_tiny


def test_order_of_sites_does_not_matter(run: Run, hash_of_tiny: str) -> None:
    def turn_round(sites: Path) -> None:
        folders = sorted(sites.glob("site-*"))
        for number, folder in enumerate(folders):
            folder.rename(sites / f"moved-{len(folders) - 1 - number}")
        for folder in sites.glob("moved-*"):
            shutil.move(folder, sites / folder.name.replace("moved", "site"))

    ended = run(tiny_plan("[fuse]\nrounds = 1"), prepare=turn_round)

    assert [one.site for one in ended.report.sites] == ["clinic-1", "clinic-2", "lab", "teaching"]
    assert ended.weights_hash == hash_of_tiny


def test_another_seed_gives_other_weights(run: Run, hash_of_tiny: str) -> None:
    assert run(tiny_plan("seed = 4\n[fuse]\nrounds = 1")).weights_hash != hash_of_tiny
