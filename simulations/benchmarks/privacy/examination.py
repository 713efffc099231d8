"""What is examined, how much of it, and in which pieces, each of which is kept as soon as it is done."""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simulations.benchmarks.privacy.federation import SITES, round_settings
from simulations.benchmarks.privacy.noised import NoisedAtTheSite
from simulations.benchmarks.privacy.patients import Patients, gather, halves
from simulations.benchmarks.privacy.protections import AbstractProtection, Course, NoProtection, OnlyTheSum
from simulations.benchmarks.subject import Source

Kind = Literal["membership", "inversion", "canaries"]


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is done.

    Args:
        patients: Most patients, a fifth of whom are public.
        pairs: Pairs of models; all but one of them are the shadow models of the one.
        trials: How often updates are read.
        largest: Most patients of a site whose update is read.
        canaries: For each training.
        runs: Trainings with canaries.
        rounds: Most rounds of a training.
    """

    patients: int = 500
    pairs: int = 9
    trials: int = 10
    largest: int = 32
    canaries: int = 100
    runs: int = 4
    rounds: int = 20


QUICK = Extent(patients=400, pairs=3, trials=5, largest=4, canaries=80, runs=1, rounds=3)


@dataclass(frozen=True, slots=True)
class Piece:
    """One training that is attacked, or one modality whose updates are read.

    Args:
        place: Under which protection.
        kind: Which attack.
        number: Which model, which modality, which training with canaries.
    """

    place: str
    kind: Kind
    number: int

    @property
    def name(self) -> str:
        """What it is about."""
        return f"{self.kind} {self.number + 1}"


@dataclass(frozen=True, slots=True)
class Examination:
    """What is examined, and where it is kept.

    Args:
        source: Where the patients come from.
        extent: How much is done.
        seed: Another seed deals otherwise; the same for every protection, so that they compare.
        epsilons: What the whole training of all blocks may cost a patient, for each level of noise.
        folder: Where pieces are kept.
    """

    source: Source
    extent: Extent
    seed: int
    epsilons: tuple[float, ...]
    folder: Path

    @property
    def patients(self) -> Patients:
        """Who trains, and how; drawn once per process."""
        return _gathered(self.source, self.extent, self.seed)

    @property
    def protections(self) -> dict[str, AbstractProtection]:
        """By name, in the order of the tables; the noise is worked out once per process."""
        return _protections(self)

    def settings(self) -> dict[str, Any]:
        """All that decides a piece, but for the code; a folder belongs to one of these."""
        plan = self.patients.plan.to_plain()
        chosen = {key: plan.get(key) for key in ("task", "modalities", "latent", "training", "rounds")}
        return {
            "dataset": self.source.dataset, "patients": len(self.patients.pool), "seed": self.seed,
            "epsilons": list(self.epsilons), "extent": asdict(self.extent), **chosen,
        }  # fmt: skip

    def pieces(self) -> list[Piece]:
        """What is still to be done."""
        modalities = self.patients.modalities
        counts: dict[Kind, int] = {
            "membership": 2 * self.extent.pairs, "inversion": len(modalities), "canaries": self.extent.runs
        }  # fmt: skip
        return [
            piece
            for plan in self.protections
            for kind, count in counts.items()
            for piece in (Piece(plan, kind, number) for number in range(count))
            if not self.path(piece).is_file()
        ]

    def path(self, piece: Piece) -> Path:
        """Where a piece is kept."""
        ending = ".npz" if piece.kind == "membership" else ".json"
        return self.folder / "pieces" / piece.place.replace(" ", "-") / f"{piece.kind}-{piece.number}{ending}"

    def member(self) -> np.ndarray:
        """Who is a member of which model (M, N)."""
        return halves(len(self.patients.pool), pairs=self.extent.pairs, seed=self.seed)

    def course(self, *, blocks: int = 1, members: int | None = None) -> Course:
        """A whole training of so many blocks, by half of the pool if not given."""
        members = len(self.patients.pool) // 2 if members is None else members
        settings = round_settings(self.patients, self.patients.modalities[0])
        return Course(members // SITES, settings, self.patients.plan.rounds.rounds, blocks)

    def audited(self) -> str:
        """The modality with the most features, whose block can learn most by heart."""
        schemas = self.patients.pool.schemas
        return max(self.patients.modalities, key=lambda name: schemas[name].num_features)


@cache
def _gathered(source: Source, extent: Extent, seed: int) -> Patients:
    return gather(source, most=extent.patients, rounds=extent.rounds, seed=seed)


@cache
def _protections(examination: Examination) -> dict[str, AbstractProtection]:
    course = examination.course(blocks=len(examination.patients.modalities))
    noised = [NoisedAtTheSite.within(epsilon, course) for epsilon in examination.epsilons]
    return {one.name: one for one in (NoProtection(), OnlyTheSum(), *noised)}
