"""What crosses the wire: the questions of the server and the answers of a site.

Nothing crosses that is not listed here, in `sum_letters.py` or in
`parcel_letters.py`. Each answer says what it reveals
and to whom; the gate of a site lets no other letter out, and no tensor that was not declared.
Where the plan sums securely, what is said here of a site's numbers is true of their sum over at
least three sites, and nobody sees those of one.
"""

from lego_core.parcel_letters import PARCEL_ANSWERS, PARCEL_QUESTIONS, Piece
from lego_core.protocol._numbers import Grams, Outcomes, Progress, Statistics, Update
from lego_core.protocol._offers import ModalityOffer, Offer
from lego_core.protocol._questions import (
    AbstractSummable,
    Agreement,
    AskBlockUpdate,
    AskFuseUpdate,
    AskGrams,
    AskOffer,
    AskOutcomes,
    AskReport,
    AskStatistics,
)
from lego_core.protocol._reports import ChartRow, Method, Refusal, ScoreRow, SiteReport
from lego_core.sum_letters import SUM_ANSWERS, SUM_QUESTIONS, MaskedVectors

QUESTIONS = (
    AskOffer, AskStatistics, AskOutcomes, AskBlockUpdate, AskFuseUpdate, AskGrams, AskReport, *SUM_QUESTIONS,
    *PARCEL_QUESTIONS,
)  # fmt: skip
ANSWERS = (
    Offer, Statistics, Outcomes, Progress, Update, Grams, SiteReport, Refusal, *SUM_ANSWERS, *PARCEL_ANSWERS
)  # fmt: skip
CARRY_TENSORS = frozenset(
    {Statistics.kind, Outcomes.kind, Update.kind, Grams.kind, MaskedVectors.kind, Piece.kind}
)

__all__ = [
    "ANSWERS",
    "CARRY_TENSORS",
    "QUESTIONS",
    "AbstractSummable",
    "Agreement",
    "AskBlockUpdate",
    "AskFuseUpdate",
    "AskGrams",
    "AskOffer",
    "AskOutcomes",
    "AskReport",
    "AskStatistics",
    "ChartRow",
    "Grams",
    "Method",
    "ModalityOffer",
    "Offer",
    "Outcomes",
    "Progress",
    "Refusal",
    "ScoreRow",
    "SiteReport",
    "Statistics",
    "Update",
]
