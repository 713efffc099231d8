"""How anything crosses the wire: as a letter with a kind, a plain JSON body, and named tensors.

No pickle, and no Flower types. The letters that there are stand in `protocol`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from lego_core.component import Component, explain
from lego_core.errors import ProtocolError
from lego_core.parcels import Parcel


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    """One message in the form in which it travels.

    Args:
        kind: What it is.
        body: Its plain part, as JSON.
        tensors: Its tensors by name.
        parcel: What these tensors are, where they travel in pieces and not beside the body.
    """

    kind: str
    body: str
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    parcel: Parcel | None = None


AnyMessage = TypeVar("AnyMessage", bound="AbstractMessage")


class AbstractMessage(Component):
    """A message's plain part; its tensors stand beside it in the letter."""

    kind: ClassVar[str]

    def letter(self, tensors: Mapping[str, Tensor] | None = None) -> Letter:
        """Write the message down."""
        return Letter(self.kind, json.dumps(self.to_plain(), sort_keys=True), tensors or {})

    @classmethod
    def read(cls: type[AnyMessage], letter: Letter) -> AnyMessage:
        """Read a message of this kind.

        Raises:
            ProtocolError: If the letter is of another kind or does not have this form.
        """
        if letter.kind != cls.kind:
            raise ProtocolError(
                f"A letter of kind '{letter.kind}' came where '{cls.kind}' was expected. Server and site "
                "run different versions of this code; install the same one."
            )
        try:
            return cls.model_validate_json(letter.body)
        except ValidationError as error:
            raise explain(error, where=f"Letter '{cls.kind}'", kind=ProtocolError) from error


def check_tensors(
    letter: Letter, declared: Mapping[str, tuple[torch.Size, torch.dtype]], *, sender: str
) -> None:
    """Refuse tensors that were not declared, are missing, or are of another form or not finite.

    Raises:
        ProtocolError: Naming the sender and the first tensor that does not fit.
    """
    missing, extra = set(declared) - set(letter.tensors), set(letter.tensors) - set(declared)
    if missing or extra:
        raise ProtocolError(
            f"{sender} sent a letter '{letter.kind}' with tensors {sorted(letter.tensors)} where "
            f"{sorted(declared)} were declared. The letter was put aside; run the same code at both ends."
        )
    for name, (shape, dtype) in declared.items():
        tensor = letter.tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ProtocolError(
                f"{sender} sent tensor '{name}' of shape {tuple(tensor.shape)} and type {tensor.dtype} "
                f"where {tuple(shape)} and {dtype} were declared. The letter was put aside."
            )
        if not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            raise ProtocolError(
                f"{sender} sent tensor '{name}' with {count} of {tensor.numel()} values not finite. The "
                "letter was put aside; lower the learning rate, or look for broken values in the data."
            )
