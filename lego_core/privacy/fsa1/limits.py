"""What a site accepts of a session, whoever asks."""

from typing import final

from pydantic import Field

from lego_core.component import Component
from lego_core.errors import SecureSumError
from lego_core.privacy import EVERYBODY, FEWEST_IN_A_SUM
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.privacy.fsa1.fixed_point import fits
from lego_core.privacy.fsa1.masks import WIDE
from lego_core.privacy.fsa1.neighbours import circle_size, threshold


@final
class Expected(Component):
    """What a site knows of a session by itself, from its own copy of the plan and from what it was asked.

    Were any of it left to the server, it could call one sum by two names, and have it opened twice.

    Args:
        run: As in `SessionDescriptor`, like all that follow.
        schema_sha256: Hash of the parts that the plan sums together.
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

    def check(self, described: SessionDescriptor) -> None:
        """Refuse a session that is about something else; asked before anything of the data goes into it.

        Raises:
            SecureSumError: With the first thing that differs.
        """
        for key, own in self:
            if getattr(described, key) != own:
                raise _refused(
                    f"its {key.replace('_', '-')} is not what this site's plan and question say",
                    "Give server and site the same bundle",
                )


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
        site: str,
        roster: frozenset[str],
        now: int,
    ) -> None:
        """Refuse a session in which this site's vector would not be safe.

        Raises:
            SecureSumError: With the reason; the site sends nothing.
        """
        there = described.participants
        sites, t, c = len(there), described.threshold, described.max_corrupt
        if list(there) != sorted(set(there)):
            raise _refused("its sites are not sorted, or one is there twice", "Sort them, each once")
        if site not in there:
            raise _refused(f"site '{site}' is not among its sites", "Ask only those that take part")
        if set(there) - roster:
            raise _refused("some of its sites are not on the roster", "Sign a roster that names them")
        if sites < FEWEST_IN_A_SUM:
            raise _refused(
                f"{sites} sites are fewer than {FEWEST_IN_A_SUM}", "Of two, each learns the other's"
            )
        if c < self.most_corrupt:
            raise _refused(
                f"it withstands {c} corrupt sites and this site asks for {self.most_corrupt}",
                "Raise max-corrupt",
            )
        if described.is_complete:
            self._check_threshold(sites, t, c)
        else:
            self._check_circle(described)
        if described.min_survivors < max(FEWEST_IN_A_SUM, c + 2):
            raise _refused(
                f"a sum of {described.min_survivors} sites could be opened",
                f"Ask for {max(FEWEST_IN_A_SUM, c + 2)}",
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
        if described.max_corrupt > sites // 20:
            raise _refused(
                f"circles of neighbours withstand {sites // 20} corrupt sites of {sites}, and it says "
                f"{described.max_corrupt}",
                f"Say {sites // 20} at most, or sum over {EVERYBODY} sites",
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
