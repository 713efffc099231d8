"""`python -m simulations egress PLAN`: the tensors that may leave a site, before any run."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lego_core.egress import forms_of, in_the_open
from lego_core.errors import PlanError
from lego_core.letters import AbstractMessage
from lego_core.plan import RunPlan
from lego_core.protocol import (
    ANSWERS,
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
from lego_core.sum_letters import MaskedVectors


@dataclass(frozen=True)
class Leaving:
    """One tensor that may leave.

    Args:
        letter: Kind of letter that holds it.
        about: Modality, sum or model.
        tensor: Its name.
        shape: Its shape.
        dtype: Its type.
    """

    letter: str
    about: str
    tensor: str
    shape: tuple[int, ...]
    dtype: str


def schemas_of(plan: RunPlan, *, site_file: Path | None, data: Path | None) -> dict[str, ModalitySchema]:
    """Features of every modality of the plan: as a site has them, or as the plan's own hospitals do.

    Raises:
        PlanError: If the plan has no hospitals and no site is named.
        LegoError: If the data cannot be read.
    """
    from client.site import read_site_file
    from simulations.make_sites import load_dataset

    if site_file is not None:
        file = read_site_file(site_file)
        here = file.rules.restrict(file.data.load(site_file.parent)).schemas
    elif plan.simulation is not None:
        here = load_dataset(plan.simulation, data=data).schemas
    else:
        raise PlanError(
            f"Plan '{plan.name}' has no [simulation], so the number of features is not known. Name a site "
            "with --site-file site.toml."
        )
    return {name: here[name] for name in plan.modalities if name in here}


def all_that_may_leave(plan: RunPlan, schemas: dict[str, ModalitySchema]) -> Iterator[Leaving]:
    """Every tensor that some question of a run may be answered with."""
    for question, about in _questions(plan, schemas):
        if plan.privacy.sum_terms is not None:
            for form in forms_of(question, plan):
                yield Leaving(MaskedVectors.kind, form.group, "one per session", (form.dim,), "int32")
            if not travels_alone(question, plan.privacy):
                continue
        contract = in_the_open(question, plan)
        for name, (shape, dtype) in contract.tensors.items():
            yield Leaving(str(contract.kind), about, name, tuple(shape), str(dtype).removeprefix("torch."))


def revealed_by(kind: str) -> str:
    """What a letter says that it reveals."""
    (letter,) = [one for one in ANSWERS if one.kind == kind]
    return _revealed(letter)


def _revealed(letter: type[AbstractMessage]) -> str:
    paragraphs = inspect.cleandoc(letter.__doc__ or "").split("\n\n")
    return " ".join(next(one for one in paragraphs if one.startswith("Reveals")).split())


def _questions(plan: RunPlan, schemas: dict[str, ModalitySchema]) -> Sequence[tuple[AbstractSummable, str]]:
    agreement, names = Agreement(schemas=schemas, task=plan.task), tuple(schemas)
    asked: list[tuple[AbstractSummable, str]] = [
        (AskStatistics(modality=name, schema_of_group=schemas[name]), name) for name in names
    ]
    asked.append((AskOutcomes(), "outcomes"))
    asked += [
        (AskBlockUpdate(agreement=agreement, modality=name, round=1), f"block '{name}'") for name in names
    ]
    if plan.merging.needs_grams:
        asked += [(AskGrams(agreement=agreement, modality=name), f"block '{name}'") for name in names]
    if plan.fuse and len(names) > 1:
        asked.append((AskFuseUpdate(agreement=agreement, modalities=names, round=1), "fused model"))
    fused = plan.fuse is not None and len(names) > 1
    asked.append((AskReport(agreement=agreement, modalities=names, with_fused=fused), "scores"))
    return asked
