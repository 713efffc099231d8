"""What one session is about, in bytes that every site hashes, and what a site accepts of it."""

import json
from typing import Literal, final

import numpy as np
from jaxtyping import Float32, Float64, UInt32
from pydantic import Field, ValidationError, field_validator

from lego_core.component import Component, explain
from lego_core.errors import SecureSumError
from lego_core.privacy.fsa1.fixed_point import fits, from_fixed_point
from lego_core.privacy.fsa1.masks import WIDE
from lego_core.privacy.fsa1.neighbours import EVERYBODY, circle_size, threshold
from lego_core.privacy.fsa1.vectors import Clipped
from lego_core.privacy.fsa1.wire import MOST_SITES, SUITE, digest

FEWEST_SITES = 3  # of two, each would learn the other's vector from the sum
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
        deadline: Seconds since 1970 after which nothing is answered.
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
    deadline: int

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
        return max(self.threshold, FEWEST_SITES) if self.is_complete else FEWEST_SITES


@final
class Expected(Component):
    """What a site knows of a session by itself, from its own copy of the plan and from what it was asked.

    Were any of it left to the server, it could call one sum by two names, and have it opened twice.

    Args:
        run: As in `SessionDescriptor`, like all that follow.
        schema_sha256: Hash of the parts that the plan sums together; this, not a name, is what the
            ledger goes by.
    """

    run: str
    round: int
    group: str
    dim: int
    clipped_dim: int
    clip: str
    weight_cap: int
    schema_sha256: str
    task_sha256: str
    roster_sha256: str


@final
class SiteLimits(Component):
    """What a site accepts of any session, whoever asks: from its own file, not from the server.

    Args:
        most_corrupt: The site wants to be safe from at least this many others who work with the server.
        semi_honest_server: Whether the site sums among neighbours, where sites are more than 64; against
            a server that lies this promises nothing.
    """

    most_corrupt: int = Field(default=0, ge=0)
    semi_honest_server: bool = False

    def check(
        self,
        described: SessionDescriptor,
        *,
        expected: Expected,
        site: str,
        roster: frozenset[str],
        now: int,
    ) -> None:
        """Refuse a session in which this site's vector would not be safe.

        Raises:
            SecureSumError: With the reason; the site sends nothing.
        """
        for key, own in expected:
            if getattr(described, key) != own:
                raise _refused(
                    f"its {key.replace('_', '-')} is not what this site's plan and question say",
                    "Give server and site the same bundle",
                )
        there = described.participants
        sites, t, c = len(there), described.threshold, described.max_corrupt
        if list(there) != sorted(set(there)):
            raise _refused("its sites are not sorted, or one is there twice", "Sort them, each once")
        if site not in there:
            raise _refused(f"site '{site}' is not among its sites", "Ask only those that take part")
        if set(there) - roster:
            raise _refused("some of its sites are not on the roster", "Sign a roster that names them")
        if sites < FEWEST_SITES:
            raise _refused(f"{sites} sites are fewer than {FEWEST_SITES}", "Of two, each learns the other's")
        if c < self.most_corrupt:
            raise _refused(
                f"it withstands {c} corrupt sites and this site asks for {self.most_corrupt}",
                "Raise max-corrupt",
            )
        if described.is_complete:
            self._check_threshold(sites, t, c)
        else:
            self._check_circle(described)
        if described.min_survivors < max(FEWEST_SITES, c + 2):
            raise _refused(
                f"a sum of {described.min_survivors} sites could be opened",
                f"Ask for {max(FEWEST_SITES, c + 2)}",
            )
        if not 0 < described.clip_value < float("inf"):
            raise _refused(f"its clip is {described.clip_value:g}", "Choose a positive number")
        if not fits(sites, described.clip_value, described.frac_bits):
            raise _refused(
                f"sums of {sites} numbers with {described.frac_bits} bits could wrap", "Use fewer bits"
            )
        if not 0 <= described.clipped_dim <= described.dim or (described.dim - described.clipped_dim) % WIDE:
            raise _refused("its parts do not fill its vector", "Run the same code at both ends")
        if now > described.deadline:
            raise _refused(f"it ended {now - described.deadline} s ago", "Look at the clocks, or begin anew")

    def _check_threshold(self, sites: int, t: int, c: int) -> None:
        if t > sites:
            raise _refused(f"a threshold of {t} among {sites} sites is none", f"Choose at most {sites}")
        if 2 * t <= sites + c:
            raise _refused(
                f"with a threshold of {t} among {sites} sites, {c} corrupt ones could open two sums",
                f"Choose {threshold(sites, most_corrupt=c)} or more",
            )

    def _check_circle(self, described: SessionDescriptor) -> None:
        sites, degree = len(described.participants), described.neighbours
        if not self.semi_honest_server:
            raise _refused(
                f"each site would share with {degree} of {sites - 1} others, and this site does not rely on "
                "an honest server",
                "Sum over fewer sites, or set semi-honest-server in the site's file",
            )
        if sites <= EVERYBODY:
            raise _refused(
                f"{sites} sites are not too many to share with all others, and it says {degree}",
                f"Set {sites - 1} neighbours",
            )
        wanted = circle_size(sites)
        if (degree, described.threshold) != wanted:
            raise _refused(
                f"{degree} neighbours and a threshold of {described.threshold} are not those of "
                f"{sites} sites",
                f"Choose {wanted[0]} and {wanted[1]}",
            )


def _refused(reason: str, remedy: str) -> SecureSumError:
    return SecureSumError(
        f"The site refuses this session of the secure sum: {reason}. Nothing was sent. {remedy}."
    )
