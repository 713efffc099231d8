"""Blocks trained over sites under a protection: the plan's rounds, without their letters."""

import copy
from collections.abc import Sequence

import torch

from lego_core.aggregation import FedAvg, ServerState
from lego_core.assemble import Ingredients, build_merge
from lego_core.block import LegoBlock
from lego_core.exchangeable import exchanged
from lego_core.merge import LegoMerge
from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import TrainingSettings
from lego_core.update import BlockUpdate, to_named, to_vector
from simulations.benchmarks.privacy.patients import Patients, deal
from simulations.benchmarks.privacy.protections import AbstractProtection

SITES = 3


def round_settings(patients: Patients, modality: str) -> TrainingSettings:
    """How a site trains in a round: as the plan says, to the last epoch, since nobody judges it."""
    epochs = patients.plan.rounds.local_epochs
    return patients.plan.training_of(modality).model_copy(update={"keep": "last", "epochs": epochs})


def train_block(
    modality: str, members: Cohort, *, patients: Patients, protection: AbstractProtection, seed: int
) -> LegoBlock:
    """Train the block of a modality over three sites, for all of the plan's rounds.

    Args:
        modality: Which one.
        members: Who trains it, in random order; dealt to the sites in turn.
        patients: Tell how blocks are built and trained.
        protection: What the sites do, and what the server sees.
        seed: Decides the order of patients and the dropout.
    """
    block = patients.untrained(modality)
    sites = deal(members.only(modality).marked("train"), SITES)
    settings, state = round_settings(patients, modality), ServerState()
    for number in range(patients.plan.rounds.rounds):
        updates = [
            site_update(
                block, site, task=patients.task, settings=settings, protection=protection,
                seed=seed + number * SITES + place,
            )
            for place, site in enumerate(sites)
        ]  # fmt: skip
        current = exchanged(block)
        moved, state = FedAvg().aggregate(to_vector(current), protection.seen(updates), state=state)
        with torch.no_grad():
            for name, tensor in to_named(moved, current).items():
                current[name].copy_(tensor)
    return block.eval()


def site_update(
    block: LegoBlock,
    site: Cohort,
    *,
    task: Task,
    settings: TrainingSettings,
    protection: AbstractProtection,
    seed: int,
) -> BlockUpdate:
    """What one site has learned in one round; the block stays as it is."""
    own = copy.deepcopy(block)
    protection.train(own, site, task=task, settings=settings, seed=seed)
    begun, trained = to_vector(exchanged(block)), to_vector(exchanged(own))
    return BlockUpdate.between(begun, trained, weight=float(len(site)))


def merge(blocks: Sequence[LegoBlock], patients: Patients) -> LegoMerge:
    """Merge blocks as the plan says, with equal weights: nobody is there to judge them."""
    start = patients.untrained(blocks[0].modality).trunk.state_dict()
    merging = patients.plan.merging.model_copy(update={"modality_weights": None})
    plan = patients.plan.model_copy(update={"merging": merging})
    return build_merge(plan, blocks, Ingredients(start, {}, {})).eval()
