"""What an update goes through on its way to the server: both halves of it in one file each.

There is no default. A plan that does not say `privacy.kind` is not a plan.
"""

from lego_core.privacy._contract import AbstractPrivacy, Declared, ProtectedUpdate
from lego_core.privacy.no_privacy import NoPrivacy

Privacy = NoPrivacy  # becomes a union, told apart by `kind`, with its second member

__all__ = ["AbstractPrivacy", "Declared", "NoPrivacy", "Privacy", "ProtectedUpdate"]
