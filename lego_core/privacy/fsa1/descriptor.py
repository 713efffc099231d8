"""What one session is about, in bytes that every site hashes."""

import json
from typing import Literal, final

import numpy as np
from jaxtyping import Float32, Float64, UInt32
from pydantic import Field, ValidationError, field_validator

from lego_core.component import Component, explain
from lego_core.errors import SecureSumError
from lego_core.privacy import FEWEST_IN_A_SUM
from lego_core.privacy.fsa1.fixed_point import from_fixed_point
from lego_core.privacy.fsa1.vectors import Clipped
from lego_core.privacy.fsa1.wire import MOST_SITES, SUITE, digest

HEX_32 = r"^[0-9a-f]{64}$"


@final
class SessionDescriptor(Component):
    """Everything about a session that all its sites must see alike.

    Args:
        suite: The protocol; there is one.
        run: Name of the run.
        round: Number of the round.
        group: What is summed, such as a block.
        attempt: How often this sum was begun.
        participants: The sites, sorted; a site's place is its position, from 1.
        threshold: Shares t that open a secret.
        neighbours: With how many others each site shares; all others, up to 64 sites.
        max_corrupt: How many sites may work with the server.
        min_survivors: Fewest sites whose sum may be opened.
        dim: Words of the whole vector.
        clipped_dim: Words of its first part, the clipped numbers and the weight behind them; 0 without.
        clip: Largest size of a number, as the hexadecimal text of a float: its decimal text is not unique.
        frac_bits: Bits behind the point.
        weight_cap: The number of patients that counts as weight 1.
        model_sha256: Hash of the weights that every site trains on.
        schema_sha256: Hash of the vector's parts: names, shapes, and how many sites contribute to each.
        task_sha256: Hash of what was asked.
        roster_sha256: Hash of the roster of sites.
        nonce: 32 fresh bytes.
        deadline: Seconds since 1970 after which no site enters it.
    """

    suite: Literal["FSA1"] = SUITE
    run: str
    round: int = Field(ge=0)
    group: str
    attempt: int = Field(ge=1)
    participants: tuple[str, ...] = Field(max_length=MOST_SITES)
    threshold: int
    neighbours: int
    max_corrupt: int = Field(ge=0)
    min_survivors: int
    dim: int = Field(ge=1)
    clipped_dim: int = Field(ge=0)
    clip: str
    frac_bits: int = Field(ge=0, le=31)
    weight_cap: int = Field(ge=1)
    model_sha256: str = Field(pattern=HEX_32)
    schema_sha256: str = Field(pattern=HEX_32)
    task_sha256: str = Field(pattern=HEX_32)
    roster_sha256: str = Field(pattern=HEX_32)
    nonce: str = Field(pattern=HEX_32)
    deadline: int = Field(ge=0, lt=2**63)

    @field_validator("clip")
    @classmethod
    def _is_a_float32(cls, clip: str) -> str:
        try:
            value = float.fromhex(clip)
        except (ValueError, OverflowError):
            value = float("nan")
        if value.hex() != clip or float(np.float32(value)) != value:
            raise ValueError(f"'{clip}' is not the hexadecimal text of a float32, such as '{(1.0).hex()}'")
        return clip

    def packed(self) -> bytes:
        """The one form that is hashed: JSON in ASCII, keys sorted, no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode("ascii")

    @classmethod
    def read(cls, packed: bytes) -> "SessionDescriptor":
        """Read what `packed` wrote, and no other form of it.

        Raises:
            SecureSumError: If it is not a session, or not written in that one form.
        """
        try:
            described = cls.model_validate_json(packed)
        except ValidationError as error:
            raise explain(error, where="The session of a secure sum", kind=SecureSumError) from error
        if described.packed() != packed:
            raise SecureSumError(
                "The session of a secure sum is not written in its one form, so sites might hash different "
                "bytes. Nothing was sent. Run the same code at both ends."
            )
        return described

    def clipped(self, values: Float32[np.ndarray, "P"], *, patients: int) -> Clipped:
        """The first part of a site's vector.

        Args:
            values: P numbers.
            patients: How many patients stand behind them.

        Raises:
            SecureSumError: If so many patients may not count.
        """
        if not 0 < patients <= self.weight_cap:
            raise SecureSumError(
                f"This site's patients are not within 1 and {self.weight_cap}, what an update may count for "
                "in this sum. Nothing of it was sent. Raise weight-cap in the plan's privacy.",
                local=f"{patients} patients",
            )
        return Clipped(values, patients / self.weight_cap, self.clip_value, self.frac_bits)

    def read_clipped(
        self, residues: UInt32[np.ndarray, "W"], *, num_sites: int
    ) -> tuple[Float64[np.ndarray, "P"], float]:
        """Read the first part of a sum: the weighted total of P numbers, and the patients behind it.

        Raises:
            SecureSumError: If no clipped numbers of so many sites come to that.
        """
        numbers = from_fixed_point(residues, bits=self.frac_bits)
        weight, slack = numbers[-1] / self.clip_value, num_sites * 2.0**-self.frac_bits / self.clip_value
        largest = (weight + slack) * self.clip_value
        if not 0 < weight <= num_sites + slack or np.abs(numbers).max() > largest:
            raise SecureSumError(
                f"Round {self.round}, '{self.group}': what came out is no sum of clipped numbers of "
                f"{num_sites} sites. A site sent false residues, and the sum hides which. The round's sum "
                "was put aside."
            )
        return numbers[:-1] * self.weight_cap, float(weight * self.weight_cap)

    @property
    def sid(self) -> bytes:
        """The session's name: 32 bytes that no other session has."""
        return digest("session", self.packed())

    @property
    def clip_value(self) -> float:
        """The clip as a number."""
        return float.fromhex(self.clip)

    @property
    def places(self) -> dict[str, int]:
        """Where each site is, from 1; made anew with every question for it."""
        return {site: place for place, site in enumerate(self.participants, start=1)}

    @property
    def is_complete(self) -> bool:
        """Whether every site shares with all others."""
        return self.neighbours == len(self.participants) - 1

    @property
    def fewest(self) -> int:
        """Fewest sites that must be there at every stage before survivors are confirmed."""
        return max(self.threshold, FEWEST_IN_A_SUM) if self.is_complete else FEWEST_IN_A_SUM
