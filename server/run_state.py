"""What the rest of a run depends on, in plain values; the tensors stand beside it in a checkpoint."""

import hashlib
import json
from typing import final

from pydantic import Field

from lego_core.component import Component
from lego_core.errors import RunError
from lego_core.evaluation import EvaluationReport
from lego_core.manifest import lego_version
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement
from lego_core.run_report import SiteCharts
from server.participants import Participant


@final
class RunIdentity(Component):
    """What makes a run this run: who resumes it must bring the same.

    Args:
        plan: Name of the plan.
        modalities: Those of the plan.
        plan_sha256: Hash of all that the plan says.
        version: Of this code.
        roster_sha256: Hash of the roster that names the sites, where sums need one.
    """

    plan: str
    modalities: tuple[str, ...]
    plan_sha256: str
    version: str
    roster_sha256: str | None

    @classmethod
    def of(cls, plan: RunPlan, *, roster_sha256: str | None) -> "RunIdentity":
        """That of a run which begins now."""
        plain = json.dumps(plan.to_plain(), sort_keys=True)
        return cls(
            plan=plan.name,
            modalities=tuple(plan.modalities),
            plan_sha256=hashlib.sha256(plain.encode()).hexdigest(),
            version=lego_version(),
            roster_sha256=roster_sha256,
        )

    def check(self, now: "RunIdentity") -> None:
        """Refuse to go on as another run.

        Raises:
            RunError: With the first thing that differs, and both values.
        """
        for key, before in self:
            if getattr(now, key) != before:
                what = f"SHA-256 of the {key.removesuffix('_sha256')}" if key.endswith("_sha256") else key
                raise RunError(
                    f"The run that is to be resumed is another one: it began with {what} {before!r}, and "
                    f"now there is {getattr(now, key)!r}. Nothing was changed. Resume it with what it began "
                    "with, or begin a new run in another output folder."
                )


@final
class LearnerState(Component):
    """A learner between its rounds, apart from its weights; each field is one of `Learner`."""

    name: str
    done: bool
    spent: bool
    ended: bool
    rounds: int
    best_round: int
    best_loss: float
    best_score: float | None
    good_loss: float
    good_round: int
    good_score: float | None
    last_score: float | None


@final
class RunState(Component):
    """All that the rest of a run depends on. What follows from it is not kept, but made again.

    Args:
        identity: Which run it is.
        run_log_head: Hash of the last line of the run log: the events so far.
        participants: Who takes part.
        agreement: What they agreed on.
        members: For every modality, the sites that hold it in the agreed form.
        learners: The models that were trained so far.
        is_merged: Whether the blocks were merged.
        results: The scores, once the sites have given them.
        charts: What came with them.
    """

    identity: RunIdentity
    run_log_head: str
    participants: tuple[Participant, ...] = ()
    agreement: Agreement | None = None
    members: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    learners: tuple[LearnerState, ...] = ()
    is_merged: bool = False
    results: EvaluationReport | None = None
    charts: tuple[SiteCharts, ...] = ()
