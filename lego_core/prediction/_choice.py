"""Which of the models of a bundle is to predict."""

from dataclasses import dataclass
from typing import cast

from lego_core.bundle import ModelBundle
from lego_core.errors import BundleError
from lego_core.evaluation import Method

TOGETHER = ("merge", "fuse", "ensemble")  # the models that read any subset of the modalities
RECOMMENDED = "recommended"
BLOCK = "block:"


@dataclass(frozen=True, slots=True)
class Choice:
    """One model of a bundle.

    Args:
        method: Its kind.
        modalities: What it reads.
    """

    method: Method
    modalities: tuple[str, ...]

    @property
    def name(self) -> str:
        """What a user calls it: `merge`, `block:clinical`."""
        return f"{BLOCK}{self.modalities[0]}" if self.method == "block" else self.method


def choose_model(bundle: ModelBundle, wish: str = RECOMMENDED) -> Choice:
    """Find the model that a user means.

    Args:
        bundle: Where to look.
        wish: `recommended`, `merge`, `fuse`, `ensemble` or `block:NAME`.

    Raises:
        BundleError: If the bundle has no such model.
    """
    every = bundle.models.merged.modalities
    known = ["merge", "ensemble", *(["fuse"] if bundle.models.fused else [])]
    known += [f"{BLOCK}{name}" for name in every]
    name = _recommended(bundle, known) if wish == RECOMMENDED else wish
    if name not in known:
        raise BundleError(
            f"Bundle of plan '{bundle.plan.name}' has no model '{wish}'. Its models are {known}; choose one "
            f"of them, or '{RECOMMENDED}'."
        )
    if name.startswith(BLOCK):
        return Choice("block", (name.removeprefix(BLOCK),))
    return Choice(cast(Method, name), every)


def _recommended(bundle: ModelBundle, known: list[str]) -> str:
    advice = bundle.report.recommendation
    if advice is None:
        raise BundleError(
            f"The report of plan '{bundle.plan.name}' recommends no model, since nothing shows which one is "
            f"best. Choose one yourself: {known}."
        )
    return f"{BLOCK}{advice.modality}" if advice.method == "block" else advice.method
