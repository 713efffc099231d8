"""No privacy at all, said aloud."""

from typing import Literal, final

from lego_core.privacy._contract import AbstractPrivacy


@final
class NoPrivacy(AbstractPrivacy):
    """Send every update as it is.

    Guarantees:
        None. Records stay at their site, but the server sees each site's update and its
        number of training patients, and an update can reveal what a model learned from.

    Source:
        The plain federated averaging of McMahan et al. "Communication-Efficient Learning
        of Deep Networks from Decentralized Data." AISTATS 2017. arXiv:1602.05629.
    """

    kind: Literal["no-privacy"]  # no default: nobody gets this plan without saying so

    @property
    def sum_terms(self) -> None:
        """Nothing is summed unseen."""
        return

    @property
    def noise_terms(self) -> None:
        """Sites train without noise."""
        return

    @property
    def small_groups(self) -> Literal["refuse"]:
        """There are no sums, so no group is too small for one."""
        return "refuse"

    @property
    def claim(self) -> str:
        """What the report says."""
        return (
            "No privacy protection beyond keeping the records at their sites: the coordinator saw every "
            "site's model updates and its number of training patients, and updates can reveal patients."
        )
