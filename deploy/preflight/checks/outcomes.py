"""Do the outcomes look like those of a task that can be learned?"""

from typing import final

import torch

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises
from lego_core.records import Cohort
from lego_core.tasks import Classification, MultiLabel, Survival

LONGEST_DAYS = 150 * 365.25
MOST_SHOWN = 20


@final
class Outcomes(AbstractCheck):
    """Events are neither none nor all, classes are neither one nor absent, times are those of a life."""

    name = "outcomes"
    asks = "Do outcomes differ between patients, and can they be true?"
    needs = ("file", "plan", "cohort")

    def look(self, premises: Premises) -> Finding:
        task, train = premises.plan().task, premises.cohort().part("train")
        if not len(train):
            return self.skipped("There are no training patients.")
        match task:
            case Survival():
                return self._survival(premises.cohort(), train)
            case Classification():
                found = {
                    name: int((_outcomes(train)[:, 0] == index).sum())
                    for index, name in enumerate(task.classes)
                }
                return self._groups(found, "class", total=len(train))
            case MultiLabel():
                sums = _outcomes(train).sum(dim=0).tolist()
                return self._labels(
                    {name: int(one) for name, one in zip(task.labels, sums, strict=True)}, len(train)
                )

    def _survival(self, cohort: Cohort, train: Cohort) -> Finding:
        late = [one for one in cohort.records if one.outcome.values[0] > LONGEST_DAYS]
        events, total = int(_outcomes(train)[:, 1].sum()), len(train)
        longest = max(one.outcome.values[0] for one in cohort.records)
        measured = {"events": events, "training_patients": total, "longest_days": longest}
        if late:
            return self.fix(
                f"{len(late)} patients have times of more than 150 years.",
                "Times are days from each patient's own start; look at the unit and at dates that were taken "
                "for numbers (--details names the patients).",
                measured=measured,
                limits={"longest_days": LONGEST_DAYS},
                details=[f"{one.patient_id}: {one.outcome.values[0]:g} days" for one in late[:MOST_SHOWN]],
            )
        if events in (0, total):
            return self.look_at(
                f"{'All' if events else 'None'} of {total} training patients have the event.",
                "Look whether the event column means what the plan means: 1 for an event that was seen.",
                measured=measured,
            )
        return self.passed(f"{events} of {total} training patients have the event.", measured=measured)

    def _groups(self, found: dict[str, int], what: str, *, total: int) -> Finding:
        measured = {f"{what}_{name}": count for name, count in found.items()}
        absent = [name for name, count in found.items() if not count]
        if absent:
            return self.look_at(
                f"{len(absent)} of {len(found)} classes have no training patient here: {', '.join(absent)}.",
                "Nothing, if that is how patients come to this site; otherwise look at the names of the "
                "classes.",
                measured=measured,
            )
        told = ", ".join(f"{name} {count}" for name, count in found.items())
        return self.passed(f"Of {total} training patients: {told}.", measured=measured)

    def _labels(self, found: dict[str, int], total: int) -> Finding:
        measured = {f"label_{name}": count for name, count in found.items()}
        odd = [name for name, count in found.items() if count in (0, total)]
        if odd:
            return self.look_at(
                f"{len(odd)} of {len(found)} labels are the same in all training patients: {', '.join(odd)}.",
                "Look whether these columns mean what the plan means.",
                measured=measured,
            )
        return self.passed(
            f"All {len(found)} labels differ between {total} training patients.", measured=measured
        )


def _outcomes(cohort: Cohort) -> torch.Tensor:
    return torch.tensor([one.outcome.values for one in cohort.records])
