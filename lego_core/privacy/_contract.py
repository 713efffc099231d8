"""What every privacy plan promises: both halves of what happens to an update."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lego_core.component import Component
from lego_core.update import BlockUpdate

Declared = dict[str, tuple[torch.Size, torch.dtype]]


@dataclass(frozen=True, slots=True, eq=False)
class ProtectedUpdate:
    """The only form in which an update may leave a site.

    Args:
        tensors: What the server receives, by name; just what `declared` lists.
        weight: How many patients stand behind it, as far as the server may know.
    """

    tensors: Mapping[str, Tensor]
    weight: float


class AbstractPrivacy(Component):
    """A privacy plan: what a site does to an update, and what the server may read of it.

    `like` are the tensors that are trained, by name; an update holds as many parameters
    as they do.
    """

    @property
    @abstractmethod
    def shows_individual_updates(self) -> bool:
        """Whether the server sees each site's update, or only their sum."""

    @property
    @abstractmethod
    def claim(self) -> str:
        """What this plan does and does not protect, in whole sentences, for the report."""

    @abstractmethod
    def declared(self, like: Mapping[str, Tensor]) -> Declared:
        """Names, shapes and types of all that leaves a site, known before any training."""

    @abstractmethod
    def protect(self, update: BlockUpdate, like: Mapping[str, Tensor]) -> ProtectedUpdate:
        """At the site: make an update fit to leave."""

    @abstractmethod
    def reveal(self, updates: Sequence[ProtectedUpdate], like: Mapping[str, Tensor]) -> list[BlockUpdate]:
        """At the server: what may be aggregated."""
