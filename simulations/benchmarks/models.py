"""The models of a trial, the baselines beside them, and what any of them says of patients."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.assemble import Ingredients, build_fuse
from lego_core.block import LegoBlock
from lego_core.errors import DataError
from lego_core.fuse import FuseOrder, LegoFuse
from lego_core.merge import LegoMerge
from lego_core.plan import Fuse, RunPlan
from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import fit_fused, predict_logits
from simulations.baselines import BASELINES
from simulations.baselines._contract import Fitted
from simulations.baselines._encoded import AbstractEncodedNetwork
from simulations.benchmarks.protocol import Trial

FUSE_EPOCHS = 2
BASELINE_EPOCHS, BASELINE_PATIENCE = 50, 8
QUICK_EPOCHS, QUICK_PATIENCE = 10, 3

Model = LegoBlock | LegoMerge | LegoFuse


def untrained_block(modality: str, *, plan: RunPlan, trial: Trial, task: Task) -> LegoBlock:
    """The block of a modality with the trial's common start."""
    return LegoBlock(
        modality,
        plan.modalities[modality].encoder,
        trial.train.schemas[modality],
        contract=plan.latent,
        num_outputs=task.num_outputs,
        base_logits=task.base_logits,
        seed=trial.seed,
    )


def fused_model(
    order: FuseOrder,
    blocks: Sequence[LegoBlock],
    ingredients: Ingredients,
    paired: Cohort,
    *,
    plan: RunPlan,
    task: Task,
    seed: int,
) -> LegoFuse:
    """Fuse copies of blocks, and train them together for two epochs; not at all without patients."""
    fuse = (plan.fuse or Fuse()).model_copy(update={"order": order})
    fused = build_fuse(plan.model_copy(update={"fuse": fuse}), blocks, ingredients)
    settings = fuse.training(plan.training, epochs=FUSE_EPOCHS)
    if len(paired):
        fit_fused(fused, paired, task=task, settings=settings, seed=seed, device="cpu")
    return fused


def fit_baseline(
    kind: str,
    train: Cohort,
    validation: Cohort,
    *,
    plan: RunPlan,
    task: Task,
    seed: int,
    quick: bool = False,
) -> Fitted:
    """Train a baseline on patients with everything they hold; its encoders are those of the plan.

    A plan may count its epochs and keep the last weights, which suits our blocks: they begin by
    saying the same of everybody. A baseline does not, so that validation patients always stop it.

    Args:
        kind: Which one.
        train: Patients to learn from.
        validation: Patients to choose and to stop by.
        plan: Tells encoders, batches and weight decay.
        task: What is predicted.
        seed: Decides all that is random.
        quick: Whether to stop soon, for a first look.

    Raises:
        LegoError: If the baseline cannot be trained on these patients.
    """
    baseline = BASELINES[kind]
    if isinstance(baseline, AbstractEncodedNetwork):
        encoders = {name: own.encoder for name, own in plan.modalities.items()}
        baseline = baseline.model_copy(update={"encoders": encoders})
    epochs, patience = (QUICK_EPOCHS, QUICK_PATIENCE) if quick else (BASELINE_EPOCHS, BASELINE_PATIENCE)
    stopping = {"keep": "best", "epochs": epochs, "patience": patience, "dropout": True}
    settings = plan.training.model_copy(update=stopping)
    return baseline.fit(train, validation, task=task, settings=settings, seed=seed)


def said(
    model: Model, cohort: Cohort, *, task: Task, shown: Sequence[str] | None = None
) -> Float[Tensor, "B Q"]:
    """Predictions for every patient; of those without what the model reads, nothing is said.

    Args:
        model: Any model of ours.
        cohort: The patients.
        task: What is predicted.
        shown: Hide every modality but these.

    Raises:
        DataError: If a prediction is not a finite number.
    """
    read = (model.modality,) if isinstance(model, LegoBlock) else model.modalities
    names = [name for name in read if shown is None or name in shown]
    held = [any(name in record.modalities for name in names) for record in cohort.records]
    spoken = task.predict(torch.zeros(0, task.num_outputs))
    if any(held):
        logits, _ = predict_logits(model, cohort.only(*names))
        spoken = check_finite(task.predict(logits))
    everybody = spoken.new_full((len(cohort), spoken.shape[1]), torch.nan)
    return everybody.index_put((torch.tensor(held, dtype=torch.bool),), spoken)


def check_finite(predictions: Float[Tensor, "B Q"]) -> Float[Tensor, "B Q"]:
    """Refuse predictions of a training that diverged.

    Raises:
        DataError: If one is not a finite number.
    """
    odd = int((~predictions.isfinite().all(dim=1)).sum())
    if odd:
        raise DataError(
            f"It predicts numbers that are not finite for {odd} of {len(predictions)} patients. Its training "
            "diverged: lower the learning rate."
        )
    return predictions
