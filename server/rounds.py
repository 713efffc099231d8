"""Rounds of training: ask all groups at once, check what came, aggregate, keep it on the disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from lego_core.errors import LegoError, RunError
from lego_core.exchangeable import declared
from lego_core.plan import RunPlan
from lego_core.protocol import (
    Agreement,
    AskBlockUpdate,
    AskFuseUpdate,
    Letter,
    Progress,
    Update,
    check_tensors,
)
from lego_core.run_report import LearningPoint, LeftOut, RoundSummary
from server.checkpoint import Vault, write_checkpoint
from server.exchange import Answer, Exchange, Question
from server.learner import Learner, reveal_part
from server.participants import Participant

Phase = Literal["blocks", "fuse"]


@final
@dataclass
class Rounds:
    """The training loop of the server; one object for the rounds of one phase.

    Args:
        plan: What to do.
        exchange: How to reach the sites.
        folder: Where finished rounds are kept.
        agreement: What the sites agreed on.
        phase: `blocks` or `fuse`.
    """

    plan: RunPlan
    exchange: Exchange
    folder: Vault
    agreement: Agreement
    phase: Phase

    def run(self, learners: Sequence[Learner]) -> None:
        """Train until every learner is done, and leave each with the weights that the plan keeps.

        The best ones, for blocks trained in rounds where the plan keeps the best; the last ones
        otherwise, in fuse rounds, and after one upload.

        Raises:
            RunError: If fewer sites answer for a learner than the plan asks for.
        """
        rounds = self._number_of_rounds()
        for number in range(1, rounds + 1):
            training = [learner for learner in learners if not learner.done]
            if not training:
                break
            self._round(number, training, rounds=rounds)
        self._score([learner for learner in learners if not learner.done])
        for learner in learners:
            learner.keep_best()
            ended = {"modality": learner.name, "rounds": learner.rounds, "kept_round": learner.best_round}
            self.exchange.log.write("block-finished", {"phase": self.phase, **ended})

    def _round(self, number: int, learners: Sequence[Learner], *, rounds: int) -> None:
        asked = [(learner, site) for learner in learners for site in learner.members]
        names = [[site.site, learner.name] for learner, site in asked]
        doing = {"phase": self.phase, "round": number}
        self.exchange.log.write("round-started", {**doing, "rounds": rounds, "asked": names})
        letters = self._ask(asked, number=number)
        self._check_enough(number, learners, letters)
        losses = {}
        for learner in learners:
            progress = [Update.read(letter).progress for _, letter in letters[learner.name]]
            losses[learner.name] = learner.judge(progress, may_be_kept=self._may_be_kept(learner))
        self._aggregate(number, learners, letters)
        states = {learner.name: learner.state() for learner in learners}
        write_checkpoint(self.folder, phase=self.phase, round_number=number, tensors=states)
        for learner in learners:
            summary = RoundSummary(
                phase=self.phase,
                round=number,
                modality=learner.name,
                asked=tuple(site.site for site in learner.members),
                answered=tuple(site for site, _ in letters[learner.name]),
                validation_loss=losses[learner.name],
            )
            self.exchange.log.round_finished(summary, best_round=learner.best_round)

    def _aggregate(
        self, number: int, learners: Sequence[Learner], letters: dict[str, list[tuple[str, Letter]]]
    ) -> None:
        """Aggregate inside each group; in the seed phase, the trunk over all groups together."""
        in_seed_phase = self.phase == "blocks" and number <= self.plan.rounds.seed_rounds
        own = {learner.name: [letter for _, letter in letters[learner.name]] for learner in learners}
        everyones = [
            update
            for learner in (learners if in_seed_phase else [])
            for update in reveal_part(learner.model, "trunk", own[learner.name], self.plan)
        ]
        for learner in learners:
            learner.absorb(own[learner.name], parts_of_own=("own",) if in_seed_phase else None)
            if in_seed_phase:
                learner.move("trunk", everyones)
                learner.remember_start()
            learner.rounds = number
            waited = number - max(learner.best_round, self.plan.rounds.seed_rounds)
            learner.done = self._may_stop_early and waited > self.plan.rounds.patience

    def _ask(
        self, asked: Sequence[tuple[Learner, Participant]], *, number: int, score_only: bool = False
    ) -> dict[str, list[tuple[str, Letter]]]:
        """Ask, check every answer, and give the usable letters of each learner by site."""
        questions = [self._question(learner, site, number, score_only) for learner, site in asked]
        answers = self.exchange.ask(
            questions,
            timeout_seconds=self.plan.participation.round_seconds,
            doing={"phase": self.phase, "round": number},
        )
        usable: dict[str, list[tuple[str, Letter]]] = {learner.name: [] for learner, _ in asked}
        for (learner, site), answer in zip(asked, answers, strict=True):
            try:
                letter = self._checked(learner, site, answer, score_only=score_only)
            except LegoError as error:
                self._leave_out(learner, answer, number, error.public)
                continue
            usable[learner.name].append((site.site, letter))
            if not score_only:
                self._note(learner, site, letter, number)
        return usable

    def _score(self, learners: Sequence[Learner]) -> None:
        """Let the sites judge the last weights, which no further round will."""
        asked = [(learner, site) for learner in learners for site in learner.members]
        if not asked:
            return
        letters = self._ask(asked, number=max(learner.rounds for learner in learners), score_only=True)
        for learner in learners:
            learner.judge([Progress.read(letter) for _, letter in letters[learner.name]])

    def _question(self, learner: Learner, site: Participant, number: int, score_only: bool) -> Question:
        held = site.held(learner.modalities)
        if self.phase == "blocks":
            letter = AskBlockUpdate(
                agreement=self.agreement, modality=learner.name, round=max(number, 1),
                to_the_end=self._one_shot, score_only=score_only,
            )  # fmt: skip
        else:
            letter = AskFuseUpdate(
                agreement=self.agreement, modalities=held, round=max(number, 1), score_only=score_only
            )
        return Question(site.node_id, site.site, letter.letter(learner.state_for(held)), learner.name)

    def _checked(self, learner: Learner, site: Participant, answer: Answer, *, score_only: bool) -> Letter:
        if answer.letter is None:
            raise RunError(answer.reason)
        sender = f"Site '{site.site}'"
        if score_only:
            Progress.read(answer.letter).check_finite(sender=sender)
            return answer.letter
        update = Update.read(answer.letter)
        update.progress.check_finite(sender=sender)
        if not update.weight > 0:
            raise RunError(f"{sender} sent an update that no patient stands behind.")
        model = learner.model_for(site.held(learner.modalities))
        check_tensors(answer.letter, declared(self.plan.privacy, model), sender=sender)
        return answer.letter

    def _note(self, learner: Learner, site: Participant, letter: Letter, number: int) -> None:
        progress = Update.read(letter).progress
        validated = progress.validation_patients
        self.exchange.log.answered(
            LearningPoint(
                phase=self.phase,
                round=number,
                site=site.site,
                modality=learner.name,
                train_loss=progress.train_losses[-1] if progress.train_losses else None,
                validation_loss=progress.validation_loss / validated if validated else None,
                seconds=progress.seconds,
            )
        )

    def _leave_out(self, learner: Learner, answer: Answer, number: int, reason: str) -> None:
        self.exchange.log.leave_out(
            LeftOut(
                site=answer.question.site, phase=self.phase, round=number, modality=learner.name,
                declined=answer.declined, reason=reason,
            )
        )  # fmt: skip

    def _check_enough(
        self, number: int, learners: Sequence[Learner], letters: dict[str, list[tuple[str, Letter]]]
    ) -> None:
        smallest = self.plan.participation.smallest_group
        for learner in learners:
            there = len(letters[learner.name])
            if there < smallest:
                raise RunError(
                    f"Round {number}, '{learner.name}': {there} of {len(learner.members)} sites gave a "
                    f"usable answer and plan '{self.plan.name}' asks for {smallest} (key "
                    f"participation.smallest-group). The weights after round {number - 1} are on the disk. "
                    "See who was left out and why, and start again when they are back."
                )

    def _may_be_kept(self, learner: Learner) -> bool:
        """Whether training may end with the weights as they are: not from before the common start."""
        return self._may_stop_early and learner.rounds >= self.plan.rounds.seed_rounds

    @property
    def _may_stop_early(self) -> bool:
        """Only blocks in rounds whose plan keeps the best weights; elsewhere every round is run."""
        return self.phase == "blocks" and not self._one_shot and self.plan.training.keep == "best"

    @property
    def _one_shot(self) -> bool:
        return self.phase == "blocks" and self.plan.rounds.mode == "one-shot"

    def _number_of_rounds(self) -> int:
        if self.phase == "fuse":
            return self.plan.fuse.rounds if self.plan.fuse else 0
        return 1 if self._one_shot else self.plan.rounds.rounds
