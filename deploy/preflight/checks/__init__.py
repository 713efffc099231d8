"""The checks, one per file, in the order in which they are shown."""

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.checks.budget import Budget
from deploy.preflight.checks.certificate import Certificate
from deploy.preflight.checks.clock import Clock
from deploy.preflight.checks.configuration import Configuration
from deploy.preflight.checks.data import Data
from deploy.preflight.checks.disk import Disk
from deploy.preflight.checks.identifiers import Identifiers
from deploy.preflight.checks.identity import IdentityOnRoster
from deploy.preflight.checks.link import Link
from deploy.preflight.checks.missing import Missing
from deploy.preflight.checks.modalities import Modalities
from deploy.preflight.checks.outcomes import Outcomes
from deploy.preflight.checks.patients import Patients
from deploy.preflight.checks.plan import Plan
from deploy.preflight.checks.policy import Policy
from deploy.preflight.checks.round_time import RoundTime
from deploy.preflight.checks.runtime_port import RuntimePort
from deploy.preflight.checks.training_step import TrainingStep
from deploy.preflight.checks.values import Values
from deploy.preflight.checks.versions import Versions

CHECKS: tuple[AbstractCheck, ...] = (
    Configuration(), Plan(), Policy(), IdentityOnRoster(), Versions(), Disk(), RuntimePort(),
    Data(), Modalities(), Identifiers(), Patients(), Outcomes(), Missing(), Values(),
    Budget(), Link(), Certificate(), Clock(), TrainingStep(), RoundTime(),
)  # fmt: skip

__all__ = ["CHECKS", "AbstractCheck"]
