"""Studies: one question each, answered by one command with a table, a figure and a sentence.

To add a study, write a file beside these and name it here.
"""

from typing import Annotated

from pydantic import Field

from simulations.benchmarks.studies._arms import Arm, Comparison, Measured
from simulations.benchmarks.studies._contract import AbstractStudy, Steps
from simulations.benchmarks.studies._lab import Lab, Trained
from simulations.benchmarks.studies.absent import Absent
from simulations.benchmarks.studies.domain import DomainStudy
from simulations.benchmarks.studies.growth import Growth
from simulations.benchmarks.studies.hospitals import Hospitals
from simulations.benchmarks.studies.imbalance import Imbalance
from simulations.benchmarks.studies.interference import Interference
from simulations.benchmarks.studies.later import Later
from simulations.benchmarks.studies.overlap import Overlap
from simulations.benchmarks.studies.paired import Paired
from simulations.benchmarks.studies.privacy import PrivacyStudy
from simulations.benchmarks.studies.start import Start

Study = Annotated[
    DomainStudy
    | Start
    | Overlap
    | Absent
    | Imbalance
    | Later
    | Growth
    | Paired
    | Interference
    | Hospitals
    | PrivacyStudy,
    Field(discriminator="kind"),
]

STUDIES: dict[str, AbstractStudy] = {
    study.kind: study
    for study in (
        DomainStudy(),
        Start(),
        Overlap(),
        Absent(),
        Imbalance(),
        Later(),
        Growth(),
        Paired(),
        Interference(),
        Hospitals(),
        PrivacyStudy(),
    )
}

__all__ = [
    "STUDIES",
    "Absent",
    "AbstractStudy",
    "Arm",
    "Comparison",
    "DomainStudy",
    "Growth",
    "Hospitals",
    "Imbalance",
    "Interference",
    "Lab",
    "Later",
    "Measured",
    "Overlap",
    "Paired",
    "PrivacyStudy",
    "Start",
    "Steps",
    "Study",
    "Trained",
]
