"""`leave` and `revoke`: a site is taken off the roster, and its keys never count again."""

from pathlib import Path

from deploy._files import not_written
from deploy.coordinator import ROSTER, Coordinator
from deploy.errors import DeployError


def remove_site(coordinator: Coordinator, site: str) -> Path:
    """Take a site off the roster, and put its folder among the former sites.

    The roster comes first: whatever happens then, the site's key does not count any more.

    Args:
        coordinator: The opened folder.
        site: Its name.

    Returns:
        The folder that was the site's, where it lies now.

    Raises:
        DeployError: If there is no such site, or something cannot be written.
    """
    sites, entries = coordinator.sites(), coordinator.entries()
    if site not in sites:
        raise DeployError(
            f"There is no site '{site}'; there are {sorted(sites)}. Give the name of one of these."
        )
    remaining = tuple(one for one in entries if one.site != site)
    former = coordinator.folder / "former-sites"
    try:
        if not remaining:
            (coordinator.folder / ROSTER).unlink(missing_ok=True)  # a roster names one site at least
        elif remaining != entries:
            coordinator.write_roster(remaining)
        number = 1 + sum(one.name.rpartition("-")[0] == site for one in former.iterdir())
        return (coordinator.folder / "sites" / site).rename(former / f"{site}-{number}")
    except OSError as error:
        raise not_written(former, error) from error
