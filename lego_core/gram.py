"""What the linear layers of a block are fed: Gram matrices, as sums that add up over sites.

RegMean asks for them. They are statistics like any other: only training patients are counted,
and the sums of two sites together are the sum of their sums.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from lego_core.block import LegoBlock
from lego_core.errors import ProtocolError, ShapeError
from lego_core.records import Cohort
from lego_core.statistics import read_sums, training_part
from lego_core.trunk import Trunk

CHUNK = 256  # patients computed at once
ROUNDING = 1e-9  # relative; what adding up in another order may change
COUNT = "num_patients"


@dataclass(frozen=True, slots=True, eq=False)
class GramStatistics:
    """Sums of x x^T over the inputs x of every linear layer of a block's trunk, head included.

    A patient passes a layer once per latent, and once more per pass that shares its weights;
    all of it is summed.

    Args:
        num_patients: Number of patients behind the sums.
        sums: One (I, I) matrix per linear layer of I inputs, by its name in the trunk.

    Guarantees:
        Adding the statistics of sites gives the statistics of their patients together.
        Validation and test patients take no part.
    """

    num_patients: Float64[Tensor, ""]
    sums: Mapping[str, Float64[Tensor, "_ _"]]

    @classmethod
    def of(cls, block: LegoBlock, cohort: Cohort) -> "GramStatistics":
        """Let the training patients who have the block's modality pass through it, as in evaluation.

        The block is left in evaluation mode.

        Raises:
            DataError: If patients were not yet given a part of the split.
        """
        patients = training_part(cohort).holding(block.modality)
        nobody = cls.of_nobody(block.trunk)
        device = next(block.parameters()).device
        block.eval()
        with torch.no_grad(), _listening(block.trunk) as heard:
            for start in range(0, len(patients), CHUNK):
                batch = patients.batch(range(start, min(start + CHUNK, len(patients))))
                block(batch.to(device).inputs[block.modality])
        counted = torch.tensor(float(len(patients)), dtype=torch.float64)
        return cls(counted, {name: heard.get(name, nothing) for name, nothing in nobody.sums.items()})

    @classmethod
    def of_nobody(cls, trunk: Trunk) -> "GramStatistics":
        """Sums over no patients: zeros, of the sizes that this trunk has."""
        sums = {
            name: torch.zeros(layer.in_features, layer.in_features, dtype=torch.float64)
            for name, layer in _linear_layers(trunk).items()
        }
        return cls(torch.zeros((), dtype=torch.float64), sums)

    def __add__(self, other: "GramStatistics") -> "GramStatistics":
        ours, theirs = self.sizes, other.sizes
        if ours != theirs:
            raise ShapeError(
                f"Gram matrices of layers {ours} cannot be added to those of layers {theirs}. Let all sites "
                "use blocks of one latent contract."
            )
        sums = {name: matrix + other.sums[name] for name, matrix in self.sums.items()}
        return GramStatistics(self.num_patients + other.num_patients, sums)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of inputs of every layer."""
        return {name: len(matrix) for name, matrix in self.sums.items()}

    def means(self) -> dict[str, Tensor]:
        """The matrices per patient, so that a modality of many patients is not louder for it."""
        return {name: matrix / self.num_patients.clamp(min=1) for name, matrix in self.sums.items()}

    def to_tensors(self) -> dict[str, Tensor]:
        """The sums as they travel."""
        return {COUNT: self.num_patients, **self.sums}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], *, like: "GramStatistics") -> "GramStatistics":
        """Read what `to_tensors` wrote; `like` (of nobody, say) tells the layers to expect.

        Raises:
            ProtocolError: If a sum is absent, unknown, of the wrong size or not finite, if no
                patient stands behind it, or if a matrix is none that can come from patients.
        """
        shapes = {name: tuple(tensor.shape) for name, tensor in like.to_tensors().items()}
        sums = read_sums(tensors, shapes=shapes)
        patients = sums.pop(COUNT)
        if not patients > 0:
            raise ProtocolError(
                f"Gram matrices arrived with {float(patients):g} patients behind them. Ask sites with some."
            )
        odd = next((name for name, matrix in sums.items() if not _may_be_a_gram_matrix(matrix)), None)
        if odd is not None:
            raise ProtocolError(
                f"The Gram matrix of layer '{odd}' arrived with entries that no sum of x x^T has. Let all "
                "sites run the same version."
            )
        return cls(patients, sums)


@contextmanager
def _listening(trunk: Trunk) -> Iterator[dict[str, Tensor]]:
    """Add up x x^T of all that the linear layers are fed meanwhile."""
    heard: dict[str, Tensor] = {}

    def listen(name: str, layer: nn.Linear) -> torch.utils.hooks.RemovableHandle:
        def hear(_layer: nn.Module, fed: tuple[Tensor, ...]) -> None:
            rows = fed[0].detach().reshape(-1, layer.in_features).cpu().double()
            heard[name] = heard.get(name, 0) + rows.T @ rows

        return layer.register_forward_pre_hook(hear)

    handles = [listen(name, layer) for name, layer in _linear_layers(trunk).items()]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _linear_layers(trunk: Trunk) -> dict[str, nn.Linear]:
    return {name: module for name, module in trunk.named_modules() if isinstance(module, nn.Linear)}


def _may_be_a_gram_matrix(matrix: Float64[Tensor, "I I"]) -> bool:
    """Symmetric, and no entry larger than its row and column allow (Cauchy and Schwarz)."""
    squares = matrix.diagonal()
    if bool((squares < 0).any()):
        return False
    bounds = torch.outer(squares.sqrt(), squares.sqrt())
    symmetric = (matrix - matrix.T).abs() <= ROUNDING * bounds
    return bool((symmetric & (matrix.abs() <= (1 + ROUNDING) * bounds)).all())
