"""The work of an examination, piece by piece: train and ask, read updates, look for canaries."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import nn

from lego_core.block import LegoBlock
from lego_core.run_report import Examined
from lego_core.training import Trainer, predict_logits
from simulations.benchmarks.privacy.canaries import look_for_canaries
from simulations.benchmarks.privacy.examination import Examination, Kind, Piece
from simulations.benchmarks.privacy.federation import merge, round_settings, train_block
from simulations.benchmarks.privacy.findings import MERGE, METRIC_OF, inversion_row
from simulations.benchmarks.privacy.inversion import invert, readable, steps_of
from simulations.benchmarks.privacy.membership import losses_of
from simulations.benchmarks.privacy.patients import Patients
from simulations.benchmarks.store import save_arrays, write_whole

LATER_EPOCHS = 20
APART = 10_000  # between the seeds of models, so that no two share one


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
    scores = {METRIC_OF + name: np.array(_score(model, patients, who)) for name, model in models.items()}
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
