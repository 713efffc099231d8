"""What the sites agree on before any training: features, normalisation, time bins, classes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lego_core.errors import LegoError, RunError
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement, AskStatistics, Statistics
from lego_core.records import ModalitySchema
from lego_core.run_report import LeftOut
from lego_core.statistics import FeatureStatistics, Normalisation, OutcomeStatistics
from server.exchange import Answer, Exchange, Question
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


def agree(participants: Sequence[Participant], *, plan: RunPlan, exchange: Exchange) -> Agreed:
    """Settle schemas from the offers, then normalisation and task from federated sums.

    Raises:
        RunError: If a modality has too few sites that train it.
        PlanError: If the outcomes of all sites together do not allow the task.
    """
    schemas: dict[str, ModalitySchema] = {}
    members: dict[str, list[Participant]] = {}
    for modality in plan.modalities:
        holders = [one for one in participants if one.holds(modality)]
        trainers = [one for one in holders if one.trains_block(modality, plan)]
        _check_enough(modality, trainers, plan)
        schemas[modality] = _agreed_schema(modality, trainers, holders=holders, plan=plan)
        members[modality] = [
            one for one in holders if _fits(one, modality, schemas[modality], plan=plan, exchange=exchange)
        ]
        _check_enough(modality, [one for one in members[modality] if one in trainers], plan)
    return _ask_for_sums(schemas, members, plan=plan, exchange=exchange)


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
    plan: RunPlan,
    exchange: Exchange,
) -> Agreed:
    questions: list[Question] = []
    for modality, schema in schemas.items():
        for one in members[modality]:
            if one.trains_block(modality, plan):
                first = all(question.site != one.site for question in questions)
                ask = AskStatistics(modality=modality, schema_of_group=schema, with_outcomes=first)
                questions.append(Question(one.node_id, one.site, ask.letter(), modality))
    answers = exchange.ask(
        questions, timeout_seconds=plan.participation.round_seconds, doing={"phase": "agree", "round": 0}
    )
    features: dict[str, list[FeatureStatistics]] = {modality: [] for modality in schemas}
    outcomes: list[OutcomeStatistics] = []
    for answer in answers:
        modality = answer.question.about
        try:
            own_features, own_outcomes = _read_sums(answer, schemas[modality], plan)
        except LegoError as error:
            exchange.log.leave_out(
                LeftOut(
                    site=answer.question.site, phase="agree", round=0, modality=modality,
                    declined=answer.declined, reason=error.public,
                )
            )  # fmt: skip
            members[modality] = [one for one in members[modality] if one.site != answer.question.site]
            continue
        features[modality].append(own_features)
        outcomes.append(own_outcomes)
    normalisations = {}
    for modality, parts in features.items():
        _check_enough(modality, parts, plan)
        normalisations[modality] = sum(parts[1:], start=parts[0]).normalisation()
        sites = [one.site for one in members[modality]]
        agreed = {"modality": modality, "features": schemas[modality].num_features, "sites": sites}
        exchange.log.write("agreed", agreed)
    task = plan.task.agree(sum(outcomes[1:], start=outcomes[0]))
    return Agreed(Agreement(schemas=schemas, task=task), normalisations, members)


def _read_sums(
    answer: Answer, schema: ModalitySchema, plan: RunPlan
) -> tuple[FeatureStatistics, OutcomeStatistics]:
    if answer.letter is None:
        raise RunError(answer.reason)
    Statistics.read(answer.letter)
    nobody = torch.zeros(0, len(plan.task.outcome_columns))
    like = plan.task.count_outcomes(nobody)
    tensors = answer.letter.tensors
    names = set(like.to_tensors())
    of_features = {name: tensor for name, tensor in tensors.items() if name not in names}
    of_outcomes = {name: tensor for name, tensor in tensors.items() if name in names}
    asked = AskStatistics.read(answer.question.letter).with_outcomes
    return (
        FeatureStatistics.from_tensors(of_features, features=schema.features),
        OutcomeStatistics.from_tensors(of_outcomes, like=like) if asked else like,
    )


def _check_enough(modality: str, there: Sequence[object], plan: RunPlan) -> None:
    smallest = plan.participation.smallest_group
    if len(there) < smallest:
        raise RunError(
            f"Modality '{modality}' has {len(there)} sites that can train it, and plan '{plan.name}' asks "
            f"for at least {smallest} (key participation.smallest-group). Invite more sites, or take the "
            "modality out of the plan."
        )
