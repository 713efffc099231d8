"""What a site answers to each question of the server: data in, one letter out."""

import time
from collections.abc import Mapping, Sequence

from torch import Tensor

from client.site import Site
from client.sums import Addend
from client.way import Way
from lego_core.assemble import Ingredients, build_block, build_fuse, build_models
from lego_core.block import LegoBlock
from lego_core.errors import DataError, SiteRefusal
from lego_core.evaluation import evaluate, subsets
from lego_core.exchangeable import declared, exchanged
from lego_core.fuse import LegoFuse
from lego_core.gram import GramStatistics
from lego_core.guard import shortened
from lego_core.letters import Letter, check_tensors
from lego_core.plan import RunPlan
from lego_core.protocol import (
    Agreement,
    AskBlockUpdate,
    AskFuseUpdate,
    AskGrams,
    AskOutcomes,
    AskReport,
    AskStatistics,
    Grams,
    ModalityOffer,
    Offer,
    Outcomes,
    Progress,
    Statistics,
    Update,
)
from lego_core.records import Cohort, ModalitySchema, Part
from lego_core.run_sums import grams_form, outcomes_form, score_form, statistics_form, sum_parts, update_forms
from lego_core.statistics import FeatureStatistics
from lego_core.sum_forms import SumForm, check_weight
from lego_core.summed_scores import Case, all_cases
from lego_core.tasks import Task
from lego_core.training import Trainer, TrainingSettings, predict_logits
from lego_core.update import BlockUpdate, to_named


def offer(site: Site) -> Letter:
    """Tell what the site holds, in numbers rounded down to tens."""
    train = site.cohort.part("train")
    wanted = [name for name in site.plan.modalities if name in site.cohort.schemas]
    offers = {
        name: ModalityOffer(
            schema_here=site.cohort.schemas[name],
            encoder=site.plan.modalities[name].encoder,
            patients=len(train.holding(name)) // 10 * 10,
            trains=len(train.holding(name)) > 0,
        )
        for name in wanted
        if len(site.cohort.holding(name))
    }
    paired = len(train.with_several(wanted))
    enough = {part: _groups(site, part, wanted) for part in ("test", "validation")}
    return Offer(
        site=site.file.name,
        plan=site.plan.name,
        latent=site.plan.latent,
        modalities=offers,
        paired_patients=paired // 10 * 10,
        paired=paired > 0,
        test_groups=enough["test"],
        validation_groups=enough["validation"],
    ).letter()


def statistics(site: Site, question: AskStatistics, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Give the sums behind the normalisation of one modality, over the site's training patients."""
    form = statistics_form(question.modality, question.schema_of_group)
    way.check([form], state)
    cohort = _in_form(site.cohort, {question.modality: question.schema_of_group})
    train = len(cohort.part("train").holding(question.modality))
    if train < 2:
        raise DataError(
            f"Site '{site.file.name}' has {train} training patients with modality '{question.modality}', "
            "and sums over fewer than 2 are the patient. Nothing was sent; take the modality out of "
            "site.toml, or join another site."
        )
    tensors = FeatureStatistics.of(cohort, question.modality).to_tensors()
    return way.send(Statistics(modality=question.modality).letter(tensors), [Addend(form, tensors)])


def outcomes(site: Site, _question: AskOutcomes, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Give the counts behind time bins and base rates, over all training patients of the site."""
    form = outcomes_form(site.plan.task)
    way.check([form], state)
    train = len(site.cohort.part("train"))
    if train < 2:
        raise DataError(
            f"Site '{site.file.name}' has {train} training patients, and counts over fewer than 2 are the "
            "patient. Nothing was sent; join another site."
        )
    tensors = site.plan.task.summarise(site.cohort).to_tensors()
    return way.send(Outcomes().letter(tensors), [Addend(form, tensors)])


def block_update(site: Site, question: AskBlockUpdate, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Train one block on the patients who have its modality, or score the weights received."""
    agreement = question.agreement
    block = build_block(site.plan, agreement, question.modality)
    block.load_state_dict(dict(state))
    way.check(_forms(block, question), state)
    settings = site.plan.training_of(question.modality)
    if not question.to_the_end:
        settings = settings.model_copy(update={"epochs": site.plan.rounds.local_epochs})
    cohort = _in_agreed_form(site, agreement, [question.modality])
    return _answer(
        site, block, cohort, question=question, settings=settings, way=way, to_the_end=question.to_the_end
    )


def fuse_update(site: Site, question: AskFuseUpdate, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Train the fused model on the patients who have several modalities."""
    agreement, fuse = question.agreement, site.plan.fuse
    if fuse is None:
        raise DataError(f"Plan '{site.plan.name}' has no [fuse], and the server asks for a fuse round.")
    blocks = [build_block(site.plan, agreement, name) for name in question.modalities]
    fused = build_fuse(site.plan, blocks, Ingredients.of_untrained(blocks))
    fused.load_state_dict(dict(state))
    way.check(_forms(fused, question), state)
    paired = _in_agreed_form(site, agreement, question.modalities).with_several(question.modalities)
    settings = fuse.training(
        site.plan.training, epochs=fuse.local_epochs, last_round=question.round >= fuse.rounds
    )
    return _answer(site, fused, paired, question=question, settings=settings, way=way)


def grams(site: Site, question: AskGrams, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Give the sums of what the layers of a block are fed, over the site's training patients."""
    modality, agreement = question.modality, question.agreement
    if not site.plan.merging.needs_grams:
        raise SiteRefusal(
            f"This site declines: it was asked for Gram matrices of block '{modality}', and its plan "
            f"'{site.plan.name}' merges by methods that need none (keys merging.heads and merging.trunk). "
            "Nothing was sent; give the server and this site the bundle of the same plan."
        )
    block = build_block(site.plan, agreement, modality)
    block.load_state_dict(dict(state))
    form = grams_form(modality, block.trunk)
    way.check([form], state)
    cohort = _in_agreed_form(site, agreement, [modality])
    train = len(cohort.part("train").holding(modality))
    smallest = max(site.plan.evaluation.smallest_count, 2)
    if train < smallest:
        raise DataError(
            f"Site '{site.file.name}' has {train} training patients with modality '{modality}', and sums "
            f"over fewer than {smallest} would tell too much of each (key evaluation.smallest-count). "
            "Nothing was sent; the merge goes on without this site."
        )
    tensors = GramStatistics.of(block, cohort).to_tensors()
    letter = Grams(modality=modality).letter(tensors)
    wanted = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    check_tensors(letter, wanted, sender=f"Site '{site.file.name}'")  # that is: refuse what is not finite
    return way.send(letter, [Addend(form, tensors)])


def report(site: Site, question: AskReport, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Evaluate every model and subset of modalities on the patients kept apart."""
    agreement, plan = question.agreement, site.plan
    models = build_models(plan, agreement, question.modalities, with_fused=question.with_fused)
    models.load_state_dict(dict(state))
    cases = {case.form.group: case for case in _cases(plan, question)}
    way.check([case.form for case in cases.values()], state)
    scored = evaluate(
        models,
        _in_agreed_form(site, agreement, question.modalities),
        task=agreement.task,
        all_modalities=tuple(agreement.schemas),
        site=site.file.name,
        seed=plan.seed,
        bootstrap=plan.evaluation.bootstrap,
        smallest_count=plan.evaluation.smallest_count,
        device=site.file.device,
    )
    invited = [cases[group] for group in question.sums]
    return way.send(scored.letter(), [Addend(case.form, case.to_sums(scored)) for case in invited])


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
    train, validation = cohort.part("train"), cohort.part("validation")
    scored = _score(model, validation, task)
    if question.score_only:
        return way.send(scored.letter(), [Addend(score_form(model), scored.to_sums())])
    check_weight(len(train), plan.privacy.sum_terms)
    received = {name: tensor.clone() for name, tensor in exchanged(model).items()}
    trainer = Trainer(
        model, task=task, settings=settings, device=site.file.device,
        proximal_strength=plan.aggregation.proximal_strength,
    )  # fmt: skip
    epochs = trainer.fit(train, validation if to_the_end else None, seed=plan.seed * 10_000 + question.round)
    difference = {name: tensor - received[name] for name, tensor in exchanged(model).items()}
    updates, were_longer = _updates(model, difference, patients=len(train), plan=plan)
    seconds = time.monotonic() - started
    losses = tuple(epoch.train_loss for epoch in epochs)
    progress = scored.model_copy(update={"train_losses": losses, "seconds": seconds})
    letter = Update(weight=float(len(train)), progress=progress).letter(_named(model, updates))
    check_tensors(letter, declared(model), sender=f"Site '{site.file.name}'")
    numbers = progress.to_sums(train_patients=len(train), shortened=were_longer)
    addends = [
        Addend(form, numbers if form.numbers else {}, updates[part])
        for part, form in update_forms(model).items()
    ]
    return way.send(letter, addends, seconds=seconds)


def _updates(
    model: LegoBlock | LegoFuse, difference: Mapping[str, Tensor], *, patients: int, plan: RunPlan
) -> tuple[dict[str, BlockUpdate], bool]:
    """What training taught, part by part, each no longer than the plan allows; and whether any was."""
    terms = plan.privacy.sum_terms
    bound = terms.clip_norm if terms else plan.guard.norm_bound or float("inf")
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


def _forms(model: LegoBlock | LegoFuse, question: AskBlockUpdate | AskFuseUpdate) -> list[SumForm]:
    return [score_form(model)] if question.score_only else list(update_forms(model).values())


def _cases(plan: RunPlan, question: AskReport) -> list[Case]:
    """Every case that the server could ask of a site with these modalities."""
    return all_cases(
        tuple(name for name in plan.modalities if name in question.agreement.schemas),
        question.modalities,
        bootstrap=plan.evaluation.bootstrap,
        with_fused=question.with_fused,
    )


def _groups(site: Site, part: Part, modalities: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The sets of modalities that enough patients of a part hold for scores of them to leave."""
    patients, smallest = site.cohort.part(part), site.plan.evaluation.smallest_count
    return tuple(one for one in subsets(modalities) if len(patients.holding(*one)) >= smallest)


def _score(model: LegoBlock | LegoFuse, validation: Cohort, task: Task) -> Progress:
    if not len(validation):
        return Progress()
    logits, outcomes = predict_logits(model, validation)
    ranked = task.score(task.predict(logits), outcomes)
    return Progress(
        validation_loss=float(task.loss(logits, outcomes)) * len(validation),
        validation_patients=len(validation),
        validation_score=ranked.value,
        validation_pairs=ranked.pairs,
    )


def _in_agreed_form(site: Site, agreement: Agreement, modalities: Sequence[str]) -> Cohort:
    """The site's patients who have any of these modalities, with the agreed features only.

    Modalities that were not asked about stay out of it, since they may not be in the agreed form.
    """
    return _in_form(site.cohort, {name: agreement.schemas[name] for name in modalities})


def _in_form(cohort: Cohort, schemas: Mapping[str, ModalitySchema]) -> Cohort:
    """Patients with these features of these modalities, in this order.

    Raises:
        DataError: If the site lacks a modality or a feature.
    """
    for modality, schema in schemas.items():
        if modality not in cohort.schemas:
            raise DataError(
                f"This site was asked about modality '{modality}' and has {sorted(cohort.schemas)}. Give the "
                "site the bundle of this run."
            )
        cohort = cohort.with_features(modality, schema.features)
    return cohort.only(*schemas)
