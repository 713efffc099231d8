"""One block trained by several sites in rounds, in one process: the plan's rounds without their letters."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from lego_core.aggregation import ServerState
from lego_core.block import LegoBlock
from lego_core.exchangeable import exchanged, parts
from lego_core.records import Cohort
from lego_core.statistics import FeatureStatistics
from lego_core.training import Trainer, predict_logits
from lego_core.update import BlockUpdate, to_named, to_vector
from simulations.benchmarks.studies._lab import Lab, Trained


def federated(lab: Lab, modality: str, sites: Sequence[Cohort], *, rounds: int) -> Trained:
    """Train the block of a modality over sites, as `server/rounds.py` does, and keep what the plan keeps.

    The best round is told by the trial's validation patients: the loss of all of them together is
    what the sites' losses add up to.
    """
    members = [site.only(modality).marked("train") for site in sites if len(site.holding(modality))]
    first, *others = (FeatureStatistics.of(member, modality) for member in members)
    block = lab.untrained(modality)
    block.normalise_with(sum(others, start=first).normalisation())
    validation = lab.trial.validation.only(modality)
    states = {part: ServerState() for part in parts(block)}
    may_stop_early = lab.plan.training.keep == "best"
    best_round, best_loss, best = 0, float("inf"), copy.deepcopy(block.state_dict())
    for number in range(rounds + 1):
        loss = _loss(block, validation, lab=lab)
        if may_stop_early and loss < best_loss:
            best_round, best_loss, best = number, loss, copy.deepcopy(block.state_dict())
        if number == rounds or (may_stop_early and number - best_round > lab.plan.rounds.patience):
            break
        states = _round(block, members, states, lab=lab, number=number + 1)
    if best_loss < float("inf"):
        block.load_state_dict(best)
    everybody = [record for member in members for record in member.records]
    return Trained(block.eval(), members[0].keep(everybody))


def _round(
    block: LegoBlock, members: Sequence[Cohort], states: dict[str, ServerState], *, lab: Lab, number: int
) -> dict[str, ServerState]:
    """Let every site train a copy, and move the block by what they learned; gives what rules remember."""
    trained = [_trained_at(member, block, lab=lab, seed=lab.trial.seed + number) for member in members]
    current, after = exchanged(block), {}
    for part, names in parts(block).items():
        like = {name: current[name] for name in names}
        begun = to_vector(like)
        updates = [
            BlockUpdate.between(begun, to_vector({n: own[n] for n in names}), weight=float(len(member)))
            for own, member in zip(trained, members, strict=True)
        ]
        moved, after[part] = lab.plan.aggregation.aggregate(begun, updates, state=states[part])
        with torch.no_grad():
            for name, tensor in to_named(moved, like).items():
                current[name].copy_(tensor)
    return after


def _trained_at(member: Cohort, block: LegoBlock, *, lab: Lab, seed: int) -> dict[str, Tensor]:
    own = copy.deepcopy(block)
    settings = lab.plan.training_of(block.modality)
    settings = settings.model_copy(update={"epochs": lab.plan.rounds.local_epochs})
    pull = lab.plan.aggregation.proximal_strength
    Trainer(own, task=lab.task, settings=settings, device="cpu", proximal_strength=pull).fit(
        member, seed=seed
    )
    return exchanged(own)


def _loss(block: LegoBlock, validation: Cohort, *, lab: Lab) -> float:
    """The validation loss; infinite if nobody can tell."""
    if not len(validation):
        return float("inf")
    logits, outcomes = predict_logits(block, validation)
    return float(lab.task.loss(logits, outcomes))
