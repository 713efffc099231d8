"""Updates that travel as they are: every site's is read by itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from lego_core.errors import RunError
from lego_core.exchangeable import declared, parts
from lego_core.guard import check_norm
from lego_core.letters import Letter, check_tensors
from lego_core.plan import RunPlan
from lego_core.protocol import Progress, Update
from lego_core.run_report import LearningPoint
from lego_core.run_sums import sum_parts
from lego_core.update import BlockUpdate, to_vector
from server.ask_each import ask_each
from server.asked import Asked
from server.exchange import Exchange
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
        plan, by_name = self.questions.plan, {learner.name: learner for learner in learners}
        asked = [
            self.questions.ask(learner, site, number=number, score_only=score_only)
            for learner in learners
            for site in learner.members
        ]

        def read(one: Asked, letter: Letter) -> Letter:
            return _checked(by_name[one.about], one, letter, plan=plan, score_only=score_only)

        letters = ask_each(
            self.exchange,
            asked,
            read,
            wait_seconds=plan.participation.round_seconds,
            phase=self.questions.phase,
            round_number=number,
        )
        usable: dict[str, list[tuple[str, Letter]]] = {learner.name: [] for learner in learners}
        for one, letter in letters:
            usable[one.about].append((one.member.site, letter))
            if not score_only:
                update = Update.read(letter)
                self._note(by_name[one.about], one.member.site, update.progress, number)
                self.exchange.log.privacy_spent(one.member.site, update.spent)
        return usable

    def _note(self, learner: Learner, site: str, progress: Progress, number: int) -> None:
        point = LearningPoint.of(
            progress, phase=self.questions.phase, round_number=number, site=site, modality=learner.name
        )
        self.exchange.log.answered(point)


def _checked(learner: Learner, one: Asked, letter: Letter, *, plan: RunPlan, score_only: bool) -> Letter:
    sender = f"Site '{one.member.site}'"
    if score_only:
        Progress.read(letter).check_finite(sender=sender)
        return letter
    update = Update.read(letter)
    update.progress.check_finite(sender=sender)
    if not update.weight > 0:
        raise RunError(f"{sender} sent an update that no patient stands behind.")
    model = learner.model_for(one.member.held(learner.modalities))
    check_tensors(letter, declared(model, plan.travel_dtype), sender=sender)
    letter = replace(letter, tensors={name: tensor.float() for name, tensor in letter.tensors.items()})
    bound = plan.update_bound
    if bound is not None:
        bound *= 1 + torch.finfo(plan.travel_dtype).eps / 2  # what rounding on the way may add
        for part, names in sum_parts(model).items():
            update = _weighted(letter, names)
            whose = f"{sender}, part '{part}': its update"
            check_norm(update, bound=bound, whose=whose, key=plan.update_bound_key)
    return letter


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
