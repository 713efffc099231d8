"""Coordinator and site under compose, systemd or Kubernetes: what runs is said once, in `processes`."""

from deploy.targets.deployment import Deployment, coordinator_deployment, site_deployment
from deploy.targets.inputs import OWN_IMAGE, PROXY_IMAGE, CoordinatorInputs, SiteInputs, Target
from deploy.targets.render import target_files

__all__ = [
    "OWN_IMAGE",
    "PROXY_IMAGE",
    "CoordinatorInputs",
    "Deployment",
    "SiteInputs",
    "Target",
    "coordinator_deployment",
    "site_deployment",
    "target_files",
]
