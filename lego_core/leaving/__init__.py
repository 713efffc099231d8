"""Taking a block out of a finished model: the rest merged again, and what that costs."""

from lego_core.leaving._blocks_of_site import blocks_of_site, influence
from lego_core.leaving._change import MetricChange, OwnChange, change_in_report, change_on_own
from lego_core.leaving._without import without_blocks

__all__ = [
    "MetricChange",
    "OwnChange",
    "blocks_of_site",
    "change_in_report",
    "change_on_own",
    "influence",
    "without_blocks",
]
