"""What the linear layers of every block are fed: asked of the sites that trained it, and added up."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from lego_core.block import LegoBlock
from lego_core.errors import RunError
from lego_core.gram import GramStatistics
from lego_core.letters import Letter
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement, AskGrams, Grams
from lego_core.run_sums import grams_form
from lego_core.sum_forms import SumForm, tensor_hashes
from server.asked import Asked, Office
from server.participants import Participant


def gather_grams(
    blocks: Sequence[LegoBlock],
    members: Mapping[str, Sequence[Participant]],
    *,
    agreement: Agreement,
    plan: RunPlan,
    office: Office,
) -> dict[str, GramStatistics]:
    """Ask the members of every block for their sums, and add up those that can be read, by modality.

    A site without a usable answer is left out by name.

    Raises:
        RunError: If fewer sites answer for a block than the plan asks for.
    """
    forms = {block.modality: grams_form(block.modality, block.trunk) for block in blocks}
    asked = [
        _ask(block, one, forms[block.modality], agreement)
        for block in blocks
        for one in members[block.modality]
    ]
    sums, closed = office.add_up({form.group: form for form in forms.values()}, asked, phase="merge")
    grams = {}
    for block in blocks:
        group = forms[block.modality].group
        summed = sums.get(group)
        _check_enough(block.modality, len(summed.sites) if summed else 0, plan, because=closed.get(group, ""))
        if summed:
            like = GramStatistics.of_nobody(block.trunk)
            grams[block.modality] = GramStatistics.from_tensors(summed.numbers.numbers, like=like)
    return grams


def _ask(block: LegoBlock, one: Participant, form: SumForm, agreement: Agreement) -> Asked:
    state, like = block.state_dict(), GramStatistics.of_nobody(block.trunk)

    def read(letter: Letter) -> dict[str, Tensor]:
        Grams.read(letter)
        return GramStatistics.from_tensors(letter.tensors, like=like).to_tensors()

    question = AskGrams(agreement=agreement, modality=block.modality, weights=tensor_hashes(state))
    return Asked(one, question, (form.group,), tensors=state, about=block.modality, read=read)


def _check_enough(modality: str, there: int, plan: RunPlan, *, because: str = "") -> None:
    smallest = plan.smallest_group_of(modality)
    if there < smallest:
        raise RunError(
            f"The merge of plan '{plan.name}' works with Gram matrices; {there} sites gave theirs of block "
            f"'{modality}' and the plan asks for {smallest} (key participation.smallest-group). See who was "
            f"left out and why, or merge by a method that needs none, such as 'slerp'. {because}"
        )
