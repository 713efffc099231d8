"""What a model of M modalities of one size costs: time, memory and weights, in a process of its own."""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Literal, get_args

import torch
from torch import nn

from lego_core.block import LegoBlock
from lego_core.plan import RunPlan
from lego_core.records import Cohort, Measurement, ModalitySchema, Outcome, PatientRecord
from lego_core.tasks import Task
from lego_core.training import Trainer, predict_logits
from simulations.baselines._networks import Normalised
from simulations.baselines.late_concat import LateConcat
from simulations.benchmarks.protocol import Place, Trial
from simulations.benchmarks.studies._lab import Lab, Trained

Way = Literal["merge", "fuse", "late-concat"]
WAYS: tuple[Way, ...] = get_args(Way)
TIMES = 3  # each is measured so often, and the fastest counts
MIB = 2**20 if sys.platform == "darwin" else 2**10  # in what `getrusage` counts


@dataclass(frozen=True, slots=True)
class Point:
    """What is to be measured.

    Args:
        way: Which model.
        modalities: How many modalities M.
        plan: Of one modality, whose copies the others are.
        schema: What this modality looks like.
        rows: Rows of a patient's measurement.
        outcomes: Of every patient.
        task: What is predicted.
    """

    way: Way
    modalities: int
    plan: RunPlan
    schema: ModalitySchema
    rows: int
    outcomes: tuple[Outcome, ...]
    task: Task


@dataclass(frozen=True, slots=True)
class Cost:
    """What it came to; times in milliseconds of one processor per patient, memory in MiB.

    Args:
        predict_time: To predict.
        epoch_time: To train one epoch of everything; of a merge, of all its blocks together.
        memory: Peak of both, above what there was before; of a merge, one block after the other is
            trained.
        parameters: Number of trained weights.
    """

    predict_time: float
    epoch_time: float
    memory: float
    parameters: float


def measure_apart(point: Point) -> Cost:
    """Measure in a new process, which begins with all libraries loaded and with nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])  # which every optimiser loads
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(point, sender))
    process.start()
    sender.close()
    cost: Cost = receiver.recv()
    process.join()
    return cost


def measure(point: Point) -> Cost:
    """Measure here and now."""
    lab = _lab(point)
    cohort = lab.trial.train
    _warm_up(point)
    before = _peak()
    model, trained = _models(point, lab)
    predict_time = _fastest(partial(predict_logits, model, cohort))
    epoch_time = sum(_fastest(partial(_train, one, lab=lab)) for one in trained)
    used = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    each = 1000 / len(cohort)
    return Cost(
        predict_time=predict_time * each,
        epoch_time=epoch_time * each,
        memory=_peak() - before,
        parameters=float(used),
    )


def made_up(point: Point) -> Cohort:
    """Patients of noise, who hold M modalities of one size."""
    chance = torch.Generator().manual_seed(0)
    shape = (point.modalities, point.rows, point.schema.num_features)
    days = torch.arange(point.rows, dtype=torch.float32) if point.schema.layout == "series" else None
    names = [f"modality-{number + 1}" for number in range(point.modalities)]
    records = []
    for number, outcome in enumerate(point.outcomes):
        values = torch.randn(shape, generator=chance)
        held = {name: Measurement(own, days) for name, own in zip(names, values, strict=True)}
        records.append(PatientRecord(f"patient-{number}", held, outcome, part="train"))
    return Cohort(tuple(records), dict.fromkeys(names, point.schema))


def _answer(point: Point, sender: Connection) -> None:
    torch.set_num_threads(1)
    sender.send(measure(point))


def _lab(point: Point) -> Lab:
    cohort = made_up(point)
    (own,) = point.plan.modalities.values()
    merging = point.plan.merging.model_copy(update={"modality_weights": None})
    changes = {"modalities": dict.fromkeys(cohort.modalities, own), "merging": merging}
    trial = Trial(Place(1, 1), 0, cohort, cohort.keep(()), cohort)
    return Lab(point.plan.model_copy(update=changes), trial, point.task)


def _models(point: Point, lab: Lab) -> tuple[nn.Module, Sequence[nn.Module]]:
    """The model that predicts, and the models that are trained for it."""
    cohort = lab.trial.train
    if point.way == "late-concat":
        encoders = {name: own.encoder for name, own in lab.plan.modalities.items()}
        baseline = LateConcat(encoders=encoders)
        network = baseline.build(cohort.schemas, num_outputs=lab.task.num_outputs)
        whole = Normalised(network, cohort)
        return whole, [whole]
    team = [Trained(lab.untrained(name), cohort) for name in lab.modalities]
    if point.way == "merge":
        return lab.merged(team), [one.block for one in team]
    fused = lab.fused(team, "stack", patients=cohort.keep(()))
    return fused, [fused]


def _train(model: nn.Module, *, lab: Lab) -> None:
    """One epoch; of a block, at a site that holds nothing but its modality."""
    train = lab.trial.train
    cohort = train.only(model.modality) if isinstance(model, LegoBlock) else train
    settings = lab.plan.training.model_copy(update={"epochs": 1})
    Trainer(model, task=lab.task, settings=settings, device="cpu").fit(cohort, seed=0)


def _fastest(do: Callable[[], object]) -> float:
    seconds = []
    for _ in range(TIMES):
        started = time.process_time()
        do()
        seconds.append(time.process_time() - started)
    return min(seconds)


def _warm_up(point: Point) -> None:
    """Train the smallest such model for a step, so that no other is charged for what torch loads then."""
    lab = _lab(replace(point, modalities=1, outcomes=point.outcomes[:2]))
    model, _ = _models(point, lab)
    predict_logits(model, lab.trial.train)
    _train(model, lab=lab)


def _peak() -> float:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
