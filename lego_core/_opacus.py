"""Whether Opacus is there: only private training needs it, and everything else goes without."""

from importlib.util import find_spec

from lego_core.errors import PrivacyError


def require_opacus() -> None:
    """Say how to install Opacus where it is missing.

    Raises:
        PrivacyError: If it is.
    """
    if find_spec("opacus") is None:
        raise PrivacyError(
            "Patient-level privacy needs the package 'opacus', and it is not installed here. Install "
            "'lego-federation[privacy]', or 'opacus>=1.6,<1.7' beside this code."
        )
