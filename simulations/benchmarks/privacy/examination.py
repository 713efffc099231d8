"""All attacks on all protections, in pieces that are done one by one and kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from lego_core.block import LegoBlock
from lego_core.run_report import Examined
from lego_core.training import Trainer, predict_logits
from simulations.benchmarks.privacy.canaries import Guessed, look_for_canaries
from simulations.benchmarks.privacy.federation import SITES, merge, round_settings, train_block
from simulations.benchmarks.privacy.findings import inversion_row
from simulations.benchmarks.privacy.inversion import invert, readable, steps_of
from simulations.benchmarks.privacy.membership import losses_of
from simulations.benchmarks.privacy.patients import Patients, gather, halves
from simulations.benchmarks.privacy.protections import (
    AbstractProtection,
    Course,
    NoisedAtTheSite,
    NoProtection,
    OnlyTheSum,
)
from simulations.benchmarks.store import save_arrays, write_whole
from simulations.benchmarks.subject import Source

MERGE = "the merge"
LATER_EPOCHS = 20
APART = 10_000  # between the seeds of models, so that no two share one

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

    def course(self, *, blocks: int = 1) -> Course:
        """A whole training of so many blocks by half of the pool."""
        members = len(self.patients.pool) // 2
        settings = round_settings(self.patients, self.patients.modalities[0])
        return Course(members // SITES, settings, self.patients.plan.rounds.rounds, blocks)

    def audited(self) -> str:
        """The modality with the most features, whose block can learn most by heart."""
        schemas = self.patients.pool.schemas
        return max(self.patients.modalities, key=lambda name: schemas[name].num_features)


def run_piece(examination: Examination, piece: Piece) -> None:
    """Do a piece, and keep what came of it."""
    work: dict[Kind, Callable[[Examination, Piece], None]] = {
        "membership": _membership, "inversion": _inversion, "canaries": _canaries
    }  # fmt: skip
    work[piece.kind](examination, piece)


def _membership(examination: Examination, piece: Piece) -> None:
    """Train the blocks of one model and their merge; keep the loss of every patient, and the metric."""
    patients, who = examination.patients, examination.member()[piece.number]
    seed = examination.seed + APART * (piece.number + 1)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(who)).tolist()
    members = patients.pool.keep(patients.pool.records[row] for row in order)
    protection = examination.protections[piece.place]
    blocks = [
        train_block(name, members, patients=patients, protection=protection, seed=seed)
        for name in patients.modalities
    ]
    models: dict[str, nn.Module] = {f"block {block.modality}": block for block in blocks}
    if len(blocks) > 1:
        models[MERGE] = merge(blocks, patients)
    kept = {name: losses_of(model, patients.pool, task=patients.task) for name, model in models.items()}
    scores = {f"metric of {name}": np.array(_score(model, patients, who)) for name, model in models.items()}
    save_arrays(examination.path(piece), kept | scores)


def _score(model: nn.Module, patients: Patients, who: np.ndarray) -> float:
    """The task's metric on patients who are no members."""
    pool = patients.pool
    strangers = pool.keep(r for r, is_in in zip(pool.records, who, strict=True) if not is_in)
    logits, outcomes = predict_logits(model, strangers)
    return patients.task.score(patients.task.predict(logits), outcomes).value


def _inversion(examination: Examination, piece: Piece) -> None:
    """Read updates of the first round, and of weights as they may be in the middle of a run."""
    patients, extent = examination.patients, examination.extent
    modality = patients.modalities[piece.number]
    first, later = patients.untrained(modality), _trained_on_public(modality, examination)
    rows: list[Examined] = []
    for when, block in (("first", first), ("later", later)) if readable(first) else ():
        for step in steps_of(extent.largest, len(patients.pool), one_only=when == "later"):
            found = invert(
                block, step, patients=patients, protection=examination.protections[piece.place],
                trials=extent.trials, seed=examination.seed,
            )  # fmt: skip
            what = f"block {modality}, {when} round, {step.words}"
            rows.append(inversion_row(found, what=what, plan=piece.place))
    _write(examination.path(piece), [row.to_plain() for row in rows])


def _canaries(examination: Examination, piece: Piece) -> None:
    found = look_for_canaries(
        examination.audited(), patients=examination.patients,
        protection=examination.protections[piece.place], canaries=examination.extent.canaries,
        seed=examination.seed + APART * (piece.number + 1),
    )  # fmt: skip
    _write(examination.path(piece), asdict(found))


def guessed(examination: Examination, plan: str) -> Sequence[Guessed]:
    """What came of the trainings with canaries."""
    pieces = [Piece(plan, "canaries", number) for number in range(examination.extent.runs)]
    return [Guessed(**json.loads(examination.path(piece).read_bytes())) for piece in pieces]


def _trained_on_public(modality: str, examination: Examination) -> LegoBlock:
    """Weights learned from patients whom nobody attacks."""
    patients = examination.patients
    block = patients.untrained(modality)
    settings = round_settings(patients, modality).model_copy(update={"epochs": LATER_EPOCHS})
    public = patients.public.only(modality)
    Trainer(block, task=patients.task, settings=settings, device="cpu").fit(public, seed=examination.seed)
    return block


def _write(path: Path, plain: object) -> None:
    write_whole(path, json.dumps(plain, indent=1) + "\n")


@cache
def _gathered(source: Source, extent: Extent, seed: int) -> Patients:
    return gather(source, most=extent.patients, rounds=extent.rounds, seed=seed)


@cache
def _protections(examination: Examination) -> dict[str, AbstractProtection]:
    course = examination.course(blocks=len(examination.patients.modalities))
    noised = [NoisedAtTheSite.within(epsilon, course) for epsilon in examination.epsilons]
    return {one.name: one for one in (NoProtection(), OnlyTheSum(), *noised)}
