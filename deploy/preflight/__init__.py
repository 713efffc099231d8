"""Preflight: what would go wrong in a run, found at the site before anybody waits for it.

Every check is a file in `checks/` and looks at one thing. It reads the site's folder and, if told where
the coordinator is, measures the way there. Nothing about patients leaves: what is found is shown to the
site's own operator, and which patients it concerns only on request.
"""

from deploy.preflight.checks import CHECKS, AbstractCheck
from deploy.preflight.examination import examine
from deploy.preflight.finding import Finding, Status
from deploy.preflight.premises import Address, Premises, Wish

__all__ = ["CHECKS", "AbstractCheck", "Address", "Finding", "Premises", "Status", "Wish", "examine"]
