"""What leaving blocks out changes: in the run's own scores, and on patients that a site holds itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lego_core.bundle import ModelBundle
from lego_core.errors import DataError
from lego_core.evaluation import Gain, Method, PooledScore
from lego_core.records import Cohort
from lego_core.site_data import SiteData
from lego_core.split import split_by_patient
from lego_core.training import predict_logits

RESAMPLES = 1000


@dataclass(frozen=True)
class MetricChange:
    """One model before and after, on the same patients of the run.

    Args:
        method: Which model; of a single block that stays, it is compared as that.
        before: With all modalities.
        after: Without those left out; absent if the model is gone, or no site scored it.
    """

    method: Method
    before: PooledScore
    after: PooledScore | None

    @property
    def change(self) -> float | None:
        """After minus before, where both are of the same patients and some could be compared."""
        if self.after is None or not (self.before.pairs and self.after.pairs):
            return None
        same = (self.after.sites, self.after.count) == (self.before.sites, self.before.count)
        return self.after.value - self.before.value if same else None


@dataclass(frozen=True)
class OwnChange:
    """The merge before and after, on a site's own test patients.

    Args:
        metric: Name of the metric.
        before: Its value before.
        after: And after.
        gain: After minus before, with its paired bootstrap interval.
    """

    metric: str
    before: float
    after: float
    gain: Gain


def change_in_report(old: ModelBundle, rest: Sequence[str]) -> list[MetricChange]:
    """Compare the run's scores of all modalities and of those that stay, on its complete test patients.

    A report holds no resamples, so such a difference has no interval. There is nothing to compare where
    nobody was scored, or where trunks were merged: the scores are then of a trunk that is gone.
    """
    results = old.report.results
    if results is None or old.plan.merging.trunk is not None:
        return []
    scores = {(one.method, one.modalities): one for one in results.scores if one.patients == "complete"}
    every, staying = old.models.merged.modalities, tuple(rest)
    models: tuple[Method, ...] = ("merge", "ensemble", "fuse")
    found = []
    for method in models:
        before = scores.get((method, every))
        if before is not None:
            same: Method = "block" if len(staying) == 1 else method
            after = None if method == "fuse" else scores.get((same, staying))
            found.append(MetricChange(method, before, after))
    return found


def change_on_own(
    old: ModelBundle, new: ModelBundle, folder: Path, *, resamples: int = RESAMPLES
) -> OwnChange:
    """Score both merges on a site's own test patients who hold something that the new one reads.

    Args:
        old: Before.
        new: After.
        folder: The site's folder, with its `site.toml`; patients are split as in the run, so that nobody
            is tested on whom the site trained.
        resamples: Of the patients, the same for both.

    Raises:
        DataError: If the data cannot be read, or no two test patients can be compared.
    """
    cohort = _test_patients(old, new, folder)
    task = old.agreement.task
    (before, outcomes), (after, _) = (predict_logits(one.models.merged, cohort) for one in (old, new))
    before, after = task.predict(before), task.predict(after)
    first, second = task.score(before, outcomes), task.score(after, outcomes)
    if not first.pairs:
        raise DataError(
            f"Of {len(cohort)} test patients here no two can be compared, so neither model can be judged. "
            "Give data with more patients, and with different outcomes."
        )
    generator = torch.Generator().manual_seed(old.plan.seed)
    rows = torch.randint(len(cohort), (resamples, len(cohort)), generator=generator)
    differences = torch.tensor(
        [
            task.score(after[one], outcomes[one]).value - task.score(before[one], outcomes[one]).value
            for one in rows
        ]
    )
    low, high = torch.quantile(differences, torch.tensor([0.025, 0.975])).tolist()
    gain = Gain(value=second.value - first.value, low=low, high=high, patients=len(cohort))
    return OwnChange(task.metric, first.value, second.value, gain)


def _test_patients(old: ModelBundle, new: ModelBundle, folder: Path) -> Cohort:
    site = SiteData.of(folder)
    every = old.models.merged.modalities
    cohort = site.data.load(folder)
    seed = old.plan.seed if site.split_seed is None else site.split_seed
    cohort = split_by_patient(cohort, site.split or old.plan.split, task=old.agreement.task, seed=seed)
    for name in every:
        if name in cohort.schemas:
            cohort = cohort.with_features(name, old.agreement.schemas[name].features)
    staying = set(new.models.merged.modalities)
    test = cohort.part("test").only(*every)
    test = test.keep(record for record in test.records if staying & record.modalities.keys())
    if not len(test):
        raise DataError(
            f"The data hold no test patient with any of {sorted(staying)}, so nothing can be compared. Give "
            "the folder of a site that keeps test patients of these modalities."
        )
    return test
