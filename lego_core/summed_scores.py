"""Scores as numbers that add up over sites: what a report is made of where no site's own is seen.

A *case* is a set of patients that every site of a sum has enough of: those who hold some modalities,
those who hold all of the run's, or the validation patients who do. Sites of one case score the
same models, so that their numbers add up row by row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lego_core.errors import ProtocolError
from lego_core.evaluation import choices_of, methods_of, subsets
from lego_core.protocol import Method, Offer, ScoreRow, SiteReport
from lego_core.sum_forms import SumForm

Patients = Literal["holding", "complete", "validation"]
HEAD = 3  # patients, ranked pairs and pairs, before those of the resamples


@dataclass(frozen=True)
class Case:
    """A set of patients, and the rows that every model makes for them.

    Args:
        patients: Which ones.
        modalities: Those that they hold.
        bootstrap: Number of resamples.
        with_fused: Whether there is a fused model.
    """

    patients: Patients
    modalities: tuple[str, ...]
    bootstrap: int
    with_fused: bool

    @property
    def rows(self) -> list[tuple[Method, tuple[str, ...]]]:
        """Method and modalities of each row."""
        if self.patients == "validation":
            return list(choices_of(self.modalities, with_fused=self.with_fused))
        seen = subsets(self.modalities) if self.patients == "complete" else [self.modalities]
        return [(method, one) for one in seen for method in methods_of(one, with_fused=self.with_fused)]

    @property
    def form(self) -> SumForm:
        """What a site adds for it."""
        size = HEAD + 2 * self.bootstrap
        shapes = {_key(method, modalities): (size,) for method, modalities in self.rows}
        return SumForm(f"evaluate/{self.patients}/{'+'.join(self.modalities)}", numbers=shapes)

    def to_sums(self, report: SiteReport) -> dict[str, Tensor]:
        """The numbers of one site.

        Raises:
            ProtocolError: If the site has no score of some row.
        """
        there = {
            _key(row.method, row.modalities): row
            for row in (report.validation if self.patients == "validation" else report.scores)
            if self.patients in ("validation", row.patients)
        }
        missing = self.form.numbers.keys() - there.keys()
        if missing:
            raise ProtocolError(
                f"This site offered to score {self.patients} patients with {list(self.modalities)}, and has "
                f"no score of {len(missing)} of {len(self.rows)} models. Its data changed during the run, "
                "or the agreed features leave too few patients; its scores stay here."
            )
        return {key: _numbers(there[key]) for key in self.form.numbers}

    def from_sums(self, sums: Mapping[str, Tensor]) -> list[ScoreRow]:
        """What the numbers of several sites come to, as rows of all of them.

        Raises:
            ProtocolError: If no faithful numbers come to that.
        """
        rows = [
            self._row(method, modalities, sums[_key(method, modalities)]) for method, modalities in self.rows
        ]
        return rows + [rows[at].model_copy(update={"patients": "holding"}) for at in self._said_twice]

    @property
    def num_scores(self) -> int:
        """How many rows `from_sums` gives."""
        return len(self.rows) + len(self._said_twice)

    @property
    def _said_twice(self) -> list[int]:
        """Which rows are also those of who holds these modalities: where they are all, it is the same people.

        They are summed once. Of two sums of the same numbers, over sites that differ by one, their
        difference would be this site's.
        """
        if self.patients != "complete":
            return []
        return [at for at, (_, modalities) in enumerate(self.rows) if modalities == self.modalities]

    def _row(self, method: Method, modalities: tuple[str, ...], summed: Tensor) -> ScoreRow:
        count, ranked, pairs = summed[:HEAD].tolist()
        again = summed[HEAD:].reshape(self.bootstrap, 2).tolist()
        if count < 0.5:
            raise ProtocolError(
                f"The sum of all sites' scores of '{method}' with {list(modalities)} tells of {round(count)} "
                "patients. A site sent false numbers, and the sum hides which. Look at the sites' own logs."
            )
        return ScoreRow(
            method=method,
            modalities=modalities,
            patients="holding" if self.patients == "holding" else "complete",
            count=round(count),
            value=_share(ranked, pairs),
            pairs=max(pairs, 0.0),
            resampled=tuple((_share(*one), max(one[1], 0.0)) for one in again),
        )


def all_cases(every: Sequence[str], held: Iterable[str], *, bootstrap: int, with_fused: bool) -> list[Case]:
    """The cases in which a site with these modalities can have patients.

    Args:
        every: The modalities of the run.
        held: Those of them that the site holds in the agreed form.
        bootstrap: Number of resamples.
        with_fused: Whether there is a fused model.
    """
    here, whole = set(held), tuple(every)
    cases: list[tuple[Patients, tuple[str, ...]]] = [
        ("holding", one) for one in subsets(every) if set(one) <= here and one != whole
    ]
    if set(whole) <= here:
        cases.append(("complete", whole))
        if len(whole) > 1:
            cases.append(("validation", whole))
    return [Case(patients, one, bootstrap, with_fused) for patients, one in cases]


def is_offered(case: Case, offer: Offer) -> bool:
    """Whether a site has enough patients for a case."""
    groups = offer.validation_groups if case.patients == "validation" else offer.test_groups
    return case.modalities in groups


def _key(method: str, modalities: Sequence[str]) -> str:
    return f"{method}/{'+'.join(modalities)}"


def _numbers(row: ScoreRow) -> Tensor:
    again = [(value * pairs, pairs) for value, pairs in row.resampled]
    flat = [float(row.count), row.value * row.pairs, row.pairs, *(one for pair in again for one in pair)]
    return torch.tensor(flat, dtype=torch.float64)


def _share(ranked: float, pairs: float) -> float:
    """The mean of the sites' metrics, weighted by pairs; a coin's where nothing could be compared."""
    return min(max(ranked / pairs, 0.0), 1.0) if pairs > 0 else 0.5
