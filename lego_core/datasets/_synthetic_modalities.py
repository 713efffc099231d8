"""How a made-up measurement shows a factor of a made-up patient: through noise, in four layouts."""

from abc import abstractmethod
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from lego_core.component import Component
from lego_core.datasets._assembly import Measured, one_row_each, rows_in_time, whole_measurements
from lego_core.records import ModalitySchema

Size = Annotated[int, Field(ge=1)]


class AbstractSyntheticModality(Component):
    """One modality of made-up patients.

    Args:
        strength: How much its factor adds to the risk; 0 makes a modality of pure noise.
        noise: Spread of the noise over the factor, whose spread is 1.
        missing: Share of single values that were not measured.
        absent: Share of patients who do not have the modality.
    """

    strength: float = Field(default=1.0, ge=0)
    noise: float = Field(default=1.0, ge=0)
    missing: float = Field(default=0.0, ge=0, lt=1)
    absent: float = Field(default=0.0, ge=0, lt=1)

    @abstractmethod
    def show(
        self, ids: list[str], factors: np.ndarray, *, offsets: np.ndarray, rng: np.random.Generator
    ) -> Measured:
        """Measure patients.

        Args:
            ids: Identifiers of B patients.
            factors: What is to be seen, (B, K).
            offsets: By how much each patient's hospital measures too high, (B,).
            rng: Chance.
        """

    def blur(self, signal: np.ndarray, *, offsets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Add a hospital's offset and noise to rows of signal, and lose values."""
        values = signal + offsets[:, None] + self.noise * rng.standard_normal(signal.shape)
        return np.where(rng.random(signal.shape) < self.missing, np.nan, values)


@final
class SyntheticTable(AbstractSyntheticModality):
    """A table: every feature is its own mixture of the factors.

    Args:
        features: Number of features F.
    """

    layout: Literal["table"] = "table"
    features: Size = 20

    def show(
        self, ids: list[str], factors: np.ndarray, *, offsets: np.ndarray, rng: np.random.Generator
    ) -> Measured:
        signal = factors @ _mixture(factors.shape[1], self.features, rng)
        return one_row_each(ids, self.blur(signal, offsets=offsets, rng=rng), features=_names(self.features))


@final
class SyntheticSeries(AbstractSyntheticModality):
    """A series: the factor shows as a trend, from nothing at first to all of it after a year.

    Args:
        features: Number of features F.
        longest: Most visits of a patient; everyone has at least one.
    """

    layout: Literal["series"] = "series"
    features: Size = 6
    longest: Size = 8

    def show(
        self, ids: list[str], factors: np.ndarray, *, offsets: np.ndarray, rng: np.random.Generator
    ) -> Measured:
        visits = np.repeat(np.arange(len(ids)), rng.integers(1, self.longest + 1, size=len(ids)))
        times_days = np.floor(365 * rng.random(len(visits)))
        trend = (times_days / 365)[:, None] * factors[visits]
        values = self.blur(
            trend @ _mixture(factors.shape[1], self.features, rng), offsets=offsets[visits], rng=rng
        )
        owners = [ids[patient] for patient in visits]
        return rows_in_time(owners, values, times_days=times_days, features=_names(self.features))


@final
class SyntheticBag(AbstractSyntheticModality):
    """A bag: some instances show the factor, the others are noise.

    Args:
        features: Number of features F.
        largest: Most instances of a patient; everyone has at least two.
        telling: Share of instances that show something.
    """

    layout: Literal["bag"] = "bag"
    features: Size = 16
    largest: int = Field(default=20, ge=2)
    telling: float = Field(default=0.3, ge=0, le=1)

    def show(
        self, ids: list[str], factors: np.ndarray, *, offsets: np.ndarray, rng: np.random.Generator
    ) -> Measured:
        sizes = rng.integers(2, self.largest + 1, size=len(ids))
        owners = np.repeat(np.arange(len(ids)), sizes)
        tells = (rng.random(len(owners)) < self.telling)[:, None]
        # A telling instance is marked by its first feature, as a tumour looks unlike the tissue around it.
        signal = tells * (factors[owners] @ _mixture(factors.shape[1], self.features, rng))
        signal[:, 0] += 3 * tells[:, 0]
        values = self.blur(signal, offsets=offsets[owners], rng=rng)
        bags = np.split(values, np.cumsum(sizes)[:-1])
        return whole_measurements(
            ids, bags, schema=ModalitySchema(layout="bag", features=_names(self.features))
        )


@final
class SyntheticImage(AbstractSyntheticModality):
    """A grey image: one round spot per factor, as bright as the factor is large.

    Args:
        size: Height and width in pixels.
    """

    layout: Literal["image"] = "image"
    size: tuple[Size, Size] = (16, 16)

    def show(
        self, ids: list[str], factors: np.ndarray, *, offsets: np.ndarray, rng: np.random.Generator
    ) -> Measured:
        height, width = self.size
        rows, columns = np.mgrid[:height, :width].reshape(2, 1, -1)
        count = factors.shape[1]
        centres = (rng.random((2, count, 1)) * 0.6 + 0.2) * np.array([height, width])[:, None, None]
        distances = np.square(rows - centres[0]) + np.square(columns - centres[1])
        spots = np.exp(-distances / (2 * (min(height, width) / 6) ** 2))
        values = self.blur(factors @ spots, offsets=offsets, rng=rng)
        schema = ModalitySchema(layout="image", features=("grey",), grid=self.size)
        return whole_measurements(ids, [image[:, None] for image in values], schema=schema)


SyntheticModality = Annotated[
    SyntheticTable | SyntheticSeries | SyntheticBag | SyntheticImage, Field(discriminator="layout")
]


def _mixture(count: int, features: int, rng: np.random.Generator) -> np.ndarray:
    """Say how much of each of K factors each of F features shows, (K, F)."""
    return rng.standard_normal((count, features)) / np.sqrt(count)


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"feature-{index}" for index in range(count))
