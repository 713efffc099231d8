"""What a site's own rules call too few patients."""

from client.site import Site
from lego_core.errors import SiteRefusal
from lego_core.records import Cohort


def check_enough(site: Site, count: int, *, of: str) -> None:
    """Decline to send what the site's own rules say too few patients stand behind.

    Args:
        site: The site.
        count: How many there are.
        of: What they are, in words.

    Raises:
        SiteRefusal: If they are too few.
    """
    smallest = site.file.rules.smallest_count or 0
    if count < smallest:
        raise SiteRefusal(
            f"Site '{site.file.name}' declines: fewer than {smallest} {of} would stand behind its answer "
            "(key rules.smallest-count). Nothing was sent; the run goes on without it."
        )


def if_enough(site: Site, validation: Cohort) -> Cohort:
    """The patients to score weights on in a round; nobody, where the site's rules say they are too few."""
    return validation if len(validation) >= (site.file.rules.smallest_count or 0) else validation.keep([])
