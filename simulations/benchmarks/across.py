"""Several finished benchmarks together: who is ahead of whom, on each dataset and on average."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import ValidationError

from lego_core.component import explain
from lego_core.errors import RunError
from simulations.benchmarks.results import Gain, Results
from simulations.benchmarks.summary import judge

MERGE = "merge"  # the plan's own rule, whatever it is called


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A benchmark as its folder tells it.

    Args:
        folder: Where it lies.
        results: What came out.
        resampled: The mean of every method on every resample of its patients.
    """

    folder: Path
    results: Results
    resampled: Mapping[str, Float[np.ndarray, "R"]]

    @classmethod
    def read(cls, folder: Path) -> "Finished":
        """Read the folder of a benchmark.

        Raises:
            RunError: If its results are not there, or are none.
        """
        try:
            results = Results.model_validate_json((folder / "results.json").read_bytes())
            with np.load(folder / "resampled.npz", allow_pickle=False) as arrays:
                resampled = {name: arrays[name] for name in arrays.files}
        except ValidationError as error:
            raise explain(error, where=f"'results.json' in '{folder.name}'", kind=RunError) from error
        except FileNotFoundError as error:
            raise RunError(
                f"The folder '{folder.name}' has no '{Path(error.filename).name}', so its benchmark is not "
                "finished. Give its command again: it goes on where it was."
            ) from error
        return cls(folder, results, resampled)

    @property
    def name(self) -> str:
        """The dataset."""
        return self.results.dataset

    def called(self, method: str) -> str:
        """The method's name here: `merge` is the rule of the plan."""
        return self.results.default_rule or method if method == MERGE else method

    def mean(self, method: str) -> float | None:
        """How a method did; None if it was not tried, or failed in a trial."""
        row = self.results.methods.get(self.called(method))
        return None if row is None or row.failed else row.mean

    def patients(self, method: str) -> int:
        """Of how many patients a method said something, all trials together."""
        return self.results.methods[self.called(method)].patients


def gain_over(one: str, other: str, finished: Sequence[Finished]) -> Gain | None:
    """How far a method is ahead of another, as a mean over datasets; None where either is missing.

    The patients of different datasets are drawn independently of one another. Nothing is said of
    two methods that speak of different patients, or failed in a trial.
    """
    differences: list[float] = []
    resampled: list[np.ndarray] = []
    for each in finished:
        ours, theirs = each.mean(one), each.mean(other)
        if ours is None or theirs is None or each.patients(one) != each.patients(other):
            return None
        differences.append(ours - theirs)
        resampled.append(each.resampled[each.called(one)] - each.resampled[each.called(other)])
    if not differences:
        return None
    return judge(float(np.mean(differences)), np.mean(resampled, axis=0))


def best_of(methods: Sequence[str], finished: Sequence[Finished]) -> str | None:
    """The method whose mean over the datasets is best, of those tried on all of them."""
    means = {method: [each.mean(method) for each in finished] for method in methods}
    whole = {
        method: [m for m in known if m is not None] for method, known in means.items() if None not in known
    }
    return max(whole, key=lambda method: float(np.mean(whole[method])), default=None)


def families(finished: Sequence[Finished]) -> dict[str, list[Finished]]:
    """Datasets of one family, as in `tcga-brca` and `tcga-kirp`, by its name; families of several only."""
    named: dict[str, list[Finished]] = {}
    for each in finished:
        family, dash, _ = each.name.partition("-")
        if dash:
            named.setdefault(family, []).append(each)
    return {family: members for family, members in named.items() if len(members) > 1}
