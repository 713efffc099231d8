"""Every error this project raises on purpose, drawn as a tree.

LegoError
├── PlanError        a run plan asks for something that cannot be
├── DataError        files or records at a site do not fit
├── ShapeError       tensors or blocks of sizes that do not go together
├── MergeError       blocks that cannot be merged or fused
├── PrivacyError     a privacy promise that cannot be kept
│   ├── SecureSumError   a message or a wish that the secure sum refuses
│   └── BudgetSpent      private training that would cost more than a site may spend
├── LogError         a log or ledger that was changed, or cannot be written
├── ProtocolError    a message that breaks the agreed form
├── BundleError      a model folder that is damaged, changed or too new
├── ExportError      a model that cannot be written in another program's form
├── RunError         a run that cannot go on
└── SiteRefusal      a site declines; not a failure

Flower sends `str(error)` of a failing site to the server, so the text of an error
is published the moment it is raised. Hence two parts: `public` is `str(error)` and
may leave the hospital; `local` (paths, values, patients) goes to the site's own log
and nowhere else.
"""


class LegoError(Exception):
    """Say what went wrong with both values, where, and what to do.

    Args:
        public: The whole message, fit to leave the hospital: no path, no value and
            no identifier of a patient.
        local: What only the site's own operator may read.
    """

    def __init__(self, public: str, *, local: str = "") -> None:
        super().__init__(public)
        self.public = public
        self.local = local

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.public, self.local))


def _rebuild(kind: type[LegoError], public: str, local: str) -> LegoError:
    return kind(public, local=local)


class PlanError(LegoError):
    """A run plan asks for something that cannot be."""


class DataError(LegoError):
    """Files or records at a site do not fit."""


class ShapeError(LegoError):
    """Tensors or blocks have sizes that do not go together."""


class MergeError(LegoError):
    """Blocks cannot be merged or fused."""


class PrivacyError(LegoError):
    """A privacy promise cannot be kept."""


class SecureSumError(PrivacyError):
    """The secure sum refuses a message or a wish; nothing was revealed."""


class BudgetSpent(PrivacyError):
    """Private training would cost more than a site may spend; nothing was trained."""


class LogError(LegoError):
    """A log or ledger was changed, or cannot be written."""


class ProtocolError(LegoError):
    """A message breaks the agreed form."""


class BundleError(LegoError):
    """A model folder is damaged, changed or too new."""


class ExportError(LegoError):
    """A model cannot be written in another program's form."""


class RunError(LegoError):
    """A run cannot go on."""


class SiteRefusal(LegoError):
    """A site declines. This is its right and not a failure."""
