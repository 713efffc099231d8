"""Cancer patients of four TCGA cohorts."""

from pathlib import Path
from typing import Literal, final

import pandas as pd

from lego_core.datasets._assembly import Measured, assemble, one_row_each
from lego_core.datasets._contract import AbstractDataset
from lego_core.datasets._origin import find_published
from lego_core.datasets._outcomes import SurvivalOutcome
from lego_core.datasets._sheet import Sheet, read_sheet
from lego_core.records import Cohort

_DAYS_PER_MONTH = 30.4375
_ENDINGS = {"rna": "_rnaseq", "cnv": "_cnv", "mutation": "_mut"}
_CLINICAL = ("age", "is_female")


@final
class Tcga(AbstractDataset):
    """One of four TCGA cohorts: genes, age and sex, and survival.

    The published tables have one row per *slide*; here every patient (`case_id`) is one record.
    Nothing measured differs between the rows of a patient, so the first row speaks for all.
    Modalities: `rna` (expression per gene, missing in UCEC), `cnv` (copy number from -2 to 2,
    missing in KIRP), `mutation` (0 or 1 per gene), `clinical` (age in years and sex).
    A patient's hospital is the tissue source site. The column `train`, which served the authors
    to choose genes, prescribes no split, and a clinical column that is the same for everybody
    (sex, in UCEC) is left out: it tells nothing and has no spread to be scaled by.

    Args:
        cohort: Bladder (373 patients), breast (956), papillary kidney (260) or endometrium (480).

    Source:
        The Cancer Genome Atlas Research Network, open access tier. Tables: Chen et al.
        "Pan-cancer integrative histology-genomic analysis via multimodal deep learning."
        Cancer Cell 40(8), 2022. doi:10.1016/j.ccell.2022.07.004.
    """

    kind: Literal["tcga"] = "tcga"
    cohort: Literal["blca", "brca", "kirp", "ucec"]

    def load(self, folder: Path | None = None) -> Cohort:
        path = find_published(
            folder,
            Path("tcga", f"tcga_{self.cohort}_all_clean.csv.zip"),
            origin="github.com/mahmoodlab/PORPOISE (datasets_csv_mutsig)",
        )
        slides = read_sheet(
            path, what="The TCGA table", text=("case_id", "slide_id", "site", "oncotree_code")
        )
        slides.require(["case_id", "site", "survival_months", "censorship", *_CLINICAL])
        first = slides.frame.drop_duplicates("case_id", ignore_index=True)
        patients = Sheet(first, slides.what, path)
        months, censored = patients.numbers(["survival_months", "censorship"]).T
        survival = pd.DataFrame({"time_days": months * _DAYS_PER_MONTH, "event": 1 - censored})
        ids = patients.texts("case_id")
        return assemble(
            ids,
            SurvivalOutcome().read(Sheet(survival, slides.what, path)),
            modalities=_modalities(patients, ids),
            hospitals=patients.texts("site"),
        )


def _modalities(patients: Sheet, ids: list[str]) -> dict[str, Measured]:
    columns = {name: [c for c in patients.frame.columns if c.endswith(end)] for name, end in _ENDINGS.items()}
    columns["clinical"] = [c for c in _CLINICAL if len(patients.frame[c].dropna().unique()) > 1]
    return {
        name: one_row_each(ids, patients.numbers(chosen), features=chosen)
        for name, chosen in columns.items()
        if chosen
    }
