"""What Flower reports in a site's place, in sentences; and which of it is worth asking again."""

from flwr.app import Error
from flwr.common.constant import ErrorCode

NOT_TAKEN = "Flower could not hand the question to the site: it has left, or the message is too large."
GONE = frozenset({ErrorCode.NODE_UNAVAILABLE})  # asked again when it is back
BROKEN_OFF = frozenset({ErrorCode.CLIENT_APP_CRASHED, ErrorCode.REPLY_MESSAGE_UNAVAILABLE})  # at once

SENTENCES = {
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION: (
        "The site could not load the run's program. Its operator has the details on the site's console; look "
        "for a package that is not installed there."
    ),
    ErrorCode.MESSAGE_UNAVAILABLE: (
        "The question expired, or the answer did not arrive whole, before it could be fetched. Look at the "
        "site's link, or let the plan wait longer (key participation.round-seconds)."
    ),
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: (
        "The site's answer expired before it could be fetched. Look at the site's link, or let the plan wait "
        "longer (key participation.round-seconds)."
    ),
    ErrorCode.NODE_UNAVAILABLE: (
        "The site was lost while it was asked: nothing was heard of its node for a minute. Its operator sees "
        "on the node's console whether the link or the node broke."
    ),
    ErrorCode.INVALID_FAB: "The site runs only code that it approved, and this run's bundle is not among it.",
    ErrorCode.CLIENT_APP_CRASHED: (
        "The program at the site ended without an answer, as when memory runs out. Its operator finds the "
        "reason in the log of the site's machine."
    ),
}


def sentence(error: Error) -> str:
    """What to tell of an error that Flower reports in a site's place."""
    told = SENTENCES.get(error.code)
    return told or f"Flower reports for the site: {error.reason}"
