"""Small blocks and patients for tests."""

import torch
from torch import Tensor, nn

from lego_core import Cohort, LatentContract, LegoBlock, Measurement, ModalitySchema, Outcome, PatientRecord
from lego_core.records import Batch, Inputs, Tokens

CONTRACT = LatentContract(num_latents=3, latent_dim=4, depth=2, num_heads=2, dropout=0.0)
TABLE = ModalitySchema(layout="table", features=("a", "b"))


class RowEncoder(nn.Module):
    """One token per row: a linear map."""

    def __init__(self, num_features: int = 2, token_dim: int = 5) -> None:
        super().__init__()
        self.token_dim = token_dim
        self.linear = nn.Linear(num_features, token_dim)
        self.calls = 0

    def forward(self, inputs: Inputs) -> Tokens:
        self.calls += 1
        return Tokens(self.linear(inputs.values), inputs.present)


def tiny_block(
    modality: str, *, contract: LatentContract = CONTRACT, num_outputs: int = 2, seed: int = 0
) -> LegoBlock:
    with torch.random.fork_rng():
        torch.manual_seed(ord(modality[0]))
        encoder = RowEncoder()
    block = LegoBlock(modality, encoder, TABLE, contract=contract, num_outputs=num_outputs, seed=seed)
    with torch.no_grad():  # blocks that were trained apart
        generator = torch.Generator().manual_seed(len(modality) * 100 + ord(modality[0]))
        for weight in block.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return block.eval()


def tiny_cohort(held: list[str], *, rows: int = 1, seed: int = 0) -> Cohort:
    """Patients described by the first letters of what they hold: `tiny_cohort(["a", "ab", "b"])`."""
    names = sorted({letter for letters in held for letter in letters})
    generator = torch.Generator().manual_seed(seed)
    records = []
    for number, letters in enumerate(held):
        modalities = {name: Measurement(torch.randn(rows, 2, generator=generator)) for name in letters}
        records.append(PatientRecord(f"p{number}", modalities, Outcome((float(number % 2),))))
    layout = "table" if rows == 1 else "bag"
    return Cohort(
        tuple(records), {name: ModalitySchema(layout=layout, features=("a", "b")) for name in names}
    )


def only_row(batch: Batch, row: int) -> Batch:
    """One patient of a batch, alone."""
    chosen = torch.tensor([row])
    inputs = {name: part.select(chosen) for name, part in batch.inputs.items()}
    return Batch({n: p for n, p in inputs.items() if bool(p.held.all())}, batch.outcomes[chosen])


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
