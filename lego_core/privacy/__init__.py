"""How far the server may look into a site: one plan per file.

There is no default. A plan that does not say `privacy.kind` is not a plan.
"""

from typing import Annotated

from pydantic import Field

from lego_core.privacy._contract import AbstractPrivacy, SumTerms
from lego_core.privacy.no_privacy import NoPrivacy
from lego_core.privacy.secure_sum import SecureSum

Privacy = Annotated[NoPrivacy | SecureSum, Field(discriminator="kind")]

__all__ = ["AbstractPrivacy", "NoPrivacy", "Privacy", "SecureSum", "SumTerms"]
