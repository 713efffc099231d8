"""What a site's patients teach a block or the fused model, and how the received weights do on them."""

import logging
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from client.agreed_form import in_agreed_form, normalise_here
from client.budget import pay
from client.enough import check_enough, if_enough
from client.site import Site
from client.sums import Addend
from client.way import Way
from lego_core.assemble import Ingredients, build_block, build_fuse
from lego_core.block import LegoBlock
from lego_core.egress import forms_of, update_contract
from lego_core.errors import DataError, SiteRefusal
from lego_core.exchangeable import exchanged, rounded
from lego_core.fuse import LegoFuse
from lego_core.guard import shortened
from lego_core.letters import Letter
from lego_core.plan import RunPlan
from lego_core.private_training import PrivateTrainer
from lego_core.protocol import (
    AskBlockUpdate,
    AskFuseUpdate,
    Progress,
    Update,
)
from lego_core.records import Cohort
from lego_core.run_sums import (
    everybodys_part,
    part_groups,
    score_form,
    sum_parts,
    update_forms,
)
from lego_core.sum_forms import check_weight
from lego_core.tasks import Task
from lego_core.training import Trainer, TrainingSettings, predict_logits, within_reason
from lego_core.update import BlockUpdate, to_named


def block_update(site: Site, question: AskBlockUpdate, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Train one block on the patients who have its modality, or score the weights received."""
    rounds = site.plan.rounds
    if question.to_the_end != (rounds.mode == "one-shot"):
        raise SiteRefusal(
            f"This site declines: its plan trains in mode '{rounds.mode}', and it is asked to train "
            f"{'to the end' if question.to_the_end else 'for a round'}. Nothing was trained or sent. Give "
            "server and site the bundle of the same plan."
        )
    _check_round(question, most=1 if question.to_the_end else rounds.rounds)
    agreement = question.agreement
    block = build_block(site.plan, agreement, question.modality)
    block.load_state_dict(dict(state))
    way.check(forms_of(question, site.plan), state)
    normalise_here(site, agreement, [block])
    settings = site.plan.training_of(question.modality)
    if not question.to_the_end:
        settings = settings.model_copy(update={"epochs": site.plan.rounds.local_epochs})
    cohort = in_agreed_form(site, agreement, [question.modality])
    return _answer(
        site, block, cohort, question=question, settings=settings, way=way, to_the_end=question.to_the_end
    )


def fuse_update(site: Site, question: AskFuseUpdate, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Train the fused model on the patients who have several modalities."""
    agreement, fuse = question.agreement, site.plan.fuse
    if fuse is None:
        raise DataError(f"Plan '{site.plan.name}' has no [fuse], and the server asks for a fuse round.")
    _check_round(question, most=fuse.rounds)
    blocks = [build_block(site.plan, agreement, name) for name in question.modalities]
    fused = build_fuse(site.plan, blocks, Ingredients.of_untrained(blocks))
    fused.load_state_dict(dict(state))
    read = {name: tensor for name, tensor in state.items() if name not in fused.unread}
    way.check(forms_of(question, site.plan), read)
    normalise_here(site, agreement, list(fused.blocks.values()))
    paired = in_agreed_form(site, agreement, question.modalities).with_several(question.modalities)
    settings = fuse.training(
        site.plan.training, epochs=fuse.local_epochs, last_round=question.round >= fuse.rounds
    )
    return _answer(site, fused, paired, question=question, settings=settings, way=way)


def _answer(
    site: Site,
    model: LegoBlock | LegoFuse,
    cohort: Cohort,
    *,
    question: AskBlockUpdate | AskFuseUpdate,
    settings: TrainingSettings,
    way: Way,
    to_the_end: bool = False,
) -> Letter:
    """Score the weights received; train them too, unless only the score was asked for."""
    started = time.monotonic()
    plan, task = site.plan, question.agreement.task
    contract = update_contract(model, plan.travel_dtype)  # before any patient
    train, validation = cohort.part("train"), cohort.part("validation")
    alone = plan.privacy.sum_terms is not None and not way.is_unseen  # then losses have no sum to hide in
    judges = validation.keep([]) if alone else if_enough(site, validation)
    scored = _score(model, judges, task)
    scores = [Addend(score_form(model), scored.scores_to_sums())] if len(judges) else []
    if question.score_only or not way.wants(list(update_forms(model).values())):
        return way.send(scored.letter(), scores)  # and nothing is trained, or paid for, in vain
    check_weight(len(train), plan.privacy)
    check_enough(site, len(train), of="training patients")
    received = {name: tensor.clone() for name, tensor in exchanged(model).items()}
    noise = plan.privacy.noise_terms if way.is_unseen else plan.privacy.noise_alone
    about = {
        "task": task, "settings": settings, "device": site.file.device,
        "proximal_strength": plan.aggregation.proximal_strength,
    }  # fmt: skip
    seed = plan.seed * 10_000 + question.round
    losses: tuple[float, ...] = ()
    spent = None
    if noise:
        spent = pay(site, noise, train, purpose=_purpose(site, model, question.round))
        PrivateTrainer(model, privacy=noise, **about).fit(train, seed=seed)
    else:
        epochs = Trainer(model, **about).fit(train, validation if to_the_end else None, seed=seed)
        losses = tuple(epoch.train_loss for epoch in epochs)
    difference = _difference(exchanged(model), received)
    if way.is_unseen:
        difference = _within_reach(difference, received)
    updates, were_longer = _updates(model, difference, patients=len(train), plan=plan)
    seconds = time.monotonic() - started
    progress = scored.model_copy(update={"train_losses": losses, "seconds": seconds})
    tensors = rounded(_named(model, updates), plan.travel_dtype)
    letter = Update(weight=float(len(train)), progress=progress, spent=spent).letter(tensors)
    contract.check(letter, sender=f"Site '{site.file.name}'")
    numbers = progress.losses_to_sums(train_patients=len(train), shortened=were_longer)
    addends = [
        Addend(form, numbers if form.numbers else {}, updates[part])
        for part, form in update_forms(model).items()
        if part == everybodys_part(model) or len(train.holding(part))
    ]
    return way.send(letter, addends + scores, spent=spent)


def _check_round(question: AskBlockUpdate | AskFuseUpdate, *, most: int) -> None:
    """Decline rounds beyond the plan: each one more tells more.

    After the last round of training there is one more in which the weights are only scored.

    Raises:
        SiteRefusal: If it is one.
    """
    number = question.round - 1 if question.score_only else question.round
    if number > most:
        raise SiteRefusal(
            f"This site declines: it is asked for round {question.round}, and its plan has {most}. Nothing "
            "was trained or sent. Give server and site the bundle of the same plan."
        )


def _updates(
    model: LegoBlock | LegoFuse, difference: Mapping[str, Tensor], *, patients: int, plan: RunPlan
) -> tuple[dict[str, BlockUpdate], bool]:
    """What training taught, part by part, each no longer than the plan allows; and whether any was."""
    bound = plan.update_bound or float("inf")
    updates, were_longer = {}, False
    for part, names in sum_parts(model).items():
        own = {name: difference[name] for name in names}
        updates[part], is_longer = shortened(own, weight=float(patients), bound=bound)
        were_longer |= is_longer
    return updates, were_longer


def _named(model: LegoBlock | LegoFuse, updates: Mapping[str, BlockUpdate]) -> dict[str, Tensor]:
    """The same as tensors by name, as they travel in the open."""
    like = {name: tensor.float() for name, tensor in exchanged(model).items()}
    return {
        name: tensor
        for part, names in sum_parts(model).items()
        for name, tensor in to_named(updates[part].mean(), {one: like[one] for one in names}).items()
    }


def _difference(now: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What training changed; what was not there before stays as it is, for the contract to refuse."""
    return {
        name: tensor - before[name] if name in before and before[name].shape == tensor.shape else tensor
        for name, tensor in now.items()
    }


def _within_reach(difference: Mapping[str, Tensor], received: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """No change at all, if training went beyond all numbers.

    Where updates are summed, a refusal would be this site's alone, and weights could be made that
    bring it about for some patients only.
    """
    if all(bool(torch.isfinite(tensor).all()) for tensor in difference.values()):
        return dict(difference)
    logging.getLogger(__name__).warning(
        "Training here went beyond all numbers: this site adds no change to the sum. Look at its data, or at "
        "the learning rate."
    )
    return {name: torch.zeros_like(received.get(name, tensor)) for name, tensor in difference.items()}


def _score(model: LegoBlock | LegoFuse, validation: Cohort, task: Task) -> Progress:
    """How the weights do; what they make of a patient beyond all reason counts as far as reason goes."""
    if not len(validation):
        return Progress()
    logits, outcomes = predict_logits(model, validation)
    logits = within_reason(logits)
    ranked = task.score(task.predict(logits), outcomes)
    return Progress(
        validation_loss=float(task.loss(logits, outcomes)) * len(validation),
        validation_patients=len(validation),
        validation_score=ranked.value,
        validation_pairs=ranked.pairs,
    )


def _purpose(site: Site, model: LegoBlock | LegoFuse, number: int) -> str:
    return f"plan '{site.plan.name}', {', '.join(part_groups(model).values())}, round {number}"
