"""How do time and memory grow with the number of modalities?"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from statistics import median
from typing import Annotated, ClassVar, Literal, Self, final

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from simulations.benchmarks.studies._arms import Arm, Comparison, Measured
from simulations.benchmarks.studies._contract import FEWEST_TRIALS, AbstractStudy, Steps
from simulations.benchmarks.studies._cost import WAYS, Point, Way, measure_apart
from simulations.benchmarks.studies._figures import side_by_side
from simulations.benchmarks.studies._lab import Lab
from simulations.benchmarks.studies._results import StudyResults

EACH, RATIO, STRAIGHT = "each further modality", "later slope / earlier slope", "straight line"
QUANTITIES: dict[str, tuple[str, str]] = {
    "time to predict": ("predict_time", "ms per patient"),
    "time to train an epoch": ("epoch_time", "ms per patient"),
    "peak memory": ("memory", "MiB"),
    "weights": ("parameters", "weights"),
}


@final
class Growth(AbstractStudy):
    """Made-up patients with 1 to 8 modalities, all of them of the size of the plan's first modality.

    Every number of modalities is measured in a process of its own, on one thread: time of the
    processor, the fastest of three; and peak memory above that of a process that has its libraries
    and data. A merge trains its blocks one after the other, at sites that hold one modality each.
    A straight line is fitted to the smaller half of the numbers and one to the larger half. The
    ratio of their slopes is 1 if growth is linear; if it were quadratic, it would be 2.6. Ratios
    are of one trial; the numbers themselves belong to the machine.

    Args:
        numbers: Numbers of modalities, at least four, in order.
        patients: How many patients.
        margin: A ratio of slopes counts as linear if it is off 1 by less.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950: both merge and
        fuse scale linearly with the number of modalities.
    """

    kind: Literal["growth"] = "growth"
    question: ClassVar[str] = "How do time and memory grow with the number of modalities?"
    dataset: ClassVar[str] = "tcga-brca"
    fewest_trials: ClassVar[int] = FEWEST_TRIALS
    numbers: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 2, 3, 4, 5, 6, 7, 8), min_length=4)
    patients: int = Field(default=256, ge=2)
    margin: float = Field(default=0.25, ge=0)

    def quick(self) -> Self:
        """Half of the numbers, fewer patients."""
        return self.model_copy(update={"numbers": (1, 3, 6, 8), "patients": min(self.patients, 64)})

    def steps(self) -> Steps:
        """All in one, since ratios are of one trial."""
        return {"every number": self._every_number}

    def comparisons(self, arms: Sequence[Arm], /) -> list[Comparison]:
        """Every ratio of slopes against that of a straight line."""
        return [
            Comparison(
                f"the later slope over the earlier one of {way}",
                "1, a straight line",
                ((arm, Arm(RATIO, STRAIGHT)),),
                f"for {quantity}",
                margin=self.margin,
            )
            for way in WAYS
            for quantity in QUANTITIES
            if (arm := Arm(RATIO, f"{way}: {quantity}")) in arms
        ]

    def figure(self, results: StudyResults) -> Figure:
        """A panel per quantity, a curve per way."""
        return side_by_side(
            results,
            along="modalities",
            conditions=[str(number) for number in self.numbers],
            panels={
                f"{quantity}, {unit}" if unit != quantity else quantity: {
                    f"{way}: {quantity}": way for way in WAYS
                }
                for quantity, (_, unit) in QUANTITIES.items()
            },
        )

    def _every_number(self, lab: Lab) -> Iterable[Measured]:
        """Measure every way at every number of modalities, then fit lines."""
        yield Measured(Arm(RATIO, STRAIGHT), 1.0, "ratio")
        for way in WAYS:
            costs = {n: measure_apart(_point(lab, n, way=way, patients=self.patients)) for n in self.numbers}
            for quantity, (name, unit) in QUANTITIES.items():
                reached = {number: float(getattr(cost, name)) for number, cost in costs.items()}
                yield from _grown(reached, f"{way}: {quantity}", unit=unit)


def slope(values: Mapping[int, float]) -> float:
    """Of the straight line with the least squared errors."""
    return float(np.polyfit(list(values), list(values.values()), deg=1)[0])


def ratio_of_slopes(values: Mapping[int, float]) -> float | None:
    """The slope over the larger half of the numbers by that over the smaller; None if that one does not rise.

    A number in the middle belongs to both.
    """
    numbers = sorted(values)
    half = (len(numbers) + 1) // 2
    earlier, later = (slope({n: values[n] for n in part}) for part in (numbers[:half], numbers[-half:]))
    return round(later / earlier, 9) if earlier > 0 else None  # fits are not exact


def _grown(reached: Mapping[int, float], method: str, *, unit: str) -> Iterator[Measured]:
    for number, value in reached.items():
        yield Measured(Arm(str(number), method), value, unit)
    yield Measured(Arm(EACH, method), slope(reached), unit)
    ratio = ratio_of_slopes(reached)
    if ratio is not None:
        yield Measured(Arm(RATIO, method), ratio, "ratio")


def _point(lab: Lab, number: int, *, way: Way, patients: int) -> Point:
    """So many modalities of the first one's size: of as many rows as a patient usually has."""
    first, *_ = lab.modalities
    plan = lab.plan.model_copy(update={"modalities": {first: lab.plan.modalities[first]}, "simulation": None})
    records = lab.trial.train.holding(first).records
    rows = [len(record.modalities[first].values) for record in records]
    outcomes = islice(cycle(record.outcome for record in records), patients)
    schema = lab.trial.train.schemas[first]
    return Point(way, number, plan, schema, round(median(rows)), tuple(outcomes), lab.task)
