"""The letters of the secure sum: four questions around the one that asks for the vectors themselves.

A site takes part in several sums at once, so each letter holds what concerns all of them, by the
name of the session (`sid`). None of these letters tells anything of a patient: keys, sealed shares
and signatures are random numbers to everybody but those whom they concern, and a masked vector is
noise until all the masks are taken off its sum.
"""

from typing import ClassVar, final

from pydantic import ConfigDict, Field

from lego_core.component import Component
from lego_core.letters import AbstractMessage

Sid = str  # 64 hexadecimal digits
Place = int  # of a site in the session's list, from 1

HEXADECIMAL = ConfigDict(ser_json_bytes="hex", val_json_bytes="hex")


@final
class Invitation(Component):
    """What a question carries where its answer is to be summed unseen.

    Args:
        session: Which session, one that the site showed its keys in.
        sharing_sites: Everybody who dealt shares out.
        sealed: The pieces sealed for this site, by the place of their sender.
    """

    model_config = HEXADECIMAL

    session: Sid
    sharing_sites: tuple[Place, ...]
    sealed: dict[Place, bytes]


@final
class Spent(Component):
    """What a site's private training has cost so far, over all runs.

    Args:
        epsilon: Rounded up to hundredths; it tells about how many training patients there are.
        delta: Chance at which it may not hold.
        ledger_head: Hash of the last line of the site's ledger, which it must still hold later.
    """

    epsilon: float = Field(ge=0)
    delta: float = Field(ge=0, le=1)
    ledger_head: str = Field(pattern=r"^[0-9a-f]{64}$")


class AbstractSumAnswer(AbstractMessage):
    """What a site answers in several sessions at once.

    Args:
        declined: The sessions it has ended, each with the reason in public words.
    """

    model_config = HEXADECIMAL

    declined: dict[Sid, str] = Field(default_factory=dict)


@final
class AskSumKeys(AbstractMessage):
    """Ask for keys in sessions that begin.

    Args:
        sessions: Each in the one form that is hashed (`SessionDescriptor.packed`).
    """

    model_config = HEXADECIMAL

    kind: ClassVar[str] = "query.sum_keys"
    sessions: tuple[bytes, ...]


@final
class SumKeys(AbstractSumAnswer):
    """Public keys, signed by the site.

    Reveals to the server: that the site takes part; to the sites of the session likewise.
    """

    kind: ClassVar[str] = "sum-keys"
    bundles: dict[Sid, bytes]


@final
class AskSumShares(AbstractMessage):
    """Ask for shares of each site's secrets, and show what keys all sites of a session have.

    Args:
        bundles: By session and place.
    """

    model_config = HEXADECIMAL

    kind: ClassVar[str] = "query.sum_shares"
    bundles: dict[Sid, dict[Place, bytes]]


@final
class SumShares(AbstractSumAnswer):
    """Pieces of the site's two secrets, each sealed for one other site.

    Reveals to the server: nothing. To another site: one share, of which a threshold is needed.
    """

    kind: ClassVar[str] = "sum-shares"
    sealed: dict[Sid, dict[Place, bytes]]


@final
class MaskedVectors(AbstractSumAnswer):
    """The answer to a question that came with invitations. Tensors: by session, the masked words, as int32.

    Reveals to the server: nothing, until the masks are taken off the sum of at least three sites;
    then this sum, which is all that the letters of the plan's other kinds say (see there), over all
    sites together; and what the site's private training has cost, from which its number of training
    patients nearly follows.

    Args:
        signatures: Of the site, by session.
        spent: What the site's private training has cost, if there is any.
    """

    kind: ClassVar[str] = "masked-vectors"
    signatures: dict[Sid, bytes]
    spent: Spent | None = None


@final
class SumSets(Component):
    """Who is in a sum.

    Args:
        sharing_sites: Everybody who dealt shares out.
        survivors: Those of them whose vector is in the sum.
    """

    sharing_sites: tuple[Place, ...]
    survivors: tuple[Place, ...]


@final
class AskSumConfirmations(AbstractMessage):
    """Ask whether a sum may be opened."""

    kind: ClassVar[str] = "query.sum_confirm"
    sets: dict[Sid, SumSets]


@final
class SumConfirmations(AbstractSumAnswer):
    """Signatures under the sets of sites, which the site has noted in its ledger for good.

    Reveals to the server: that the site saw the same sets; to the sites of the session likewise.
    """

    kind: ClassVar[str] = "sum-confirmations"
    signatures: dict[Sid, bytes]


@final
class AskSumOpening(AbstractMessage):
    """Ask for the shares that open a sum, and show that enough sites saw the same survivors.

    Args:
        confirmations: Signatures, by session and place.
    """

    model_config = HEXADECIMAL

    kind: ClassVar[str] = "query.sum_open"
    confirmations: dict[Sid, dict[Place, bytes]]


@final
class SumOpening(AbstractSumAnswer):
    """Shares: of each survivor's own mask, of each lost site's key; of nobody both.

    Reveals to the server: with a threshold of such letters, the sum of the survivors' vectors.
    """

    kind: ClassVar[str] = "sum-opening"
    shares: dict[Sid, dict[Place, bytes]]


SUM_QUESTIONS = (AskSumKeys, AskSumShares, AskSumConfirmations, AskSumOpening)
SUM_ANSWERS = (SumKeys, SumShares, MaskedVectors, SumConfirmations, SumOpening)
