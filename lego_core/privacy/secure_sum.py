"""The server sees sums over sites, and of no site by itself."""

from typing import Literal, final

from lego_core.privacy._contract import AbstractPrivacy, SumTerms


@final
class SecureSum(SumTerms, AbstractPrivacy):
    """Hide each site's numbers under masks that vanish only from the sum of at least three sites.

    Updates of blocks and of the fused model, sums for normalisation, counts of outcomes, Gram
    matrices, losses and scores all go this way. The mathematics stands in `fsa1`.

    Guarantees:
        If no more than `max_corrupt` sites work with a coordinator who may lie, they learn of the honest
        sites only the sum over those who took part, of no fewer than `min_survivors`, once for
        the same weights.
        Not what such a sum itself gives away, not a right sum from a coordinator who lies, and not a
        true update from a site that lies.

    Source:
        Bonawitz et al. "Practical Secure Aggregation for Privacy-Preserving Machine Learning."
        CCS 2017. doi:10.1145/3133956.3133982.
    """

    kind: Literal["secure-sum"]  # no default: nobody gets this plan without saying so

    @property
    def sum_terms(self) -> SumTerms:
        """All numbers are summed unseen."""
        return self

    @property
    def claim(self) -> str:
        """What the report says."""
        others = f"and up to {self.max_corrupt} sites together " if self.max_corrupt else ""
        return (
            f"The coordinator {others}saw no single site's updates, counts, losses or scores, only their "
            f"sums over at least {self.min_survivors} sites. These sums, and the model that follows from "
            "them, are not anonymous by that: they can still tell of patients, most of all of those who are "
            "unlike the others. Who took part, with what kinds of data and how many patients to the nearest "
            "ten below, was seen."
        )
