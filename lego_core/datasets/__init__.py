"""Files on a disk become patient records. One file per dataset; the union is the registry."""

from typing import Annotated

from pydantic import Field

from lego_core.datasets._contract import AbstractDataset
from lego_core.datasets._outcomes import ClassOutcome, LabelsOutcome, OutcomeColumns, SurvivalOutcome
from lego_core.datasets.bags import Bags
from lego_core.datasets.breast import Breast
from lego_core.datasets.icu2012 import Icu2012
from lego_core.datasets.images import Images
from lego_core.datasets.pbc import Pbc
from lego_core.datasets.synthetic import Synthetic
from lego_core.datasets.tables import Tables
from lego_core.datasets.tables_writer import write_tables
from lego_core.datasets.tcga import Tcga

Dataset = Annotated[
    Bags | Breast | Icu2012 | Images | Pbc | Synthetic | Tables | Tcga, Field(discriminator="kind")
]

__all__ = [
    "AbstractDataset",
    "Bags",
    "Breast",
    "ClassOutcome",
    "Dataset",
    "Icu2012",
    "Images",
    "LabelsOutcome",
    "OutcomeColumns",
    "Pbc",
    "SurvivalOutcome",
    "Synthetic",
    "Tables",
    "Tcga",
    "write_tables",
]
