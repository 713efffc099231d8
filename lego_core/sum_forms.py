"""What a site adds to a sum, in names and shapes: known to the server and to every site before it is asked.

A vector has two parts: an *update*, clipped and weighted by patients, in one word per number; and
*numbers* of any size, such as counts and losses, in four words each. Either may be empty.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from torch import Tensor

from lego_core.errors import PrivacyError
from lego_core.privacy import Privacy
from lego_core.update import BlockUpdate

if TYPE_CHECKING:
    from lego_core.privacy.fsa1.descriptor import SessionDescriptor
    from lego_core.privacy.fsa1.vectors import AbstractPart

WORDS_PER_NUMBER = 4  # of those of any size
LARGEST_NUMBER = 2.0**62  # half of what one such number can hold
Shapes = dict[str, tuple[int, ...]]


@final
@dataclass(frozen=True)
class SumForm:
    """One sum.

    Args:
        group: What is summed, such as `blocks/tabular`.
        update: Shapes of the tensors of the update, by name.
        numbers: Shapes of the numbers, by name.
    """

    group: str
    update: Shapes = field(default_factory=dict)
    numbers: Shapes = field(default_factory=dict)

    @classmethod
    def of(
        cls, group: str, *, update: Mapping[str, Tensor] | None = None, numbers: Mapping[str, Tensor]
    ) -> "SumForm":
        """The form of what such tensors hold."""
        shapes = [
            {name: tuple(one.shape) for name, one in (some or {}).items()} for some in (update, numbers)
        ]
        return cls(group, *shapes)

    @property
    def clipped_dim(self) -> int:
        """Words of the update, and one for the weight behind it."""
        return _size(self.update) + 1 if self.update else 0

    @property
    def dim(self) -> int:
        """Words of the whole vector."""
        return self.clipped_dim + WORDS_PER_NUMBER * _size(self.numbers)

    @property
    def schema_sha256(self) -> str:
        """Hash of all of it: one vector of a site goes into one sum of this name."""
        plain = [self.group, sorted(self.update.items()), sorted(self.numbers.items())]
        return hashlib.sha256(json.dumps(plain).encode()).hexdigest()

    def words(
        self,
        described: "SessionDescriptor",
        *,
        update: BlockUpdate | None = None,
        numbers: Mapping[str, Tensor],
    ) -> "list[AbstractPart]":
        """What a site adds, in the order in which it is read.

        Args:
            described: The session.
            update: What the site's patients taught, no longer than the session's clip.
            numbers: Tensors of the form's names and shapes.

        Raises:
            SecureSumError: If more patients stand behind the update than may count.

        Guarantees:
            It does not fail for what the values are: a refusal would be this site's alone, and tell of its
            patients what the sum hides. What is not a number counts as nothing, what is too large
            as the largest.
        """
        from lego_core.privacy.fsa1.vectors import Wide

        parts: list[AbstractPart] = []
        if update is not None:
            mean = update.mean().float().nan_to_num(nan=0.0).numpy()
            parts.append(described.clipped(mean, patients=round(update.weight)))
        flat = [_bounded(numbers[name]).reshape(-1) for name in sorted(self.numbers)]
        parts.append(Wide(torch.cat(flat).numpy() if flat else np.zeros(0)))
        return parts

    def read(self, described: "SessionDescriptor", words: np.ndarray, *, num_sites: int) -> "SummedNumbers":
        """Read what the sites' vectors come to.

        Raises:
            SecureSumError: If no faithful vectors of so many sites come to that.
        """
        from lego_core.privacy.fsa1.vectors import read_wide

        update = None
        if self.update:
            clipped = words[: self.clipped_dim]
            total, weight = described.read_clipped(clipped, num_sites=num_sites)
            update = BlockUpdate(torch.from_numpy(total), weight)
        flat = torch.from_numpy(read_wide(words[self.clipped_dim :]))
        names = sorted(self.numbers)
        parts = flat.split([prod(self.numbers[name]) for name in names])
        numbers = {name: part.reshape(self.numbers[name]) for name, part in zip(names, parts, strict=True)}
        return SummedNumbers(update, numbers)


@dataclass(frozen=True, eq=False)
class SummedNumbers:
    """What the vectors of several sites come to."""

    update: BlockUpdate | None
    numbers: dict[str, Tensor]


def check_weight(patients: int, privacy: Privacy) -> None:
    """Refuse more patients than the plan lets count, before anything is trained on them.

    Raises:
        PrivacyError: If there are more.
    """
    terms = privacy.sum_terms
    if terms and patients > terms.weight_cap:
        raise PrivacyError(
            f"This site has more training patients than the {terms.weight_cap} that the plan lets count (key "
            f"{privacy.sums_table}.weight-cap). Nothing was trained or sent. Raise it in the plan, for all "
            "sites.",
            local=f"{patients} training patients",
        )


def tensor_hashes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """SHA-256 of every tensor, with its type and shape."""
    return {name: _hash(tensor) for name, tensor in sorted(tensors.items())}


def weights_sha256(hashes: Mapping[str, str]) -> str:
    """One hash of all tensors of a model, from those of each."""
    return hashlib.sha256(json.dumps(dict(sorted(hashes.items()))).encode()).hexdigest()


def _hash(tensor: Tensor) -> str:
    whole = tensor.detach().cpu().contiguous()
    about = json.dumps([str(whole.dtype), list(whole.shape)]).encode()
    return hashlib.sha256(about + whole.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


def _bounded(numbers: Tensor) -> Tensor:
    """Numbers that a sum can hold."""
    return numbers.double().nan_to_num(nan=0.0).clamp(-LARGEST_NUMBER, LARGEST_NUMBER)


def _size(shapes: Shapes) -> int:
    return sum(prod(shape) for shape in shapes.values())
