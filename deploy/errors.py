"""What goes wrong while a federation is set up."""

from lego_core.errors import LegoError


class DeployError(LegoError):
    """A file, key or certificate of a federation is not as it must be."""
