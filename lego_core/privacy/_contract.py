"""What every privacy plan promises."""

from abc import abstractmethod
from typing import Literal

import numpy as np
from pydantic import Field

from lego_core.component import Component

FEWEST_IN_A_SUM = 3  # of two sites, each would learn the other's numbers from the sum


class SumTerms(Component):
    """How sites add their numbers up unseen.

    Args:
        clip_norm: Largest L2 norm of a site's update, per part of a model; a longer one is shortened to it.
        weight_cap: Most patients a site may train on; it decides how finely updates are written.
        max_corrupt: How many sites may work with the coordinator before anybody's numbers are seen.
        min_survivors: Fewest sites whose sum may be opened.
        too_few: What becomes of a part of a model to which fewer sites contribute than that:
            `refuse` ends the run; `keep-local` goes on without it.
        buckets: Into how many groups the sites of a sum are drawn by lot, anew in each round, each
            group with a sum of its own, for aggregations that must compare updates; fewer if
            there are not enough sites for so many. 1: the server sees one sum over all.

    Source:
        Bonawitz et al. "Practical Secure Aggregation for Privacy-Preserving Machine Learning."
        CCS 2017. doi:10.1145/3133956.3133982. Here with signed keys and confirmed survivors.
    """

    clip_norm: float = Field(default=16.0, gt=0)
    weight_cap: int = Field(default=1000, ge=1)
    max_corrupt: int = Field(default=0, ge=0)
    min_survivors: int = Field(default=FEWEST_IN_A_SUM, ge=FEWEST_IN_A_SUM)
    too_few: Literal["refuse", "keep-local"] = "refuse"
    buckets: int = Field(default=1, ge=1)

    @property
    def fewest(self) -> int:
        """Fewest sites whose sum may be opened: two at least must be honest."""
        return max(self.min_survivors, self.max_corrupt + 2)

    @property
    def clip(self) -> str:
        """The longest norm as a session writes it: a float32, in hexadecimal."""
        return float(np.float32(self.clip_norm)).hex()


class AbstractPrivacy(Component):
    """A privacy plan: what the server may see of a site, and how far patients are hidden in it."""

    @property
    @abstractmethod
    def sum_terms(self) -> SumTerms | None:
        """How numbers are summed unseen; None where they travel as they are."""

    @property
    @abstractmethod
    def claim(self) -> str:
        """What this plan does and does not protect, in whole sentences, for the report."""

    @property
    def shows_several_updates(self) -> bool:
        """Whether the server has more than one update to compare: each site's, or those of buckets."""
        return self.sum_terms is None or self.sum_terms.buckets > 1
