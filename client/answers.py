"""What a site answers to each question of the server: data in, one letter out."""

import time
from collections.abc import Mapping, Sequence

from torch import Tensor

from client.site import Site
from client.sums import Addend
from client.way import Way
from lego_core.assemble import Ingredients, build_block, build_fuse, build_models
from lego_core.block import LegoBlock
from lego_core.egress import forms_of, in_the_open, update_contract
from lego_core.errors import DataError, SiteRefusal
from lego_core.evaluation import evaluate, groups_to_score, subsets
from lego_core.exchangeable import exchanged
from lego_core.fuse import LegoFuse
from lego_core.gram import GramStatistics
from lego_core.letters import Letter
from lego_core.plan import RunPlan
from lego_core.privacy import SumTerms
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
from lego_core.run_sums import score_form, sum_parts, update_forms
from lego_core.statistics import FeatureStatistics
from lego_core.sum_forms import check_weight, shortened
from lego_core.summed_scores import Case, all_cases
from lego_core.tasks import Task
from lego_core.training import Trainer, TrainingSettings, predict_logits


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
    (form,) = forms_of(question, site.plan)
    way.check([form], state)
    cohort = _in_form(site.cohort, {question.modality: question.schema_of_group})
    train = len(cohort.part("train").holding(question.modality))
    if train < 2:
        raise DataError(
            f"Site '{site.file.name}' has {train} training patients with modality '{question.modality}', "
            "and sums over fewer than 2 are the patient. Nothing was sent; take the modality out of "
            "site.toml, or join another site."
        )
    _check_enough(site, train, of=f"training patients with modality '{question.modality}'")
    tensors = FeatureStatistics.of(cohort, question.modality).to_tensors()
    return way.send(Statistics(modality=question.modality).letter(tensors), [Addend(form, tensors)])


def outcomes(site: Site, question: AskOutcomes, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Give the counts behind time bins and base rates, over all training patients of the site."""
    (form,) = forms_of(question, site.plan)
    way.check([form], state)
    train = len(site.cohort.part("train"))
    if train < 2:
        raise DataError(
            f"Site '{site.file.name}' has {train} training patients, and counts over fewer than 2 are the "
            "patient. Nothing was sent; join another site."
        )
    _check_enough(site, train, of="training patients")
    tensors = site.plan.task.summarise(site.cohort).to_tensors()
    return way.send(Outcomes().letter(tensors), [Addend(form, tensors)])


def block_update(site: Site, question: AskBlockUpdate, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Train one block on the patients who have its modality, or score the weights received."""
    agreement = question.agreement
    block = build_block(site.plan, agreement, question.modality)
    block.load_state_dict(dict(state))
    way.check(forms_of(question, site.plan), state)
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
    way.check(forms_of(question, site.plan), state)
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
    (form,) = forms_of(question, site.plan)
    way.check([form], state)
    cohort = _in_agreed_form(site, agreement, [modality])
    train = len(cohort.part("train").holding(modality))
    smallest = max(site.smallest_count, 2)
    if train < smallest:
        raise DataError(
            f"Site '{site.file.name}' has too few training patients with modality '{modality}', and sums "
            f"over fewer than {smallest} would tell too much of each (keys evaluation.smallest-count and "
            "rules.smallest-count). Nothing was sent; the merge goes on without this site."
        )
    tensors = GramStatistics.of(block, cohort).to_tensors()
    letter = Grams(modality=modality).letter(tensors)
    in_the_open(question, site.plan).check(letter, sender=f"Site '{site.file.name}'")
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
        smallest_count=site.smallest_count,
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
    plan, task, contract = site.plan, question.agreement.task, update_contract(model)  # before any patient
    train, validation = cohort.part("train"), cohort.part("validation")
    scored = _score(model, _if_enough(site, validation), task)
    if question.score_only:
        return way.send(scored.letter(), [Addend(score_form(model), scored.to_sums())])
    check_weight(len(train), plan.privacy.sum_terms)
    _check_enough(site, len(train), of="training patients")
    received = {name: tensor.clone() for name, tensor in exchanged(model).items()}
    trainer = Trainer(
        model, task=task, settings=settings, device=site.file.device,
        proximal_strength=plan.aggregation.proximal_strength,
    )  # fmt: skip
    epochs = trainer.fit(train, validation if to_the_end else None, seed=plan.seed * 10_000 + question.round)
    difference = _difference(exchanged(model), received)
    seconds = time.monotonic() - started
    losses = tuple(epoch.train_loss for epoch in epochs)
    progress = scored.model_copy(update={"train_losses": losses, "seconds": seconds})
    letter = Update(weight=float(len(train)), progress=progress).letter(
        {name: tensor.float() for name, tensor in difference.items()}
    )
    contract.check(letter, sender=f"Site '{site.file.name}'")
    addends = _addends(model, difference, progress, patients=len(train), terms=plan.privacy.sum_terms)
    return way.send(letter, addends, seconds=seconds)


def _difference(now: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What training changed; what was not there before stays as it is, for the contract to refuse."""
    return {
        name: tensor - before[name] if name in before and before[name].shape == tensor.shape else tensor
        for name, tensor in now.items()
    }


def _addends(
    model: LegoBlock | LegoFuse,
    difference: Mapping[str, Tensor],
    progress: Progress,
    *,
    patients: int,
    terms: SumTerms | None,
) -> list[Addend]:
    """What training taught, part by part, each no longer than the plan allows."""
    if terms is None:
        return []
    updates, were_longer = {}, False
    for part, names in sum_parts(model).items():
        own = {name: difference[name] for name in names}
        updates[part], is_longer = shortened(own, weight=float(patients), terms=terms)
        were_longer |= is_longer
    numbers = progress.to_sums(train_patients=patients, shortened=were_longer)
    return [
        Addend(form, numbers if form.numbers else {}, updates[part])
        for part, form in update_forms(model).items()
    ]


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
    enough = groups_to_score(site.cohort.part(part), modalities, smallest=site.smallest_count)
    return tuple(one for one in subsets(modalities) if one in enough)


def _check_enough(site: Site, count: int, *, of: str) -> None:
    """Decline to send what the site's own rules say too few patients stand behind.

    Raises:
        SiteRefusal: If they do.
    """
    smallest = site.file.rules.smallest_count or 0
    if count < smallest:
        raise SiteRefusal(
            f"Site '{site.file.name}' declines: fewer than {smallest} {of} would stand behind its answer "
            "(key rules.smallest-count). Nothing was sent; the run goes on without it."
        )


def _if_enough(site: Site, validation: Cohort) -> Cohort:
    """The patients to score weights on in a round; nobody, where the site's rules say they are too few."""
    return validation if len(validation) >= (site.file.rules.smallest_count or 0) else validation.keep([])


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
