"""Gram matrices: what the layers are really fed, added up over patients and sites."""

from dataclasses import replace

import pytest
import torch
from blocks import tiny_block, tiny_cohort
from torch import Tensor

from lego_core import Cohort
from lego_core.errors import DataError, ProtocolError, ShapeError
from lego_core.gram import GramStatistics
from lego_core.spectral import normalise_spectrum
from lego_core.trunk import LatentContract

LAYERS = {
    "attentions.0.to_query": 4,
    "attentions.0.to_output": 4,
    "feed_forwards.0.layers.1": 4,
    "feed_forwards.0.layers.4": 8,
    "head.linear": 4,
}


def training(held: list[str], *, seed: int = 0) -> Cohort:
    return tiny_cohort(held, seed=seed).marked("train")


def assert_same(one: GramStatistics, other: GramStatistics) -> None:
    assert one.num_patients == other.num_patients
    for name, matrix in one.sums.items():
        torch.testing.assert_close(matrix, other.sums[name], rtol=1e-6, atol=1e-6)


def test_the_heads_matrix_is_that_of_the_normalised_mean_latents():
    block, cohort = tiny_block("a"), training(["a"] * 7)
    fed = block.trunk.head.norm(block.latent(cohort.batch().inputs["a"]).real.mean(dim=1)).detach().double()

    statistics = GramStatistics.of(block, cohort)

    assert statistics.num_patients == 7
    torch.testing.assert_close(statistics.sums["head.linear"], fed.T @ fed, rtol=1e-6, atol=1e-6)


def test_every_latent_counts_and_dropout_does_not_show():
    contract = LatentContract(num_latents=3, latent_dim=4, depth=1, num_heads=2, dropout=0.5)
    block = tiny_block("a", contract=contract).train()
    asked = normalise_spectrum(block.trunk.start(5)).real
    fed = block.trunk.attentions[0].norm(asked).detach().double().reshape(15, 4)

    statistics = GramStatistics.of(block, training(["a"] * 5))

    torch.testing.assert_close(statistics.sums["attentions.0.to_query"], fed.T @ fed, rtol=1e-6, atol=1e-6)
    assert_same(statistics, GramStatistics.of(block.train(), training(["a"] * 5)))


def test_every_pass_through_shared_weights_counts():
    once, twice = (
        GramStatistics.of(
            tiny_block("a", contract=LatentContract(num_latents=3, latent_dim=4, depth=depth, num_heads=2)),
            training(["a"] * 5),
        ).sums["feed_forwards.0.layers.1"]
        for depth in (1, 2)
    )

    assert torch.linalg.eigvalsh(twice - once).min() > -1e-5
    assert (twice - once).trace() > 1


def test_there_is_one_matrix_for_every_linear_layer_of_trunk_and_head():
    block = tiny_block("a")

    assert GramStatistics.of(block, training(["a"])).sizes == LAYERS
    assert GramStatistics.of_nobody(block.trunk).sizes == LAYERS


def test_two_sites_together_are_the_sum_of_the_two():
    block, cohort = tiny_block("a"), training(["a"] * 9)
    first, second = cohort.keep(cohort.records[:4]), cohort.keep(cohort.records[4:])

    together = GramStatistics.of(block, first) + GramStatistics.of(block, second)

    assert_same(together, GramStatistics.of(block, cohort))


def test_many_patients_are_counted_in_pieces():
    block, cohort = tiny_block("a"), training(["a"] * 300)
    halves = (cohort.keep(cohort.records[:150]), cohort.keep(cohort.records[150:]))

    whole = GramStatistics.of(block, cohort)

    assert whole.num_patients == 300
    assert_same(whole, GramStatistics.of(block, halves[0]) + GramStatistics.of(block, halves[1]))


def test_means_do_not_depend_on_the_number_of_patients():
    block = tiny_block("a")
    once = GramStatistics.of(block, training(["a"] * 4))

    twice = once + once

    for name, matrix in once.means().items():
        torch.testing.assert_close(twice.means()[name], matrix)


def test_only_training_patients_who_have_the_modality_are_counted():
    block, cohort = tiny_block("a"), tiny_cohort(["a", "ab", "b", "a", "a"])
    parts = ("train", "train", "train", "test", "validation")
    parted = cohort.keep(
        replace(record, part=part) for record, part in zip(cohort.records, parts, strict=True)
    )

    statistics = GramStatistics.of(block, parted)

    assert_same(statistics, GramStatistics.of(block, parted.keep(parted.records[:2])))
    assert statistics.num_patients == 2


def test_patients_who_were_not_parted_are_refused():
    with pytest.raises(DataError, match="2 of 2 patients were not yet given a part of the split"):
        GramStatistics.of(tiny_block("a"), tiny_cohort(["a", "a"]))


def test_counting_leaves_the_block_as_it_was():
    block = tiny_block("a")
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}

    GramStatistics.of(block, training(["a"] * 3))

    assert all(torch.equal(tensor, before[name]) for name, tensor in block.state_dict().items())
    assert not any(module._forward_pre_hooks for module in block.modules())


def test_matrices_of_another_contract_are_not_added():
    deeper = LatentContract(num_latents=3, latent_dim=4, depth=2, num_heads=2, share_weights=False)
    one, other = (
        GramStatistics.of_nobody(b.trunk) for b in (tiny_block("a"), tiny_block("a", contract=deeper))
    )

    with pytest.raises(
        ShapeError, match=r"layers \{.*\} cannot be added to those of layers \{.*attentions.1"
    ):
        one + other


# ---- on their way ------------------------------------------------------------------------------


def sent() -> tuple[GramStatistics, dict[str, Tensor]]:
    block = tiny_block("a")
    statistics = GramStatistics.of(block, training(["a"] * 6))
    return GramStatistics.of_nobody(block.trunk), dict(statistics.to_tensors())


def test_they_are_read_as_they_were_written():
    like, tensors = sent()

    read = GramStatistics.from_tensors(tensors, like=like)

    assert all(torch.equal(tensor, tensors[name]) for name, tensor in read.to_tensors().items())


def test_a_missing_matrix_is_refused():
    like, tensors = sent()
    del tensors["head.linear"]

    with pytest.raises(ProtocolError, match=r"arrived with the sizes \{.*\}, and this run expects \{.*head"):
        GramStatistics.from_tensors(tensors, like=like)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda matrix: matrix + torch.eye(4).flip(0).triu().double(),  # not symmetric
        lambda matrix: -matrix,  # negative squares
        lambda matrix: matrix + 1e3 * (1 - torch.eye(4).double()),  # larger than Cauchy and Schwarz allow
    ],
)
def test_a_matrix_that_no_inputs_have_is_refused(spoil):
    like, tensors = sent()
    tensors["head.linear"] = spoil(tensors["head.linear"])

    with pytest.raises(
        ProtocolError, match=r"layer 'head.linear' arrived with entries that no sum of x x\^T"
    ):
        GramStatistics.from_tensors(tensors, like=like)


@pytest.mark.parametrize("patients", [0.0, -3.0])
def test_matrices_of_nobody_are_refused(patients):
    like, tensors = sent()
    tensors["num_patients"] = torch.tensor(patients, dtype=torch.float64)

    with pytest.raises(ProtocolError, match=f"with {patients:g} patients behind them"):
        GramStatistics.from_tensors(tensors, like=like)


def test_a_matrix_that_is_not_finite_is_refused():
    like, tensors = sent()
    tensors["head.linear"] = tensors["head.linear"] * torch.nan

    with pytest.raises(ProtocolError, match=r"'head.linear' arrived with values that are not finite"):
        GramStatistics.from_tensors(tensors, like=like)
