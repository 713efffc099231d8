"""What an update goes through on its way to the server: both halves of it in one file each.

There is no default. A plan that does not say `privacy.kind` is not a plan.
"""

from typing import Annotated

from pydantic import Field

from lego_core.privacy._contract import AbstractPrivacy, Declared, ProtectedUpdate
from lego_core.privacy.no_privacy import NoPrivacy
from lego_core.privacy.patient_dp import PatientDp

Privacy = Annotated[NoPrivacy | PatientDp, Field(discriminator="kind")]

__all__ = ["AbstractPrivacy", "Declared", "NoPrivacy", "PatientDp", "Privacy", "ProtectedUpdate"]
