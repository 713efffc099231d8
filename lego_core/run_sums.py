"""The sums of a run: which there are, and what a site adds to each. Server and sites read it here.

Every part of a model, every modality's statistics and every score goes into one sum of one name, so
that no site's numbers can be added up over two sets of sites.
"""

from lego_core.block import LegoBlock
from lego_core.exchangeable import exchanged, parts
from lego_core.fuse import LegoFuse
from lego_core.gram import GramStatistics
from lego_core.privacy import Privacy
from lego_core.protocol import AbstractSummable, AskBlockUpdate, Progress
from lego_core.records import ModalitySchema
from lego_core.statistics import FeatureStatistics
from lego_core.sum_forms import SumForm
from lego_core.tasks import Task
from lego_core.trunk import Trunk


def run_name(plan: str, run_id: int) -> str:
    """What a session calls the run: the plan's name, and Flower's number of the run."""
    return f"{plan}/{run_id}"


def statistics_form(modality: str, schema: ModalitySchema) -> SumForm:
    """Sums behind the normalisation of one modality."""
    return SumForm.of(
        f"statistics/{modality}", numbers=FeatureStatistics.of_nobody(schema.features).to_tensors()
    )


def outcomes_form(task: Task) -> SumForm:
    """Counts behind time bins and base rates."""
    return SumForm.of("outcomes", numbers=task.count_nobody().to_tensors())


def grams_form(modality: str, trunk: Trunk) -> SumForm:
    """What the layers of one block are fed."""
    return SumForm.of(f"grams/{modality}", numbers=GramStatistics.of_nobody(trunk).to_tensors())


def score_form(model: LegoBlock | LegoFuse) -> SumForm:
    """How weights did on validation patients, whether they are trained then or not.

    It is one sum of one name, over the sites that have such patients: in two, over other sites, the
    same scores would show one site by subtraction.
    """
    return SumForm.of(f"scores/{everybodys_part(model)}", numbers=Progress().scores_to_sums())


def update_forms(model: LegoBlock | LegoFuse) -> dict[str, SumForm]:
    """What training teaches, by part: a block in one sum, a fused model in several.

    The sites that fuse hold different blocks, so each block has a sum of its own, over those whose
    patients teach it. Training losses go with the part that everybody has.
    """
    tensors, losses = exchanged(model), Progress().losses_to_sums()
    forms = {}
    for part, names in sum_parts(model).items():
        shapes = {name: tensors[name] for name in names}
        numbers = losses if part == everybodys_part(model) else {}
        forms[part] = SumForm.of(part_groups(model)[part], update=shapes, numbers=numbers)
    return forms


def sum_parts(model: LegoBlock | LegoFuse) -> dict[str, tuple[str, ...]]:
    """Names of the tensors that are summed together, by part."""
    if isinstance(model, LegoBlock):
        return {model.modality: tuple(sorted(exchanged(model)))}
    return parts(model)


def everybodys_part(model: LegoBlock | LegoFuse) -> str:
    """The part of a model that every site that trains it holds."""
    return model.modality if isinstance(model, LegoBlock) else "head"


def part_groups(model: LegoBlock | LegoFuse) -> dict[str, str]:
    """Name of the sum that each part goes into."""
    family = "blocks" if isinstance(model, LegoBlock) else "fused"
    return {part: f"{family}/{part}" for part in sum_parts(model)}


def travels_alone(question: AbstractSummable, privacy: Privacy) -> bool:
    """Whether the answer is the update of a block that the plan lets travel outside of sums, with noise."""
    if not isinstance(question, AskBlockUpdate) or question.score_only or question.sums:
        return False
    return question.modality in privacy.travel_alone
