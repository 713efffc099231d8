"""What the linear layers of every block are fed: asked of the sites that trained it, and added up."""

from collections.abc import Mapping, Sequence

from lego_core.block import LegoBlock
from lego_core.errors import LegoError, RunError
from lego_core.gram import GramStatistics
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement, AskGrams, Grams
from lego_core.run_report import LeftOut
from server.exchange import Answer, Exchange, Question
from server.participants import Participant


def gather_grams(
    blocks: Sequence[LegoBlock],
    members: Mapping[str, Sequence[Participant]],
    *,
    agreement: Agreement,
    plan: RunPlan,
    exchange: Exchange,
) -> dict[str, GramStatistics]:
    """Ask the members of every block for their sums, and add up those that can be read, by modality.

    A site without a usable answer is left out by name.

    Raises:
        RunError: If fewer sites answer for a block than the plan asks for.
    """
    asked = [(block, site) for block in blocks for site in members[block.modality]]
    questions = []
    for block, site in asked:
        question = AskGrams(agreement=agreement, modality=block.modality)
        letter = question.letter(block.state_dict())
        questions.append(Question(site.node_id, site.site, letter, block.modality))
    answers = exchange.ask(
        questions, timeout_seconds=plan.participation.round_seconds, doing={"phase": "merge", "round": 0}
    )
    usable: dict[str, list[GramStatistics]] = {block.modality: [] for block in blocks}
    for (block, site), answer in zip(asked, answers, strict=True):
        try:
            usable[block.modality].append(_read(answer, like=GramStatistics.of_nobody(block.trunk)))
        except LegoError as error:
            exchange.log.leave_out(
                LeftOut(
                    site=site.site, phase="merge", round=0, modality=block.modality,
                    declined=answer.declined, reason=error.public,
                )
            )  # fmt: skip
    for modality, sums in usable.items():
        _check_enough(modality, len(sums), plan)
    return {modality: sum(sums[1:], start=sums[0]) for modality, sums in usable.items()}


def _read(answer: Answer, *, like: GramStatistics) -> GramStatistics:
    if answer.letter is None:
        raise RunError(answer.reason)
    Grams.read(answer.letter)
    return GramStatistics.from_tensors(answer.letter.tensors, like=like)


def _check_enough(modality: str, there: int, plan: RunPlan) -> None:
    smallest = plan.participation.smallest_group
    if there < smallest:
        raise RunError(
            f"The merge of plan '{plan.name}' works with Gram matrices; {there} sites gave theirs of block "
            f"'{modality}' and the plan asks for {smallest} (key participation.smallest-group). See who was "
            "left out and why, or merge by a method that needs none, such as 'slerp'."
        )
