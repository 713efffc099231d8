"""What did the patients behind an update look like? A reading of the first layer, with no search.

The gradient of a linear layer's weights is a sum over patients of what came out times what went in.
With one patient every row of it points at the patient's own values; with several, at a mixture.
Our sites do not send gradients but the way AdamW went, which after one step is almost the sign of
the gradient. Almost: the small constant in its denominator leaves enough to undo it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core.block import LegoBlock
from lego_core.exchangeable import exchanged
from lego_core.records import Cohort
from lego_core.statistics import Normalisation
from lego_core.training import TrainingSettings
from lego_core.update import BlockUpdate, to_named
from simulations.benchmarks.privacy.counting import Estimate, mean_of
from simulations.benchmarks.privacy.federation import SITES, round_settings, site_update
from simulations.benchmarks.privacy.patients import Patients
from simulations.benchmarks.privacy.protections import AbstractProtection

ADAM_EPSILON = 1e-8  # torch's own, which our trainer leaves as it is
SMALLEST_GAP = 1e-7  # what a float32 can tell from 1
LAYERS = {"encoder.skip.weight": "encoder.constant", "encoder.hidden.0.0.weight": "encoder.hidden.0.0.bias"}


@dataclass(frozen=True, slots=True)
class Step:
    """What every site does before it sends an update.

    Args:
        batch: Patients per step.
        steps: Steps; the site has batch times steps patients, and passes them once.
    """

    batch: int
    steps: int = 1

    @property
    def words(self) -> str:
        """For tables."""
        what = "one step" if self.steps == 1 else f"{self.steps} steps"
        return f"{what} of batch {self.batch}"


@dataclass(frozen=True, slots=True)
class Likeness:
    """How like the patients behind an update its reading is, next to patients who are not behind it.

    Intervals come from resampling whole updates: patients behind one update are read together.

    Args:
        found: Best cosine to each patient behind the update, on average.
        strangers: The same reading, compared with as many other patients.
        lead: The difference.
    """

    found: Estimate
    strangers: Estimate
    lead: Estimate


def readable(block: LegoBlock) -> bool:
    """Whether the first layer of a block sees a patient's values as one row."""
    return block.schema.layout == "table" and any(name in exchanged(block) for name in LAYERS)


def invert(
    block: LegoBlock,
    step: Step,
    *,
    patients: Patients,
    protection: AbstractProtection,
    trials: int,
    seed: int,
) -> Likeness:
    """Read what the server sees of updates of three sites, again and again with other patients.

    Dropout is off, as a plan may wish (`training.dropout`): it would only hide some values.

    Args:
        block: The weights that the server sends.
        step: What the sites do with them.
        patients: Whose patients train.
        protection: What the sites do, and what the server sees.
        trials: How often.
        seed: Another seed takes other patients.
    """
    fewest = protection.fewest_patients
    size = max(step.batch * step.steps, fewest)
    settings = round_settings(patients, block.modality).model_copy(
        update={"dropout": False, "epochs": 1, "batch_size": max(step.batch, fewest)}
    )
    own = patients.pool.only(block.modality)
    rng = np.random.default_rng(seed)
    found, strangers = [], []
    for trial in range(trials):
        order = rng.permutation(len(own)).tolist()
        sites = [order[place * size : (place + 1) * size] for place in range(SITES)]
        others = order[SITES * size :]
        updates = [
            site_update(
                block, own.keep(own.records[row] for row in site), task=patients.task, settings=settings,
                protection=protection, seed=seed + trial * SITES + place,
            )
            for place, site in enumerate(sites)
        ]  # fmt: skip
        views = protection.seen(updates)
        behind = sites if len(views) == len(sites) else [order[: SITES * size]]
        for view, rows in zip(views, behind, strict=True):
            reading = read(view, block, settings=settings, steps=step.steps)
            found.append(best_cosines(reading, rows_of(block, own, rows)).mean())
            strangers.append(best_cosines(reading, rows_of(block, own, others[: len(rows)])).mean())
    near, far = np.array(found), np.array(strangers)
    return Likeness(mean_of(near, seed=seed), mean_of(far, seed=seed), mean_of(near - far, seed=seed))


def read(
    view: BlockUpdate, block: LegoBlock, *, settings: TrainingSettings, steps: int
) -> Float[Tensor, "N F"]:
    """All guesses at a patient's normalised values that the first layers of an update allow.

    Rows of a layer's weights, turned by the sign of its constants: as they are, and with AdamW undone.

    Args:
        view: What the server sees.
        block: The weights that it sent.
        settings: How the sites train, which the plan tells everybody.
        steps: How many steps they made, likewise.
    """
    before = {name: tensor.double() for name, tensor in exchanged(block).items()}
    change, width = to_named(view.mean().double(), before), block.schema.num_features
    guesses = []
    for weight, constant in LAYERS.items():
        if weight not in before or constant not in before:
            continue
        turn = torch.sign(change[constant].flatten())[:, None]
        decayed = change[weight] + steps * settings.learning_rate * settings.weight_decay * before[weight]
        for rows in (decayed, undo_adam(decayed, learning_rate=settings.learning_rate, steps=steps)):
            guesses.append((rows * turn)[:, :width])
    return torch.cat(guesses)


def undo_adam(change: Tensor, *, learning_rate: float, steps: int = 1) -> Tensor:
    """The gradient behind a first step of Adam, up to its sign, which the step turns around.

    The step is `learning_rate * g / (|g| + 1e-8)`. The mean of several steps is taken for one.
    """
    way = change / (learning_rate * steps)
    return ADAM_EPSILON * way / (1 - way.abs()).clamp(min=SMALLEST_GAP)


def rows_of(block: LegoBlock, cohort: Cohort, rows: Sequence[int]) -> Float[Tensor, "B F"]:
    """The values of patients as the first layer sees them."""
    inputs = cohort.batch(rows).inputs[block.modality]
    normalised = Normalisation(block.feature_mean, block.feature_stddev).normalise(inputs)
    return normalised.values[:, 0].double()


def best_cosines(reading: Float[Tensor, "N F"], rows: Float[Tensor, "B F"]) -> Float[np.ndarray, "B"]:
    """For every patient, the cosine of the guess that is most like them."""
    return (nn.functional.normalize(rows) @ nn.functional.normalize(reading).T).amax(dim=1).numpy()


def steps_of(largest: int, patients: int, *, one_only: bool) -> Iterator[Step]:
    """The steps that are looked at, as far as there are patients: one step, and one epoch of 32 patients."""
    epochs = () if one_only else (Step(batch, 32 // batch) for batch in (1, 4))
    for step in (*(Step(batch) for batch in (1, 4, 32)), *epochs):
        if step.batch * step.steps <= largest and 2 * SITES * step.batch * step.steps <= patients:
            yield step
