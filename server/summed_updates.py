"""Updates that nobody sees but as a sum over sites."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import SystemRandom
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
        """As `Collector.train`; a part that too few sites hold stays as it is."""
        drawn = self.drawn
        for learner in learners:
            if learner.name not in drawn:
                drawn[learner.name] = self._draw(learner)
        asked = [
            replace(
                self.questions.ask(learner, site, number=number, score_only=False),
                groups=tuple(one.name for one in drawn[learner.name] if site.site in one.sites),
            )
            for learner in learners
            for site in learner.members
        ]
        forms = {one.name: one.form for learner in learners for one in drawn[learner.name]}
        opened, closed = self._add_up(forms, [one for one in asked if one.groups], number)
        return {
            learner.name: self._gathered(learner, drawn[learner.name], opened, closed, number)
            for learner in learners
        }

    def score(self, learners: Sequence[Learner], *, number: int) -> dict[str, Gathered]:
        """As `Collector.score`."""
        forms, asked = {}, []
        for learner in learners:
            form = score_form(learner.model)
            forms[form.group] = form
            for site in learner.members:
                one = self.questions.ask(learner, site, number=number, score_only=True)
                asked.append(replace(one, groups=(form.group,)))
        opened, closed = self._add_up(forms, asked, number)
        found = {}
        for learner in learners:
            group = score_form(learner.model).group
            summed = opened.get(group)
            found[learner.name] = Gathered(
                sites=summed.sites if summed else (),
                progress=[Progress.from_sums(summed.numbers.numbers)] if summed else [],
                closed=closed.get(group, ""),
            )
        return found

    def _add_up(
        self, forms: Mapping[str, SumForm], asked: Sequence[Asked], number: int
    ) -> tuple[dict[str, Opened], dict[str, str]]:
        return self.office.add_up(forms, asked, phase=self.questions.phase, round_number=max(number, 1))

    def _draw(self, learner: Learner) -> list["_Bucket"]:
        """Which sites are summed together: for each part all that hold it, or buckets drawn by lot.

        A part that too few sites hold is in no sum.
        """
        terms, buckets = self.office.terms, []
        held = {
            site.site: sum_parts(learner.model_for(site.held(learner.modalities))) for site in learner.members
        }
        for part, form in update_forms(learner.model).items():
            sites = [site for site, own in held.items() if part in own]
            SystemRandom().shuffle(sites)
            count = min(terms.buckets, len(sites) // terms.fewest)
            for place in range(count):
                name = f"{form.group}#{place + 1}" if count > 1 else form.group
                buckets.append(_Bucket(name, part, form, frozenset(sites[place::count])))
        return buckets

    def _gathered(
        self,
        learner: Learner,
        buckets: Sequence["_Bucket"],
        opened: Mapping[str, Opened],
        closed: Mapping[str, str],
        number: int,
    ) -> Gathered:
        """What the sums of a learner hold; a bucket that stayed closed, or cannot be right, takes no part."""
        main = everybodys_part(learner.model)
        updates: dict[str, list[BlockUpdate]] = {}
        progress, sites, reasons = [], [], []
        for bucket in buckets:
            summed = opened.get(bucket.name)
            try:
                if summed is None:
                    raise RunError(closed.get(bucket.name, "The sum stayed closed."))
                check_norm(
                    _update_of(summed),
                    bound=self.office.terms.clip_norm,
                    whose=f"Round {number}, '{learner.name}': the mean of the sum '{bucket.name}'",
                )
            except LegoError as error:
                reasons.append(error.public)
                continue
            for name, update in _by_part(learner, bucket.part, summed).items():
                updates.setdefault(name, []).append(update)
            if bucket.part == main:
                sites += summed.sites
                progress.append(summed.numbers.numbers)
        if not progress:
            return Gathered(closed=" ".join(reasons) or "Too few sites hold it for a sum.")
        self._note(learner, progress, number)
        return Gathered(tuple(sorted(sites)), updates, [Progress.from_sums(one) for one in progress])

    def _note(self, learner: Learner, progress: Sequence[Mapping[str, Tensor]], number: int) -> None:
        """Put one point on the learning curve, and say if updates were longer than the plan allows."""
        together = {name: sum(one[name] for one in progress[1:]) + progress[0][name] for name in progress[0]}
        phase, log = self.questions.phase, self.office.exchange.log
        log.answered(
            LearningPoint.of(
                Progress.from_sums(together),
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
