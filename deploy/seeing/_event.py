"""What all events of the diary have in common."""

from datetime import UTC, datetime
from math import isfinite
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field


def _finite(value: float | None) -> float | None:
    """A number that JSON can hold; a loss that went to infinity is shown as none."""
    return value if value is not None and isfinite(value) else None


Number = Annotated[float | None, AfterValidator(_finite)]
Names = tuple[str, ...]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Moment = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC))]


class AbstractEvent(BaseModel):
    """One line of the diary. What this reader does not know of a line, it passes over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    number: int
    time: Moment
