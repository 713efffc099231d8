"""Updates that travel as they are: every site's is read by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from lego_core.errors import LegoError, RunError
from lego_core.exchangeable import declared, parts
from lego_core.guard import check_norm
from lego_core.letters import Letter, check_tensors
from lego_core.plan import RunPlan
from lego_core.protocol import Progress, Update
from lego_core.run_report import LearningPoint, LeftOut
from lego_core.run_sums import sum_parts
from lego_core.update import BlockUpdate, to_vector
from server.asked import Asked
from server.exchange import Answer, Exchange, Question
from server.gathered import Gathered
from server.learner import Learner
from server.training_questions import TrainingQuestions


@final
@dataclass(frozen=True)
class OpenUpdates:
    """The collector of a plan that hides nothing.

    Args:
        questions: What sites are asked.
        exchange: How to reach them.
    """

    questions: TrainingQuestions
    exchange: Exchange

    def train(self, learners: Sequence[Learner], *, number: int) -> dict[str, Gathered]:
        """As `Collector.train`."""
        letters = self._ask(learners, number=number, score_only=False)
        return {learner.name: _gathered(learner, letters[learner.name]) for learner in learners}

    def score(self, learners: Sequence[Learner], *, number: int) -> dict[str, Gathered]:
        """As `Collector.score`."""
        letters = self._ask(learners, number=number, score_only=True)
        return {
            name: Gathered(
                sites=tuple(site for site, _ in own), progress=[Progress.read(letter) for _, letter in own]
            )
            for name, own in letters.items()
        }

    def _ask(
        self, learners: Sequence[Learner], *, number: int, score_only: bool
    ) -> dict[str, list[tuple[str, Letter]]]:
        """Ask, check every answer, and give the usable letters of each learner by site."""
        plan, phase = self.questions.plan, self.questions.phase
        asked = [
            (learner, self.questions.ask(learner, site, number=number, score_only=score_only))
            for learner in learners
            for site in learner.members
        ]
        questions = [
            Question(one.member.node_id, one.member.site, one.question.letter(one.tensors), one.about)
            for _, one in asked
        ]
        answers = self.exchange.ask(
            questions,
            timeout_seconds=plan.participation.round_seconds,
            doing={"phase": phase, "round": number},
        )
        usable: dict[str, list[tuple[str, Letter]]] = {learner.name: [] for learner in learners}
        for (learner, one), answer in zip(asked, answers, strict=True):
            try:
                letter = _checked(learner, one, answer, plan=plan, score_only=score_only)
            except LegoError as error:
                self.exchange.log.leave_out(
                    LeftOut(
                        site=one.member.site, phase=phase, round=number, modality=learner.name,
                        declined=answer.declined, reason=error.public, budget_spent=answer.budget_spent,
                    )
                )  # fmt: skip
                continue
            usable[learner.name].append((one.member.site, letter))
            if not score_only:
                update = Update.read(letter)
                self._note(learner, one.member.site, update.progress, number)
                self.exchange.log.privacy_spent(one.member.site, update.spent)
        return usable

    def _note(self, learner: Learner, site: str, progress: Progress, number: int) -> None:
        point = LearningPoint.of(
            progress, phase=self.questions.phase, round_number=number, site=site, modality=learner.name
        )
        self.exchange.log.answered(point)


def _checked(learner: Learner, one: Asked, answer: Answer, *, plan: RunPlan, score_only: bool) -> Letter:
    if answer.letter is None:
        raise RunError(answer.reason)
    sender = f"Site '{one.member.site}'"
    if score_only:
        Progress.read(answer.letter).check_finite(sender=sender)
        return answer.letter
    update = Update.read(answer.letter)
    update.progress.check_finite(sender=sender)
    if not update.weight > 0:
        raise RunError(f"{sender} sent an update that no patient stands behind.")
    model = learner.model_for(one.member.held(learner.modalities))
    check_tensors(answer.letter, declared(model), sender=sender)
    bound = plan.update_bound
    if bound is not None:
        for part, names in sum_parts(model).items():
            update = _weighted(answer.letter, names)
            check_norm(update, bound=bound, whose=f"{sender}, part '{part}': its update")
    return answer.letter


def _gathered(learner: Learner, letters: Sequence[tuple[str, Letter]]) -> Gathered:
    """Part by part; a site that lacks a modality sends nothing for its block, and takes no part in it."""
    updates = {
        part: [_weighted(letter, names) for _, letter in letters if set(names) <= letter.tensors.keys()]
        for part, names in parts(learner.model).items()
    }
    return Gathered(
        sites=tuple(site for site, _ in letters),
        updates=updates,
        progress=[Update.read(letter).progress for _, letter in letters],
    )


def _weighted(letter: Letter, names: Sequence[str]) -> BlockUpdate:
    weight = Update.read(letter).weight
    return BlockUpdate(to_vector({name: letter.tensors[name] for name in names}) * weight, weight)
