"""Updates that nobody sees but as a sum over sites."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from lego_core.errors import LegoError, ProtocolError, RunError
from lego_core.exchangeable import exchanged, parts
from lego_core.guard import check_norm
from lego_core.protocol import Progress
from lego_core.run_report import LearningPoint
from lego_core.run_sums import everybodys_part, score_form, sum_parts, update_forms
from lego_core.sum_forms import SumForm
from lego_core.update import BlockUpdate
from server.asked import Asked, Opened
from server.gathered import Gathered
from server.learner import Learner
from server.sums import SumOffice
from server.training_questions import TrainingQuestions

TOGETHER = "all sites together"  # whose losses a learning curve shows, where no site's own are seen


@final
@dataclass(frozen=True)
class SummedUpdates:
    """The collector of a plan with a secure sum.

    Args:
        questions: What sites are asked.
        office: Who adds their answers up.
        drawn: Which sites are summed together, by learner; the same in every round, since buckets
            that change could be solved for single sites.
    """

    questions: TrainingQuestions
    office: SumOffice
    drawn: dict[str, list["_Bucket"]] = field(default_factory=dict)

    def train(self, learners: Sequence[Learner], *, number: int) -> dict[str, Gathered]:
        """As `Collector.train`; a part that too few sites teach stays as it is.

        The scores of the received weights have a sum of their own, over the sites that can judge them.
        """
        for learner in learners:
            if learner.name not in self.drawn:
                self.drawn[learner.name] = self._draw(learner)
        forms = self._score_forms(learners)
        asked = []
        for learner in learners:
            buckets = self.drawn[learner.name]
            forms |= {one.name: one.form for one in buckets}
            for site in learner.members:
                groups = [one.name for one in buckets if site.site in one.sites]
                groups += [score_form(learner.model).group] if site in learner.judges else []
                one = self.questions.ask(learner, site, number=number, score_only=False)
                asked.append(replace(one, groups=tuple(group for group in groups if group in forms)))
        opened, closed = self._add_up(forms, [one for one in asked if one.groups], number)
        return {learner.name: self._gathered(learner, opened, closed, number) for learner in learners}

    def score(self, learners: Sequence[Learner], *, number: int) -> dict[str, Gathered]:
        """As `Collector.score`; nobody judges a model for which too few sites have validation patients."""
        forms = self._score_forms(learners)
        asked = [
            replace(
                self.questions.ask(learner, site, number=number, score_only=True),
                groups=(score_form(learner.model).group,),
            )
            for learner in learners
            if score_form(learner.model).group in forms
            for site in learner.judges
        ]
        opened, closed = self._add_up(forms, asked, number)
        return {
            learner.name: Gathered(
                progress=self._judged(learner, opened, number),
                closed=closed.get(score_form(learner.model).group, ""),
            )
            for learner in learners
        }

    def _add_up(
        self, forms: Mapping[str, SumForm], asked: Sequence[Asked], number: int
    ) -> tuple[dict[str, Opened], dict[str, str]]:
        return self.office.add_up(forms, asked, phase=self.questions.phase, round_number=number)

    def _score_forms(self, learners: Sequence[Learner]) -> dict[str, SumForm]:
        """The sums of scores, of the models that enough sites can judge."""
        enough = [learner for learner in learners if len(learner.judges) >= self.office.terms.fewest]
        return {form.group: form for form in (score_form(learner.model) for learner in enough)}

    def _draw(self, learner: Learner) -> list["_Bucket"]:
        """Which sites are summed together: for each part all that teach it, or buckets drawn by lot.

        A part that too few sites teach is in no sum.
        """
        terms, buckets = self.office.terms, []
        for part, form in update_forms(learner.model).items():
            sites = [site.site for site in learner.members if part == learner.name or site.teaches(part)]
            sites.sort(key=lambda site, group=form.group: self._lot(group, site))
            count = min(terms.buckets, len(sites) // terms.fewest)
            for place in range(count):
                name = f"{form.group}#{place + 1}" if count > 1 else form.group
                buckets.append(_Bucket(name, part, form, frozenset(sites[place::count])))
        return buckets

    def _lot(self, group: str, site: str) -> bytes:
        """What a site has drawn for one sum: the same whenever the run is resumed."""
        return hashlib.sha256(f"{self.office.exchange.log.lots}/{group}/{site}".encode()).digest()

    def _gathered(
        self,
        learner: Learner,
        opened: Mapping[str, Opened],
        closed: Mapping[str, str],
        number: int,
    ) -> Gathered:
        """What the sums of a learner hold; a bucket that stayed closed, or cannot be right, takes no part."""
        main = everybodys_part(learner.model)
        updates: dict[str, list[BlockUpdate]] = {}
        losses, sites, reasons = [], [], []
        for bucket in self.drawn[learner.name]:
            summed = opened.get(bucket.name)
            try:
                if summed is None:
                    raise RunError(closed.get(bucket.name, "The sum stayed closed."))
                check_norm(
                    _update_of(summed),
                    bound=self.office.terms.clip_norm,
                    whose=f"Round {number}, '{learner.name}': the mean of the sum '{bucket.name}'",
                    key=self.questions.plan.update_bound_key,
                )
            except LegoError as error:
                reasons.append(error.public)
                continue
            for name, update in _by_part(learner, bucket.part, summed).items():
                updates.setdefault(name, []).append(update)
            if bucket.part == main:
                sites += summed.sites
                losses.append(summed.numbers.numbers)
        progress = self._judged(learner, opened, number)
        if not losses:
            return Gathered(
                progress=progress, closed=" ".join(reasons) or "Too few sites teach it for a sum."
            )
        self._note(learner, losses, progress, number)
        return Gathered(tuple(sorted(sites)), updates, progress)

    def _judged(self, learner: Learner, opened: Mapping[str, Opened], number: int) -> list[Progress]:
        """How the weights did, as if at one site; nothing, where no sum tells, or none that can be right."""
        summed = opened.get(score_form(learner.model).group)
        if summed is None:
            return []
        try:
            return [Progress.from_sums(summed.numbers.numbers)]
        except LegoError as error:
            told = {"phase": self.questions.phase, "round": number, "modality": learner.name}
            self.office.exchange.log.write("scores-put-aside", {**told, "reason": error.public})
            return []

    def _note(
        self,
        learner: Learner,
        losses: Sequence[Mapping[str, Tensor]],
        judged: Sequence[Progress],
        number: int,
    ) -> None:
        """Put one point on the learning curve, and say if updates were longer than the plan allows."""
        together = {name: sum(one[name] for one in losses[1:]) + losses[0][name] for name in losses[0]}
        train_losses = Progress.from_sums(together).train_losses
        phase, log = self.questions.phase, self.office.exchange.log
        log.answered(
            LearningPoint.of(
                (judged[0] if judged else Progress()).model_copy(update={"train_losses": train_losses}),
                phase=phase,
                round_number=number,
                site=TOGETHER,
                modality=learner.name,
            )
        )
        longer = round(float(together["shortened"]))
        if longer:
            log.write(
                "shortened", {"phase": phase, "round": number, "modality": learner.name, "sites": longer}
            )


@dataclass(frozen=True)
class _Bucket:
    """One sum over some of the sites that hold a part.

    Args:
        name: What the server calls it; the sites know its form alone.
        part: Of the model.
        form: What is summed.
        sites: Over which sites.
    """

    name: str
    part: str
    form: SumForm
    sites: frozenset[str]


def _update_of(summed: Opened) -> BlockUpdate:
    if summed.numbers.update is None:
        raise ProtocolError("A sum of updates holds none. Run the same code at both ends.")
    return summed.numbers.update


def _by_part(learner: Learner, part: str, summed: Opened) -> dict[str, BlockUpdate]:
    """A sum's update, cut into the parts that are aggregated."""
    update = _update_of(summed)
    sizes = {name: exchanged(learner.model)[name].numel() for name in sum_parts(learner.model)[part]}
    pieces = dict(zip(sizes, update.total.split(list(sizes.values())), strict=True))
    return {
        name: BlockUpdate(torch.cat([pieces[one] for one in names]), update.weight)
        for name, names in parts(learner.model).items()
        if set(names) <= pieces.keys()
    }
