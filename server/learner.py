"""One model that sites train together: its weights, its members, its best round."""

import copy
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from lego_core.aggregation import ServerState
from lego_core.block import LegoBlock
from lego_core.exchangeable import exchanged, parts
from lego_core.fuse import LegoFuse
from lego_core.plan import RunPlan
from lego_core.protocol import Progress
from lego_core.update import BlockUpdate, to_named, to_vector
from server.checkpoint import States
from server.participants import Participant
from server.run_state import LearnerState

BACK = 0.9  # of the way back to weights that did better


@final
class Learner:
    """A block of one modality, or the fused model, between its rounds.

    Args:
        name: Name of the modality, or `fused`.
        model: The global model; trained in place, round by round.
        members: The sites that train it.
        plan: The run's plan.
    """

    def __init__(
        self, name: str, model: LegoBlock | LegoFuse, *, members: Sequence[Participant], plan: RunPlan
    ) -> None:
        self.name = name
        self.model = model
        self.members = list(members)
        self.plan = plan
        self.done = False
        self.spent = False  # too few sites have a privacy budget left for it
        self.ended = False  # it has the weights that the plan keeps
        self.rounds = 0
        self.best_round = 0
        self.best_loss = float("inf")
        self.best_score: float | None = None
        self.start: dict[str, Tensor] = {}
        self._best_state = copy.deepcopy(model.state_dict())
        self._states: dict[str, ServerState] = {}
        self.good_loss = float("inf")
        self.last_score: float | None = None
        self._good_state = self._best_state
        self.good_round = 0
        self.good_score: float | None = None
        self.remember_start()

    def remember_start(self) -> None:
        """Take the trunk as it is now for the one that all blocks begin with, each to go its own way."""
        if isinstance(self.model, LegoBlock):
            self.start = copy.deepcopy(self.model.trunk.state_dict())

    @property
    def judges(self) -> list[Participant]:
        """The members that have validation patients for the model."""
        if isinstance(self.model, LegoBlock):
            return [one for one in self.members if one.offer.modalities[self.name].judges]
        return [one for one in self.members if one.offer.judges_paired]

    def judge(self, progress: Sequence[Progress], *, may_be_kept: bool = True) -> float | None:
        """Take note of how the current weights did on the sites' validation patients.

        Args:
            progress: What the sites said.
            may_be_kept: Whether training may end with these weights, however early.

        Returns:
            Their mean validation loss; None if no site has validation patients.
        """
        patients = sum(one.validation_patients for one in progress)
        if not patients:
            return None
        loss = sum(one.validation_loss for one in progress) / patients
        pairs = sum(one.validation_pairs for one in progress)
        ranked = sum(one.validation_score * one.validation_pairs for one in progress)
        self.last_score = ranked / pairs if pairs else None
        if may_be_kept and loss < self.best_loss:
            self.best_loss, self.best_round, self.best_score = loss, self.rounds, self.last_score
            self._best_state = copy.deepcopy(self.model.state_dict())
        return loss

    def take_for_good(self, loss: float | None) -> None:
        """Note the current weights as those to go back to, if none did better so far."""
        if loss is not None and loss < self.good_loss:
            self.good_loss, self._good_state = loss, copy.deepcopy(self.model.state_dict())
            self.good_round, self.good_score = self.rounds, self.last_score

    def go_back(self) -> None:
        """Go nearly all the way back to the best weights so far, and forget what the rules remember.

        Not quite all the way: sites let one sum be opened for the same weights, and no second one.
        """
        now = self.model.state_dict()
        back = {
            name: torch.lerp(now[name], good, BACK) if good.is_floating_point() else good
            for name, good in self._good_state.items()
        }
        self.model.load_state_dict(back)
        self._states = {}

    def keep_good(self) -> None:
        """End with the best weights so far, whatever the plan keeps: the last are worse than it bears."""
        self.best_loss, self._best_state = self.good_loss, self._good_state
        self.best_round, self.best_score = self.good_round, self.good_score

    def keep_best(self) -> None:
        """End with the weights of the best round; with the last ones if nobody could judge."""
        if self.best_loss < float("inf"):
            self.model.load_state_dict(self._best_state)
        else:
            self.best_round = self.rounds
        self.ended = True
        self.model.eval()

    @property
    def num_parameters(self) -> int:
        """How many parameters the sites train."""
        return sum(tensor.numel() for tensor in exchanged(self.model).values())

    @property
    def modalities(self) -> tuple[str, ...]:
        """Whose weights the model holds."""
        return (self.model.modality,) if isinstance(self.model, LegoBlock) else self.model.modalities

    def move(self, part: str, updates: Sequence[BlockUpdate]) -> None:
        """Move one part of the model by what the sites learned."""
        if not updates:
            return
        own = exchanged(self.model)
        like = {name: own[name] for name in parts(self.model)[part]}
        state = self._states.get(part) or ServerState()
        vector, self._states[part] = self.plan.aggregation.aggregate(to_vector(like), updates, state=state)
        with torch.no_grad():
            for name, tensor in to_named(vector, like).items():
                own[name].copy_(tensor)

    def state(self) -> dict[str, Tensor]:
        """The whole state of the model."""
        return self.model.state_dict()

    def to_plain(self) -> LearnerState:
        """What a checkpoint holds of the learner in plain values."""
        return LearnerState.model_validate({key: getattr(self, key) for key in LearnerState.model_fields})

    def to_tensors(self) -> dict[str, Mapping[str, Tensor]]:
        """What a checkpoint holds besides; once the learner has ended, its weights and its start."""
        kept: dict[str, Mapping[str, Tensor]] = {"start": self.start} if self.start else {}
        if not self.ended:
            kept |= {"best": self._best_state, "good": self._good_state}
            kept |= {f"memory-{part}": state.to_tensors() for part, state in self._states.items()}
        return {self.name: self.state(), **{f"{self.name}@{about}": one for about, one in kept.items()}}

    def restore(self, plain: LearnerState, tensors: States) -> None:
        """Go on from what `to_plain` and `to_tensors` gave."""
        for key, value in plain:
            setattr(self, key, value)
        self.model.load_state_dict(dict(tensors[self.name]))
        self.start = dict(tensors.get(f"{self.name}@start", {}))
        self._best_state = dict(tensors.get(f"{self.name}@best", {}))
        self._good_state = dict(tensors.get(f"{self.name}@good", {}))
        self._states = {
            part: ServerState.from_tensors(tensors[name])
            for part in parts(self.model)
            if (name := f"{self.name}@memory-{part}") in tensors
        }
        if self.ended:
            self.model.eval()

    def model_for(self, modalities: Sequence[str]) -> LegoBlock | LegoFuse:
        """The model as a site with these modalities sees it: a fused one without the other blocks."""
        if isinstance(self.model, LegoBlock) or tuple(modalities) == self.model.modalities:
            return self.model
        part = copy.deepcopy(self.model)
        for name in set(self.model.modalities) - set(modalities):
            del part.blocks[name]
        return part

    def state_for(self, modalities: Sequence[str]) -> dict[str, Tensor]:
        """What a site with these modalities needs, and no more."""
        return self.model_for(modalities).state_dict()
