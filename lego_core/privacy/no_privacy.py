"""No privacy at all, said aloud."""

from collections.abc import Mapping, Sequence
from typing import Literal, final

import torch
from torch import Tensor

from lego_core.privacy._contract import AbstractPrivacy, Declared, ProtectedUpdate
from lego_core.update import BlockUpdate, to_named, to_vector


@final
class NoPrivacy(AbstractPrivacy):
    """Send every update as it is.

    Guarantees:
        None. Records stay at their site, but the server sees each site's update and its
        number of training patients, and an update can reveal what a model learned from.

    Source:
        The plain federated averaging of McMahan et al. "Communication-Efficient Learning
        of Deep Networks from Decentralized Data." AISTATS 2017. arXiv:1602.05629.
    """

    kind: Literal["no-privacy"]  # no default: nobody gets this plan without saying so

    @property
    def shows_individual_updates(self) -> bool:
        """The server sees every update."""
        return True

    @property
    def claim(self) -> str:
        """What the report says."""
        return (
            "No privacy protection beyond keeping the records at their sites: the coordinator saw every "
            "site's model updates and its number of training patients, and updates can reveal patients."
        )

    def declared(self, like: Mapping[str, Tensor]) -> Declared:
        """Every trained tensor under its own name, as float32."""
        return {name: (tensor.shape, torch.float32) for name, tensor in like.items()}

    def protect(self, update: BlockUpdate, like: Mapping[str, Tensor]) -> ProtectedUpdate:
        """Change nothing: the mean update, tensor by tensor."""
        plain = {name: tensor.float() for name, tensor in like.items()}
        return ProtectedUpdate(to_named(update.mean(), plain), update.weight)

    def reveal(self, updates: Sequence[ProtectedUpdate], like: Mapping[str, Tensor]) -> list[BlockUpdate]:
        """Take each update as it came."""
        vectors = [to_vector({name: update.tensors[name] for name in like}) for update in updates]
        return [
            BlockUpdate(vector * update.weight, update.weight)
            for vector, update in zip(vectors, updates, strict=True)
        ]
