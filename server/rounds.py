"""Rounds of training: ask all groups at once, check what came, aggregate, keep it on the disk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from lego_core.errors import RunError
from lego_core.plan import RunPlan
from lego_core.run_report import RoundSummary
from server.gathered import Collector, Gathered
from server.learner import Learner
from server.run_log import RunLog
from server.training_questions import TrainingQuestions


@final
@dataclass(frozen=True)
class Rounds:
    """The training loop of the server; one object for the rounds of one phase.

    Args:
        questions: What sites are asked in this phase.
        collector: Who asks them, and reads what they answer.
        log: The run's diary.
        keep: Writes down, under a name, all that the rest of the run depends on.
    """

    questions: TrainingQuestions
    collector: Collector
    log: RunLog
    keep: Callable[[str], None]

    @property
    def plan(self) -> RunPlan:
        """What to do."""
        return self.questions.plan

    def run(self, learners: Sequence[Learner]) -> None:
        """Train until every learner is done, and leave each with the weights that the plan keeps.

        The best ones, for blocks trained in rounds where the plan keeps the best; the last ones
        otherwise, in fuse rounds, and after one upload. Learners that were trained before, in a run that
        broke off, go on where they were.

        Raises:
            RunError: If fewer sites answer for a learner than the plan asks for.
        """
        if all(learner.ended for learner in learners):
            return
        rounds = self._number_of_rounds()
        for number in range(1 + max(learner.rounds for learner in learners), rounds + 1):
            training = [learner for learner in learners if not learner.done]
            if not training:
                break
            self._round(number, training, rounds=rounds)
        self._score([learner for learner in learners if not learner.done or learner.spent])
        for learner in learners:
            learner.keep_best()
            ended = {"modality": learner.name, "rounds": learner.rounds, "kept_round": learner.best_round}
            self.log.write("block-finished", {"phase": self.questions.phase, **ended})
        self.keep(f"{self.questions.phase}-finished")

    def _round(self, number: int, learners: Sequence[Learner], *, rounds: int) -> None:
        names = [[site.site, learner.name] for learner in learners for site in learner.members]
        doing = {"phase": self.questions.phase, "round": number}
        self.log.write("round-started", {**doing, "rounds": rounds, "asked": names})
        gathered = self.collector.train(learners, number=number)
        learners = [one for one in learners if not self._has_spent_all(one, gathered[one.name], number)]
        self._check_enough(number, learners, gathered)
        losses = {
            learner.name: learner.judge(
                gathered[learner.name].progress, may_be_kept=self._may_be_kept(learner)
            )
            for learner in learners
        }
        good = [one for one in learners if not self._taken_back(one, losses[one.name], number)]
        self._aggregate(number, good, gathered)
        for learner in learners:
            summary = RoundSummary(
                phase=self.questions.phase,
                round=number,
                modality=learner.name,
                asked=tuple(site.site for site in learner.members),
                answered=gathered[learner.name].sites,
                validation_loss=losses[learner.name],
            )
            score = self._tellable_score(learner, gathered[learner.name])
            self.log.round_finished(summary, best_round=learner.best_round, score=score)
        self.keep(f"{self.questions.phase}-round-{number:03d}")

    def _tellable_score(self, learner: Learner, gathered: Gathered) -> float | None:
        """How the round's weights rank the sites' validation patients, if these are not too few to tell."""
        patients = sum(one.validation_patients for one in gathered.progress)
        return learner.last_score if patients >= self.plan.evaluation.smallest_count else None

    def _has_spent_all(self, learner: Learner, gathered: Gathered, number: int) -> bool:
        """End a learner's training if too few sites may train it any more: it keeps the weights it has."""
        spent = {
            left.site
            for left in self.log.left_out
            if left.budget_spent
            and (left.phase, left.round, left.modality) == (self.questions.phase, number, learner.name)
        }
        smallest = self.plan.smallest_group_of(learner.name)
        if not spent or (not gathered.closed and len(gathered.sites) >= smallest):
            return False
        told = {"phase": self.questions.phase, "round": number, "modality": learner.name}
        self.log.write("budget-spent", {**told, "sites": sorted(spent)})
        learner.done = learner.spent = True
        return True

    def _taken_back(self, learner: Learner, loss: float | None, number: int) -> bool:
        """Take the last round of a learner back if it did worse than the plan bears.

        What sites learned from the worse weights is put aside with it.
        """
        if not self.plan.guard.is_too_bad(loss, best=learner.good_loss):
            learner.take_for_good(loss)
            return False
        told = {"phase": self.questions.phase, "round": number, "modality": learner.name}
        self.log.write("taken-back", {**told, "loss": loss, "best_loss": learner.good_loss})
        learner.go_back()
        learner.rounds = number
        return True

    def _aggregate(self, number: int, learners: Sequence[Learner], gathered: Mapping[str, Gathered]) -> None:
        """Aggregate inside each group; in the seed phase, the trunk over all groups together."""
        in_seed_phase = self.questions.phase == "blocks" and number <= self.plan.rounds.seed_rounds
        everyones = [
            update for learner in learners for update in gathered[learner.name].updates.get("trunk", ())
        ]
        for learner in learners:
            for part, updates in gathered[learner.name].updates.items():
                learner.move(part, everyones if in_seed_phase and part == "trunk" else updates)
            if in_seed_phase:
                learner.remember_start()
            learner.rounds = number
            waited = number - max(learner.best_round, self.plan.rounds.seed_rounds)
            learner.done = self._may_stop_early and waited > self.plan.rounds.patience

    def _score(self, learners: Sequence[Learner]) -> None:
        """Let the sites judge the last weights, which no further round will."""
        if not any(learner.members for learner in learners):
            return
        number = max(learner.rounds for learner in learners)
        gathered = self.collector.score(learners, number=number + 1)
        for learner in learners:
            loss = learner.judge(gathered[learner.name].progress)
            if self._taken_back(learner, loss, number):
                learner.keep_good()

    def _check_enough(
        self, number: int, learners: Sequence[Learner], gathered: Mapping[str, Gathered]
    ) -> None:
        for learner in learners:
            smallest = self.plan.smallest_group_of(learner.name)
            own = gathered[learner.name]
            if own.closed or len(own.sites) < smallest:
                raise RunError(
                    f"Round {number}, '{learner.name}': {len(own.sites)} of {len(learner.members)} sites "
                    f"gave a usable answer and plan '{self.plan.name}' asks for {smallest} (key "
                    f"participation.smallest-group). The weights after round {number - 1} are on the disk. "
                    "See who was left out and why, and resume the run when they are back (run configuration, "
                    f"key resume). {own.closed}".strip()
                )

    def _may_be_kept(self, learner: Learner) -> bool:
        """Whether training may end with the weights as they are: not from before the common start."""
        return self._may_stop_early and learner.rounds >= self.plan.rounds.seed_rounds

    @property
    def _may_stop_early(self) -> bool:
        """Only blocks in rounds whose plan keeps the best weights; elsewhere every round is run."""
        return (
            self.questions.phase == "blocks"
            and not self.questions.is_one_shot
            and self.plan.training.keep == "best"
        )

    def _number_of_rounds(self) -> int:
        if self.questions.phase == "fuse":
            return self.plan.fuse.rounds if self.plan.fuse else 0
        return 1 if self.questions.is_one_shot else self.plan.rounds.rounds
