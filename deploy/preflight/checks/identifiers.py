"""Are patients written alike in all files, so that what belongs together is put together?"""

import re
from collections import defaultdict
from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises

MOST_SHOWN = 20


@final
class Identifiers(AbstractCheck):
    """No two identifiers that may mean one patient; patients of one modality are found in the others."""

    name = "identifiers"
    asks = "Are the same patients of several modalities matched?"
    needs = ("file", "plan", "cohort")

    def look(self, premises: Premises) -> Finding:
        cohort, held = premises.cohort(), premises.held
        alike: dict[str, list[str]] = defaultdict(list)
        for record in cohort.records:
            alike[_bare(record.patient_id)].append(record.patient_id)
        doubtful = [same for same in alike.values() if len(same) > 1]
        paired = len(cohort.with_several(held))
        measured = {"patients": len(cohort), "paired_patients": paired, "doubtful_identifiers": len(doubtful)}
        if doubtful:
            return self.look_at(
                f"{len(doubtful)} pairs of identifiers differ in blanks, capitals, hyphens or leading "
                "zeros alone.",
                "Look whether they are one patient each (--details names them), and write them alike in "
                "all files.",
                measured=measured,
                details=[" / ".join(repr(one) for one in same) for same in doubtful[:MOST_SHOWN]],
            )
        if len(held) > 1 and not paired:
            return self.look_at(
                f"{' and '.join(held)} have no patient in common, of {len(cohort):,}.",
                "If that is not so at this site, identifiers are written in different ways: mend them.",
                measured=measured,
            )
        if len(held) < 2:
            return self.passed("One modality: there is nothing to match.", measured=measured)
        return self.passed(
            f"{paired:,} of {len(cohort):,} patients have several modalities.", measured=measured
        )


def _bare(identifier: str) -> str:
    """An identifier without what people write differently."""
    text = re.sub(r"[\s_.-]+", "", identifier).casefold()
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)
