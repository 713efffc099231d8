"""What a site answers to each question of the server: data in, one letter out."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from client.agreed_form import in_agreed_form, in_form, normalise_here
from client.enough import check_enough, if_enough
from client.site import Site
from client.sums import Addend
from client.way import Way
from lego_core.assemble import build_block, build_models
from lego_core.block import LegoBlock
from lego_core.egress import forms_of
from lego_core.errors import DataError, ProtocolError, SiteRefusal
from lego_core.evaluation import evaluate, groups_to_score, subsets
from lego_core.gram import GramStatistics
from lego_core.letters import Letter
from lego_core.plan import RunPlan
from lego_core.protocol import (
    AskGrams,
    AskOutcomes,
    AskReport,
    AskStatistics,
    Grams,
    ModalityOffer,
    Offer,
    Outcomes,
    Statistics,
)
from lego_core.records import Part
from lego_core.statistics import FeatureStatistics
from lego_core.summed_scores import Case, all_cases


def offer(site: Site) -> Letter:
    """Tell what the site holds, in numbers rounded down to tens."""
    train, validation = site.cohort.part("train"), site.cohort.part("validation")
    wanted = [name for name in site.plan.modalities if name in site.cohort.schemas]
    paired, judges_paired = train.with_several(wanted), validation.with_several(wanted)
    offers = {
        name: ModalityOffer(
            schema_here=site.cohort.schemas[name],
            encoder=site.plan.modalities[name].encoder,
            patients=len(train.holding(name)) // 10 * 10,
            trains=len(train.holding(name)) > 0,
            fuses_with=tuple(
                other for other in wanted if other != name and len(train.holding(name, other)) > 0
            ),
            judges=len(if_enough(site, validation.holding(name))) > 0,
        )
        for name in wanted
        if len(site.cohort.holding(name))
    }
    enough = {part: _groups(site, part, wanted) for part in ("test", "validation")}
    return Offer(
        site=site.file.name,
        plan=site.plan.name,
        latent=site.plan.latent,
        modalities=offers,
        paired_patients=len(paired) // 10 * 10,
        paired=len(paired) > 0,
        judges_paired=len(if_enough(site, judges_paired)) > 0,
        test_groups=enough["test"],
        validation_groups=enough["validation"],
    ).letter()


def statistics(site: Site, question: AskStatistics, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Give the sums behind the normalisation of one modality, over the site's training patients."""
    _check_no_tensors(state)
    (form,) = forms_of(question, site.plan)
    way.check([form], state)
    cohort = in_form(site.cohort, {question.modality: question.schema_of_group})
    train = len(cohort.part("train").holding(question.modality))
    if train < 2:
        raise DataError(
            f"Site '{site.file.name}' has too few training patients with modality '{question.modality}', and "
            "sums over fewer than 2 are the patient. Nothing was sent; take the modality out of site.toml, "
            "or join another site.",
            local=f"{train} training patients",
        )
    check_enough(site, train, of=f"training patients with modality '{question.modality}'")
    tensors = FeatureStatistics.of(cohort, question.modality).to_tensors()
    return way.send(Statistics(modality=question.modality).letter(tensors), [Addend(form, tensors)])


def outcomes(site: Site, question: AskOutcomes, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Give the counts behind time bins and base rates, over all training patients of the site."""
    _check_no_tensors(state)
    (form,) = forms_of(question, site.plan)
    way.check([form], state)
    train = len(site.cohort.part("train"))
    if train < 2:
        raise DataError(
            f"Site '{site.file.name}' has too few training patients, and counts over fewer than 2 are the "
            "patient. Nothing was sent; join another site.",
            local=f"{train} training patients",
        )
    check_enough(site, train, of="training patients")
    tensors = site.plan.task.summarise(site.cohort).to_tensors()
    return way.send(Outcomes().letter(tensors), [Addend(form, tensors)])


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
    normalise_here(site, agreement, [block])
    cohort = in_agreed_form(site, agreement, [modality])
    train = len(cohort.part("train").holding(modality))
    smallest = max(site.smallest_count, 2)
    if train < smallest:
        raise DataError(
            f"Site '{site.file.name}' has too few training patients with modality '{modality}', and sums "
            f"over fewer than {smallest} would tell too much of each (keys evaluation.smallest-count and "
            "rules.smallest-count). Nothing was sent; the merge goes on without this site."
        )
    tensors = GramStatistics.of(block, cohort).to_tensors()
    return way.send(Grams(modality=modality).letter(tensors), [Addend(form, tensors)])


def report(site: Site, question: AskReport, state: Mapping[str, Tensor], way: Way) -> Letter:
    """Evaluate every model and subset of modalities on the patients kept apart."""
    agreement, plan = question.agreement, site.plan
    models = build_models(plan, agreement, question.modalities, with_fused=question.with_fused)
    models.load_state_dict(dict(state))
    cases = {case.form.group: case for case in _cases(plan, question)}
    way.check([case.form for case in cases.values()], state)
    normalise_here(site, agreement, [block for block in models.modules() if isinstance(block, LegoBlock)])
    scored = evaluate(
        models,
        in_agreed_form(site, agreement, question.modalities),
        task=agreement.task,
        all_modalities=tuple(agreement.schemas),
        site=site.file.name,
        seed=plan.seed,
        bootstrap=plan.evaluation.bootstrap,
        smallest_count=site.smallest_count,
        reference="test" if plan.privacy.noise_alone else "train",
        with_charts=not way.is_unseen,
        device=site.file.device,
    )
    invited = [cases[group] for group in question.sums]
    return way.send(scored.letter(), [Addend(case.form, case.to_sums(scored)) for case in invited])


def _check_no_tensors(state: Mapping[str, Tensor]) -> None:
    """Refuse weights with a question that is about none: they would make one sum look like two.

    Raises:
        ProtocolError: If there are any.
    """
    if state:
        raise ProtocolError(
            f"A question about no model came with {len(state)} tensors where none were declared. Nothing was "
            "sent. Run the same code at both ends."
        )


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
