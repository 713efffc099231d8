"""Node-negative breast cancer, the TransBig study."""

from pathlib import Path
from typing import Literal, final

import numpy as np
import pandas as pd

from lego_core.datasets._assembly import assemble, one_row_each
from lego_core.datasets._contract import AbstractDataset
from lego_core.records import Cohort

_GRADES = {"well differentiated": 1.0, "intermediate": 2.0, "poorly differentiated": 3.0}
_RECEPTORS = {"negative": 0.0, "positive": 1.0}


@final
class Breast(AbstractDataset):
    """Days to distant metastasis of 198 women with breast cancer, of whom 51 relapsed.

    `expression`: 76 genes of a published signature (log2). `clinical`: age in years, oestrogen
    receptor (1 positive, 0 negative), grade (1 well, 2 intermediate, 3 poorly differentiated; not
    known for two), size in cm. The data tell no hospital; patients are numbered.

    Source:
        Desmedt et al. "Strong time dependence of the 76-gene prognostic signature for node-negative
        breast cancer patients in the TRANSBIG multicenter independent validation series." Clinical
        Cancer Research 13(11), 2007. doi:10.1158/1078-0432.CCR-06-2765. Through scikit-survival.
    """

    kind: Literal["breast"] = "breast"

    def load(self, folder: Path | None = None) -> Cohort:  # noqa: ARG002 - the data need no folder
        from sksurv.datasets import load_breast_cancer  # slow to import, and only who has these data needs it

        patients, outcomes = load_breast_cancer()
        relapse = np.asarray(outcomes)
        genes = [column for column in patients.columns if column.startswith("X")]
        clinical = pd.DataFrame(
            {
                "age": patients["age"],
                "er": patients["er"].astype(object).map(_RECEPTORS),
                "grade": patients["grade"].astype(object).map(_GRADES),
                "size": patients["size"],
            }
        )
        ids = [f"{number:03d}" for number in range(1, len(patients) + 1)]
        tables = {"expression": patients[genes], "clinical": clinical}
        return assemble(
            ids,
            np.stack([relapse["t.tdm"], relapse["e.tdm"]], axis=1),
            modalities={
                name: one_row_each(ids, table.to_numpy(dtype=np.float64), features=list(table.columns))
                for name, table in tables.items()
            },
        )
