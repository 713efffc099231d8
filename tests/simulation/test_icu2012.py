"""On real intensive-care patients, unpaired: are the blocks good, and does merging pay?

Means over three seeds of the shipped plan: one test set of 758 patients moves an AUROC by
about 0.02 either way, so a single run could show anything.
"""

from pathlib import Path

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from client.site import read_site_file
from lego_core.bundle import ModelBundle
from lego_core.evaluation import EvaluationReport
from lego_core.plan import RunPlan
from lego_core.records import Part, PatientRecord
from simulations.in_process import run_in_process
from simulations.make_sites import make_sites

pytestmark = pytest.mark.slow
SEEDS = (1, 2, 3)
PENALTIES = (1.0, 0.1, 0.03, 0.01)
Run = tuple[EvaluationReport, Path]


@pytest.fixture(scope="module")
def runs(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    return [_run(seed, data_dir, tmp_path_factory.mktemp(f"icu-{seed}")) for seed in SEEDS]


@pytest.mark.parametrize("modality", ["vitals", "laboratory", "demographics"])
def test_every_block_is_as_good_as_a_logistic_regression(runs: list[Run], modality: str) -> None:
    blocks = [_score(results, "block", (modality,)) for results, _ in runs]
    regressions = [_logistic_regression(sites, modality) for _, sites in runs]

    assert np.mean(blocks) > np.mean(regressions) - 0.01


def test_the_merge_is_above_the_best_block(runs: list[Run]) -> None:
    everything = ("vitals", "laboratory", "demographics")
    merges = [_score(results, "merge", everything) for results, _ in runs]
    chosen = [_score(results, "block", (results.best_block,)) for results, _ in runs]
    best_on_test = [max(_score(results, "block", (name,)) for name in everything) for results, _ in runs]

    assert np.mean(merges) >= np.mean(chosen) + 0.02
    assert np.mean(merges) >= np.mean(best_on_test) + 0.02


def _run(seed: int, data: Path, folder: Path) -> Run:
    plan = RunPlan.shipped("icu2012").model_copy(update={"seed": seed})
    sites = make_sites(plan, folder / "sites", data=data)
    run_in_process(plan.name, sites=len(sites), sites_dir=folder / "sites", output=folder)
    results = ModelBundle.load(folder / "bundle").report.results
    assert results is not None
    return results, folder / "sites"


def _score(results: EvaluationReport, method: str, modalities: tuple[str, ...]) -> float:
    wanted = (method, modalities, "complete")
    return next(s.value for s in results.scores if (s.method, s.modalities, s.patients) == wanted)


def _logistic_regression(sites: Path, modality: str) -> float:
    """AUROC on the same test patients, trained on the same patients, its penalty chosen on validation."""
    records = [
        record
        for file in sorted(sites.glob("site-*/site.toml"))
        for record in read_site_file(file).data.load(file.parent).records
    ]
    (train, died), (validation, died_too), (test, outcome) = (
        _table(records, part, modality) for part in ("train", "validation", "test")
    )
    models = [
        make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(C=penalty, max_iter=3000),
        ).fit(train, died)
        for penalty in PENALTIES
    ]
    best = max(models, key=lambda one: roc_auc_score(died_too, one.predict_proba(validation)[:, 1]))
    return float(roc_auc_score(outcome, best.predict_proba(test)[:, 1]))


def _table(records: list[PatientRecord], part: Part, modality: str) -> tuple[np.ndarray, np.ndarray]:
    complete = part == "test"
    chosen = [
        record
        for record in records
        if record.part == part and modality in record.modalities and (len(record.modalities) == 3) == complete
    ]
    values = np.stack([record.modalities[modality].values[0].numpy() for record in chosen])
    return values, np.array([record.outcome.values[0] for record in chosen])
