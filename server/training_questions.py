"""What a site is asked when it trains a block or the fused model."""

from dataclasses import dataclass
from typing import Literal, final

from lego_core.exchangeable import rounded
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement, AskBlockUpdate, AskFuseUpdate
from lego_core.sum_forms import tensor_hashes
from server.asked import Asked
from server.learner import Learner
from server.participants import Participant

TrainingPhase = Literal["blocks", "fuse"]


@final
@dataclass(frozen=True)
class TrainingQuestions:
    """The questions of one phase.

    Args:
        plan: The run's plan.
        agreement: What the sites agreed on.
        phase: `blocks` or `fuse`.
    """

    plan: RunPlan
    agreement: Agreement
    phase: TrainingPhase

    def ask(self, learner: Learner, site: Participant, *, number: int, score_only: bool) -> Asked:
        """One learner's question to one site; which sums the answer goes into is for the caller to say."""
        held = site.held(learner.modalities)
        about = {"agreement": self.agreement, "round": number, "score_only": score_only}
        weights = tensor_hashes(learner.state()) if self.plan.privacy.sum_terms else {}
        if self.phase == "blocks":
            question = AskBlockUpdate(
                modality=learner.name, to_the_end=self.is_one_shot, weights=weights, **about
            )
        else:
            question = AskFuseUpdate(modalities=held, weights=weights, **about)
        tensors = rounded(learner.state_for(held), self.plan.travel_dtype)
        return Asked(site, question, (), tensors=tensors, about=learner.name)

    @property
    def is_one_shot(self) -> bool:
        """Whether every site trains to the end, once."""
        return self.phase == "blocks" and self.plan.rounds.mode == "one-shot"
