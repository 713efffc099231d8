"""How far the server may look into a site: one plan per file.

There is no default. A plan that does not say `privacy.kind` is not a plan.
"""

from typing import Annotated

from pydantic import Field

from lego_core.privacy._contract import (
    EVERYBODY,
    FEWEST_IN_A_SUM,
    AbstractPrivacy,
    NoiseTerms,
    SumTerms,
    default_delta,
)
from lego_core.privacy.no_privacy import NoPrivacy
from lego_core.privacy.patient_dp import PatientDp
from lego_core.privacy.secure_sum import SecureSum

Privacy = Annotated[NoPrivacy | SecureSum | PatientDp, Field(discriminator="kind")]

__all__ = [
    "EVERYBODY",
    "FEWEST_IN_A_SUM",
    "AbstractPrivacy",
    "NoPrivacy",
    "NoiseTerms",
    "PatientDp",
    "Privacy",
    "SecureSum",
    "SumTerms",
    "default_delta",
]
