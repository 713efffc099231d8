"""Chart points of a site, read leniently: what is absent or broken is not drawn."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Points(BaseModel):
    """Points as tasks write them down; keys that charts do not need are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class CalibrationGroup(Points):
    """Patients of like predictions: what was predicted, and what was observed."""

    patients: int | None = None
    predicted: float
    observed: float | None = None


class Calibration(Points):
    """Predicted and observed survival at one day."""

    horizon_days: float | None = None
    groups: tuple[CalibrationGroup, ...] = ()


class RiskGroup(Points):
    """Survival of a third of the patients, where at least ten were still followed."""

    name: str
    patients: int | None = None
    survival: tuple[float | None, ...]
    at_risk: tuple[int | None, ...] = ()


class KaplanMeier(Points):
    """Survival by third of predicted risk, on the days that the group agreed on."""

    days: tuple[float, ...] = ()
    groups: tuple[RiskGroup, ...] = ()


class SurvivalPoints(Points):
    """What a survival task says about one model at one site."""

    events: int | None = None
    integrated_brier: float | None = None
    integrated_brier_reason: str | None = None
    calibration: Calibration = Calibration()
    kaplan_meier: KaplanMeier = KaplanMeier()


class RocCurve(Points):
    """Points of a ROC curve."""

    false_positive_rate: tuple[float, ...] = ()
    true_positive_rate: tuple[float, ...] = ()


class ClassPoints(Points):
    """What a task says about one class or label."""

    patients: int | None = None
    auroc: float | None = None
    average_precision: float | None = None
    brier: float | None = None
    calibration_slope: float | None = None
    calibration_intercept: float | None = None
    calibration: tuple[CalibrationGroup, ...] = ()
    roc: RocCurve = RocCurve()


class BinaryPoints(Points):
    """What a classification or multi-label task says about one model at one site."""

    by_class: dict[str, ClassPoints | None] = Field(default_factory=dict)

    @property
    def shown(self) -> dict[str, ClassPoints]:
        """The classes that enough patients have."""
        return {name: one for name, one in self.by_class.items() if one is not None}


Kind = TypeVar("Kind", bound=Points)


def read(details: Mapping[str, object], kind: type[Kind]) -> Kind:
    """Read points of this kind; points without anything in them if they are not of this form."""
    try:
        return kind.model_validate(dict(details))
    except ValidationError:
        return kind()
