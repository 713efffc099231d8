"""Two days in intensive care."""

from pathlib import Path
from typing import Literal, final

import numpy as np

from lego_core.datasets._assembly import assemble, one_row_each
from lego_core.datasets._contract import AbstractDataset
from lego_core.datasets._origin import find_published
from lego_core.datasets._outcomes import LabelsOutcome
from lego_core.datasets._sheet import Sheet, read_sheet
from lego_core.records import Cohort

_SIGNS = (
    "DiasABP",
    "GCS",
    "Glucose",
    "HR",
    "MAP",
    "NIDiasABP",
    "NIMAP",
    "NISysABP",
    "RespRate",
    "SaO2",
    "Temp",
)
_SUMMARIES = ("first", "last", "lowest", "highest", "median")
_BLOOD = (
    *(
        "ALP",
        "ALT",
        "AST",
        "Albumin",
        "BUN",
        "Bilirubin",
        "Cholesterol",
        "Creatinine",
        "HCO3",
        "HCT",
        "K",
        "Lactate",
    ),
    *("Mg", "Na", "PaCO2", "PaO2", "Platelets", "TroponinI", "TroponinT", "WBC", "pH", "FiO2"),
)
_VENTILATION = ("MechVentStartTime", "MechVentDuration", "MechVentLast8Hour")
_UNITS = ("CCU", "CSRU", "SICU")
_FEATURES = {
    "vitals": (
        *(f"{sign}_{summary}" for sign in _SIGNS for summary in _SUMMARIES),
        *("SysABP_first", "SysABP_last", "UrineOutputSum"),
    ),
    "laboratory": (*(f"{test}_{when}" for test in _BLOOD for when in ("first", "last")), *_VENTILATION),
    "demographics": ("Age", "Gender", "Height", "Weight", *_UNITS),
}
_TALLEST_CM = 230.0


@final
class Icu2012(AbstractDataset):
    """Did a patient in intensive care die in hospital? 4,000 stays, 48 hours of each.

    Three tables, by who brings the numbers:

    - `vitals` (58 features), the chart at the bed: first, last, lowest, highest and median of
      eleven signs, first and last systolic pressure in the artery, urine. It is a table and not
      a series: only the first and the last of the five summaries have a place in time.
    - `laboratory` (47), what blood tells: first and last of 21 tests, and the ventilation that
      blood gases are read against (share of oxygen, start and length of ventilation).
    - `demographics` (7): age, sex, height, weight on arrival, and the unit.

    Heights above 230 cm (nine patients, up to 39.6 m) are slips of the pen and count as not
    measured; weights lie between 35 and 280 kg and stay. Left out: what is known only afterwards
    or is a score of its own (`SAPS-I`, `SOFA`, `Length_of_stay`, `Survival`), the number of the
    record, and `Weight_first` and `Weight_last`, which mostly repeat the weight. The hospital of
    a patient is the unit: coronary (CCU), cardiac surgery (CSRU), surgical (SICU) or medical (MICU).

    Source:
        Silva et al. "Predicting in-hospital mortality of ICU patients: The PhysioNet/Computing in
        Cardiology Challenge 2012." Computing in Cardiology 39, 2012. PMID 24678516. Set A,
        summarised by github.com/alistairewj/challenge2012.
    """

    kind: Literal["icu2012"] = "icu2012"

    def load(self, folder: Path | None = None) -> Cohort:
        path = find_published(
            folder,
            Path("icu2012", "set-a.csv.gz"),
            origin="physionet.org/content/challenge-2012, summarised by github.com/alistairewj/challenge2012",
        )
        stays = read_sheet(path, what="The table of ICU stays", text=["recordid"])
        stays.require([column for columns in _FEATURES.values() for column in columns])
        heights = stays.frame["Height"].where(stays.frame["Height"] <= _TALLEST_CM)
        stays = Sheet(stays.frame.assign(Height=heights), stays.what, path)
        ids = stays.texts("recordid")
        return assemble(
            ids,
            LabelsOutcome(columns=("In-hospital_death",)).read(stays),
            modalities={
                name: one_row_each(ids, stays.numbers(columns), features=columns)
                for name, columns in _FEATURES.items()
            },
            hospitals=_units(stays),
        )


def _units(stays: Sheet) -> list[str]:
    flags = stays.numbers(_UNITS)
    medical = 1 - flags.sum(axis=1, keepdims=True)
    names = np.array([*_UNITS, "MICU"], dtype=object)
    return names[np.concatenate([flags, medical], axis=1).argmax(axis=1)].tolist()
