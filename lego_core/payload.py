"""How heavy the questions of a run are, and their answers, in bytes of tensors: known before any run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from lego_core.assemble import build_models
from lego_core.egress import forms_of, in_the_open, model_of
from lego_core.plan import RunPlan
from lego_core.protocol import (
    AbstractSummable,
    Agreement,
    AskBlockUpdate,
    AskFuseUpdate,
    AskGrams,
    AskOutcomes,
    AskReport,
    AskStatistics,
)
from lego_core.records import ModalitySchema
from lego_core.run_sums import travels_alone

WORD = 4  # bytes of a number in a masked vector


@final
@dataclass(frozen=True)
class Payload:
    """One question of a run to one site.

    Args:
        question: Kind of the question.
        about: Modality, or what else it is about.
        down: Bytes of the tensors that come with it.
        up: Bytes of the tensors of its answer.
        times: How often a run asks it at most.
        trains: Whether it is asked once in every round of training.
    """

    question: str
    about: str
    down: int
    up: int
    times: int
    trains: bool = False

    @property
    def both(self) -> int:
        """Bytes of question and answer together."""
        return self.down + self.up


def payloads(plan: RunPlan, schemas: Mapping[str, ModalitySchema]) -> list[Payload]:
    """What a site that holds these modalities is asked in a run, and what it answers.

    Bodies of letters are not counted, nor are the keys and shares of secure sums: some kilobytes each.

    Args:
        plan: The run.
        schemas: Layout and features of the site's modalities.

    Raises:
        PlanError: If an encoder of the plan cannot read a modality.
    """
    names = tuple(name for name in plan.modalities if name in schemas)
    agreement = Agreement(schemas={name: schemas[name] for name in names}, task=plan.task)
    fused = plan.fuse is not None and len(names) > 1
    rounds = plan.rounds.rounds if plan.rounds.mode == "rounds" else 1
    found = [
        *(_light(AskStatistics(modality=name, schema_of_group=schemas[name]), name, plan) for name in names),
        _light(AskOutcomes(), "outcomes", plan),
    ]
    for name in names:
        asked = AskBlockUpdate(agreement=agreement, modality=name, round=1)
        found += _training(asked, f"block '{name}'", plan, rounds=rounds)
    if plan.merging.needs_grams:
        for name in names:
            down = _size(model_of(AskBlockUpdate(agreement=agreement, modality=name, round=1), plan))
            asked = AskGrams(agreement=agreement, modality=name)
            found.append(Payload(asked.kind, f"block '{name}'", down, _up(asked, plan), 1))
    if plan.fuse and fused:
        asked = AskFuseUpdate(agreement=agreement, modalities=names, round=1)
        found += _training(asked, "fused model", plan, rounds=plan.fuse.rounds)
    models = build_models(plan, agreement, names, with_fused=fused)
    asked = AskReport(agreement=agreement, modalities=names, with_fused=fused)
    found.append(Payload(asked.kind, "scores", _bytes(models.state_dict().values()), _up(asked, plan), 1))
    return found


def heaviest_round(plan: RunPlan, schemas: Mapping[str, ModalitySchema]) -> list[Payload]:
    """The questions of the heaviest round of training: of all the site's blocks, or of the fused model."""
    asked = [one for one in payloads(plan, schemas) if one.trains]
    blocks = [one for one in asked if one.question == AskBlockUpdate.kind]
    fused = [one for one in asked if one.question == AskFuseUpdate.kind]
    return max(blocks, fused, key=lambda some: sum(one.both for one in some))


def _training(
    asked: AskBlockUpdate | AskFuseUpdate, about: str, plan: RunPlan, *, rounds: int
) -> Iterator[Payload]:
    """The rounds, and the one after the last in which weights are only scored."""
    down = _size(model_of(asked, plan))
    yield Payload(asked.kind, about, down, _up(asked, plan), rounds, trains=True)
    scored = asked.model_copy(update={"score_only": True})
    yield Payload(asked.kind, f"{about}, scored", down, _up(scored, plan), 1)


def _light(asked: AbstractSummable, about: str, plan: RunPlan) -> Payload:
    return Payload(asked.kind, about, 0, _up(asked, plan), 1)


def _up(asked: AbstractSummable, plan: RunPlan) -> int:
    if plan.privacy.sum_terms is not None and not travels_alone(asked, plan.privacy):
        return sum(WORD * form.dim for form in forms_of(asked, plan))
    contract = in_the_open(asked, plan)
    return sum(shape.numel() * dtype.itemsize for shape, dtype in contract.tensors.values())


def _size(model: nn.Module) -> int:
    return _bytes(model.state_dict().values())


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(one.nbytes for one in tensors)
