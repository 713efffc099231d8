"""The two domains."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lego_core.spectral import DOMAINS, DomainName, drop_phase, normalise_spectrum, to_frequency, to_signal


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 99))
def test_a_real_latent_survives_the_way_there_and_back(length: int, width: int, seed: int) -> None:
    latent = torch.randn(2, length, width, generator=torch.Generator().manual_seed(seed))

    assert torch.allclose(to_signal(to_frequency(latent)), latent, atol=1e-5)


def test_the_transform_is_the_orthonormal_one_of_numpy(rng: torch.Generator) -> None:
    latent = torch.randn(4, 6, generator=rng)

    expected = np.fft.fft2(latent.numpy().astype(np.float64), norm="ortho")

    np.testing.assert_allclose(to_frequency(latent).numpy(), expected, atol=1e-5)


def test_the_transform_is_two_products_with_cosines_and_sines(rng: torch.Generator) -> None:
    latent = torch.randn(4, 6, generator=rng).double()
    turn = [torch.outer(torch.arange(n), torch.arange(n)) * (2 * torch.pi / n) for n in (4, 6)]
    cos, sin = [t.cos().double() for t in turn], [t.sin().double() for t in turn]

    real = (cos[0] @ latent @ cos[1] - sin[0] @ latent @ sin[1]) / 24**0.5
    imag = -(sin[0] @ latent @ cos[1] + cos[0] @ latent @ sin[1]) / 24**0.5

    transformed = to_frequency(latent)
    assert torch.allclose(transformed.real.double(), real, atol=1e-5)
    assert torch.allclose(transformed.imag.double(), imag, atol=1e-5)


def test_normalising_the_spectrum_gives_the_signal_mean_0_and_spread_1(rng: torch.Generator) -> None:
    latent = 7 * torch.randn(3, 5, 4, generator=rng) + 2

    signal = to_signal(normalise_spectrum(to_frequency(latent)))

    assert torch.allclose(signal.mean(dim=(1, 2)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(signal.square().mean(dim=(1, 2)), torch.ones(3), atol=1e-5)


def test_a_latent_without_power_stays_zero_and_has_a_finite_gradient() -> None:
    latent = torch.ones(1, 3, 4, requires_grad=True)

    normalised = normalise_spectrum(to_frequency(latent))
    normalised.real.sum().backward()

    assert torch.equal(normalised, torch.zeros_like(normalised))
    assert latent.grad is not None
    assert torch.isfinite(latent.grad).all()


@pytest.mark.parametrize("name", list(DOMAINS))
def test_a_latent_is_the_same_in_every_domain_when_it_is_back(name: DomainName, rng: torch.Generator) -> None:
    domain = DOMAINS[name]
    latent = 7 * torch.randn(3, 5, 4, generator=rng) + 2

    there = domain.enter(latent)
    normalised = domain.leave(domain.normalise(there))

    assert there.is_complex()
    assert torch.allclose(domain.leave(there), latent, atol=1e-5)
    spread = latent.std(dim=(1, 2), unbiased=False, keepdim=True)
    assert torch.allclose(normalised, (latent - latent.mean(dim=(1, 2), keepdim=True)) / spread, atol=1e-5)


def test_dropping_the_phase_leaves_the_real_part_alone(rng: torch.Generator) -> None:
    spectrum = to_frequency(torch.randn(3, 5, 4, generator=rng))

    dropped = drop_phase(spectrum)

    assert torch.equal(dropped.real, spectrum.real)
    assert torch.equal(dropped.imag, torch.zeros(3, 5, 4))
