"""What the sites agree on before any training: features, normalisation, time bins, classes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from lego_core.errors import RunError
from lego_core.letters import Letter
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement, AskOutcomes, AskStatistics, Outcomes, Statistics
from lego_core.records import ModalitySchema
from lego_core.run_report import LeftOut
from lego_core.run_sums import outcomes_form, statistics_form
from lego_core.statistics import FeatureStatistics, Normalisation, OutcomeStatistics
from server.asked import Asked, Office, Opened
from server.exchange import Exchange
from server.participants import Participant


@dataclass(frozen=True)
class Agreed:
    """The agreement, the normalisation that goes into each block, and who can keep to it.

    Args:
        members: For every modality, the sites that hold it in the agreed form.
    """

    agreement: Agreement
    normalisations: dict[str, Normalisation]
    members: dict[str, list[Participant]]

    def held(self, one: Participant) -> tuple[str, ...]:
        """The modalities that a site holds in the agreed form."""
        return tuple(name for name, members in self.members.items() if one in members)


def agree(
    participants: Sequence[Participant], *, plan: RunPlan, exchange: Exchange, office: Office
) -> Agreed:
    """Settle schemas from the offers, then normalisation and task from federated sums.

    A modality whose sites are too few for the plan's secure sum is left out, if the plan says so.

    Raises:
        RunError: If a modality has too few sites that train it.
        PlanError: If the outcomes of all sites together do not allow the task.
    """
    schemas: dict[str, ModalitySchema] = {}
    members: dict[str, list[Participant]] = {}
    alone: tuple[str, ...] = ()
    for modality in plan.modalities:
        holders = [one for one in participants if one.holds(modality)]
        trainers = [one for one in holders if one.trains_block(modality, plan)]
        _check_enough(modality, trainers, plan)
        schemas[modality] = _agreed_schema(modality, trainers, holders=holders, plan=plan)
        members[modality] = [
            one for one in holders if _fits(one, modality, schemas[modality], plan=plan, exchange=exchange)
        ]
        fit = [one for one in members[modality] if one in trainers]
        _check_enough(modality, fit, plan)
        if not _is_small(modality, fit, plan):
            continue
        if _stays_local(modality, fit, plan=plan, exchange=exchange):
            del schemas[modality], members[modality]
            continue
        _check_merge_needs_nothing_of(modality, fit, plan)
        members[modality] = _with_patients_to_normalise(modality, members[modality], exchange=exchange)
        alone += (modality,)
    if not schemas:
        raise RunError(
            f"Every modality of plan '{plan.name}' stays at its sites, since each has too few of them for a "
            "sum. Invite more sites."
        )
    return _ask_for_sums(schemas, members, alone=alone, plan=plan, exchange=exchange, office=office)


def _is_small(modality: str, members: Sequence[Participant], plan: RunPlan) -> bool:
    """Whether fewer sites train a modality than a secure sum needs."""
    terms = plan.privacy.sum_terms
    return terms is not None and sum(one.trains_block(modality, plan) for one in members) < terms.fewest


def _check_merge_needs_nothing_of(modality: str, trainers: Sequence[Participant], plan: RunPlan) -> None:
    """Refuse a merge that works with numbers which nobody may see of few sites.

    Raises:
        RunError: If it does.
    """
    wanted = [
        what
        for what, needed in (
            ("Gram matrices (keys merging.heads and merging.trunk)", plan.merging.needs_grams),
            ("validation scores (key merging.modality-weights)", plan.merging.needs_scores),
        )
        if needed
    ]
    if wanted:
        raise RunError(
            f"Modality '{modality}' is trained by {len(trainers)} sites, too few for a sum, and the merge of "
            f"plan '{plan.name}' works with {' and '.join(wanted)} of every block, which would show those of "
            "each site. Invite more sites, or merge by a method that needs none."
        )


def _with_patients_to_normalise(
    modality: str, members: Sequence[Participant], *, exchange: Exchange
) -> list[Participant]:
    """The sites that have means and spreads of their own, where nobody shares them."""
    there = [one for one in members if one.offer.modalities[modality].trains]
    for one in members:
        if one not in there:
            reason = (
                f"Site '{one.site}' has no training patients with modality '{modality}', whose means and "
                "spreads every site takes from its own, since too few sites have it for a sum."
            )
            exchange.log.leave_out(
                LeftOut(site=one.site, phase="agree", round=0, modality=modality, reason=reason)
            )
    return there


def _stays_local(
    modality: str, trainers: Sequence[Participant], *, plan: RunPlan, exchange: Exchange
) -> bool:
    """Whether a modality of too few sites for a sum takes no part; with noise of its own, it does.

    Raises:
        RunError: If the plan says neither how to go on with it nor without it.
    """
    if modality in plan.privacy.travel_alone:
        return False
    needed = plan.privacy.sum_terms.fewest if plan.privacy.sum_terms else 1
    reason = (
        f"Modality '{modality}' is trained by {len(trainers)} sites, and a secure sum of this plan needs "
        f"{needed} (keys min-survivors and max-corrupt of [{plan.privacy.sums_table}])"
    )
    if plan.privacy.small_groups != "keep-local":
        another = {
            "refuse": "set privacy.too-few to 'keep-local' to go on without it",
            "patient-dp": "name it in privacy.alone to let its updates travel with noise",
        }[plan.privacy.small_groups]
        raise RunError(
            f"{reason}: from fewer, too much of each could be told. Invite more sites, take the modality out "
            f"of the plan, or {another}."
        )
    for one in trainers:
        left = f"{reason}, so it stays at its sites. Nothing of it was asked."
        exchange.log.leave_out(LeftOut(site=one.site, phase="agree", round=0, modality=modality, reason=left))
    return True


def _agreed_schema(
    modality: str, trainers: Sequence[Participant], *, holders: Sequence[Participant], plan: RunPlan
) -> ModalitySchema:
    """The form that most sites have; with `features = "common"`, only what all of them have.

    A site that only evaluates has a say too, or one odd trainer of two could shut it out.
    """
    seen = [one.offer.modalities[modality].schema_here for one in trainers]
    counted = Counter(one.offer.modalities[modality].schema_here for one in holders)
    most = max(seen, key=lambda schema: (counted[schema], schema.num_features))
    if plan.modalities[modality].features == "equal":
        return most
    common = set.intersection(*(set(schema.features) for schema in seen))
    if not common:
        raise RunError(
            f"The {len(trainers)} sites of modality '{modality}' have no feature in common. Give the same "
            "measurement the same name at every site."
        )
    kept = tuple(name for name in most.features if name in common)
    return most.model_copy(update={"features": kept})


def _fits(
    one: Participant, modality: str, schema: ModalitySchema, *, plan: RunPlan, exchange: Exchange
) -> bool:
    own = one.offer.modalities[modality].schema_here
    missing = [name for name in schema.features if name not in own.features]
    surplus = [name for name in own.features if name not in schema.features]
    all_equal = plan.modalities[modality].features == "equal"
    reason = ""
    if (own.layout, own.grid) != (schema.layout, schema.grid):
        reason = (
            f"Site '{one.site}': modality '{modality}' has layout '{own.layout}' and grid {own.grid}, this "
            f"run expects '{schema.layout}' and {schema.grid}. Bring the data into the run's form, or take "
            f"'{modality}' out of site.toml."
        )
    elif missing:
        reason = (
            f"Site '{one.site}': modality '{modality}' has {own.num_features} features, this run expects "
            f"{schema.num_features}; {len(missing)} are missing, the first is '{missing[0]}'. Rebuild the "
            f"table with the run's features, or take '{modality}' out of site.toml."
        )
    elif surplus and all_equal:
        reason = (
            f"Site '{one.site}': modality '{modality}' has {own.num_features} features, this run expects "
            f"{schema.num_features}; {len(surplus)} are too many, the first is '{surplus[0]}'. Take it out "
            f"of site.toml (key 'features'), or set modalities.{modality}.features to 'common' in the plan."
        )
    if reason:
        exchange.log.leave_out(
            LeftOut(site=one.site, phase="agree", round=0, modality=modality, reason=reason)
        )
    return not reason


def _ask_for_sums(
    schemas: dict[str, ModalitySchema],
    members: dict[str, list[Participant]],
    *,
    alone: tuple[str, ...],
    plan: RunPlan,
    exchange: Exchange,
    office: Office,
) -> Agreed:
    shared = {modality: schema for modality, schema in schemas.items() if modality not in alone}
    forms = {modality: statistics_form(modality, schema) for modality, schema in shared.items()}
    asked = [
        Asked(
            one,
            AskStatistics(modality=modality, schema_of_group=schemas[modality]),
            groups=(form.group,),
            about=modality,
            read=partial(_read_features, features=schemas[modality].features),
        )
        for modality, form in forms.items()
        for one in members[modality]
        if one.trains_block(modality, plan)
    ]
    sums, closed = office.add_up({form.group: form for form in forms.values()}, asked, phase="agree")
    normalisations = {}
    for modality, form in forms.items():
        there = sums[form.group].sites if form.group in sums else ()
        if form.group not in closed:
            _check_enough(modality, there, plan)
        numbers = _opened(form.group, sums, closed)
        features = FeatureStatistics.from_tensors(numbers, features=schemas[modality].features)
        normalisations[modality] = features.normalisation()
        members[modality] = [
            one for one in members[modality] if one.site in there or not one.trains_block(modality, plan)
        ]
    for modality, schema in schemas.items():
        sites = [one.site for one in members[modality]]
        agreed = {"modality": modality, "features": schema.num_features, "sites": sites}
        exchange.log.write("agreed", agreed)
    counted = {
        one.site: one for modality in schemas for one in members[modality] if one.trains_block(modality, plan)
    }
    task = plan.task.agree(_count_outcomes(list(counted.values()), plan=plan, office=office))
    agreement = Agreement(schemas=schemas, task=task, normalised_at_sites=alone)
    return Agreed(agreement, normalisations, members)


def _count_outcomes(counted: Sequence[Participant], *, plan: RunPlan, office: Office) -> OutcomeStatistics:
    """The outcomes of every site's training patients, each site counted once, whatever it holds."""
    form, nobody = outcomes_form(plan.task), plan.task.count_nobody()
    asked = [
        Asked(one, AskOutcomes(), groups=(form.group,), read=partial(_read_outcomes, like=nobody))
        for one in counted
    ]
    sums, closed = office.add_up({form.group: form}, asked, phase="agree")
    return OutcomeStatistics.from_tensors(_opened(form.group, sums, closed), like=nobody)


def _opened(group: str, sums: Mapping[str, Opened], closed: Mapping[str, str]) -> dict[str, Tensor]:
    if group not in sums:
        reason = closed.get(group, "no site gave numbers for it; see who was left out and why.")
        raise RunError(f"The sites could not agree, since there is no sum '{group}': {reason}")
    return sums[group].numbers.numbers


def _read_features(letter: Letter, *, features: tuple[str, ...]) -> dict[str, Tensor]:
    Statistics.read(letter)
    return FeatureStatistics.from_tensors(letter.tensors, features=features).to_tensors()


def _read_outcomes(letter: Letter, *, like: OutcomeStatistics) -> dict[str, Tensor]:
    Outcomes.read(letter)
    return OutcomeStatistics.from_tensors(letter.tensors, like=like).to_tensors()


def _check_enough(modality: str, there: Sequence[object], plan: RunPlan) -> None:
    smallest = plan.smallest_group_of(modality)
    if len(there) < smallest:
        raise RunError(
            f"Modality '{modality}' has {len(there)} sites that can train it, and plan '{plan.name}' asks "
            f"for at least {smallest} (key participation.smallest-group). Invite more sites, or take the "
            "modality out of the plan."
        )
