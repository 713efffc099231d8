"""Updates that nobody sees but as a sum over sites."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from lego_core.errors import ProtocolError
from lego_core.exchangeable import exchanged, parts
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
    """

    questions: TrainingQuestions
    office: SumOffice

    def train(self, learners: Sequence[Learner], *, number: int) -> dict[str, Gathered]:
        """As `Collector.train`; a part that too few sites hold stays as it is."""
        forms, asked = {}, []
        for learner in learners:
            own = self._enough(learner)
            forms |= {form.group: form for form in own.values()}
            for site in learner.members:
                one = self.questions.ask(learner, site, number=number, score_only=False)
                held = sum_parts(learner.model_for(site.held(learner.modalities)))
                groups = tuple(own[part].group for part in held if part in own)
                asked.append(replace(one, groups=groups))
        opened, closed = self._add_up(forms, asked, number)
        return {learner.name: self._gathered(learner, opened, closed, number) for learner in learners}

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

    def _enough(self, learner: Learner) -> dict[str, SumForm]:
        """The sums of those parts that enough members hold."""
        held = [sum_parts(learner.model_for(site.held(learner.modalities))) for site in learner.members]
        return {
            part: form
            for part, form in update_forms(learner.model).items()
            if sum(part in own for own in held) >= self.office.terms.fewest
        }

    def _gathered(
        self, learner: Learner, opened: Mapping[str, Opened], closed: Mapping[str, str], number: int
    ) -> Gathered:
        forms = update_forms(learner.model)
        main = forms[everybodys_part(learner.model)].group
        if main not in opened:
            return Gathered(closed=closed.get(main, "too few sites hold it"))
        updates: dict[str, Sequence[BlockUpdate]] = {}
        for part, form in forms.items():
            if form.group in opened:
                updates |= _by_part(learner, part, opened[form.group])
        progress = Progress.from_sums(opened[main].numbers.numbers)
        self.office.exchange.log.answered(
            LearningPoint.of(
                progress,
                phase=self.questions.phase,
                round_number=number,
                site=TOGETHER,
                modality=learner.name,
            )
        )
        shortened = round(float(opened[main].numbers.numbers["shortened"]))
        if shortened:
            told = {
                "phase": self.questions.phase,
                "round": number,
                "modality": learner.name,
                "sites": shortened,
            }
            self.office.exchange.log.write("shortened", told)
        return Gathered(opened[main].sites, updates, [progress])


def _by_part(learner: Learner, part: str, summed: Opened) -> dict[str, list[BlockUpdate]]:
    """A sum's update, cut into the parts that are aggregated."""
    update = summed.numbers.update
    if update is None:
        raise ProtocolError(f"The sum of part '{part}' of '{learner.name}' holds no update.")
    sizes = {name: exchanged(learner.model)[name].numel() for name in sum_parts(learner.model)[part]}
    pieces = dict(zip(sizes, update.total.split(list(sizes.values())), strict=True))
    return {
        name: [BlockUpdate(torch.cat([pieces[one] for one in names]), update.weight)]
        for name, names in parts(learner.model).items()
        if set(names) <= pieces.keys()
    }
