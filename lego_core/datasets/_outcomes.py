"""How the outcome of a patient stands in a table, and back."""

from abc import abstractmethod
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field, model_validator

from lego_core.component import Component
from lego_core.datasets._sheet import Sheet


class AbstractOutcome(Component):
    """Which columns of a table tell what became of a patient."""

    @property
    @abstractmethod
    def outcome_columns(self) -> tuple[str, ...]:
        """The columns, in order."""

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Those of them that hold text."""
        return ()

    def is_known(self, sheet: Sheet) -> np.ndarray:
        """Tell which patients have an outcome: those with no cell in its columns that is empty or says NA."""
        sheet.require(self.outcome_columns)
        return np.all([sheet.is_known(column) for column in self.outcome_columns], axis=0)

    def require_known(self, sheet: Sheet) -> None:
        """Refuse a table that lacks the outcome of a patient."""
        absent = ~self.is_known(sheet)
        if absent.any():
            remedy = (
                "Name the columns that tell it"
                if absent.all()
                else "Fill it in, take these patients out of the table, or set ignore-unknown-outcomes = true"
            )
            raise sheet.refuse(
                f"{sheet.what} lacks the outcome of {absent.sum()} of {len(absent)} patients (columns "
                f"{list(self.outcome_columns)}). {remedy}.",
                rows=absent,
                columns=self.outcome_columns,
            )

    @abstractmethod
    def read(self, sheet: Sheet) -> np.ndarray:
        """Give the rows of `Outcome.values`, patients by numbers.

        Raises:
            DataError: If an outcome is missing or is none of those there can be.
        """

    @abstractmethod
    def write(self, rows: np.ndarray) -> dict[str, list[float] | list[str]]:
        """Give the columns that `read` reads."""


@final
class SurvivalOutcome(AbstractOutcome):
    """Time until an event, or until the patient was last seen without it.

    Args:
        event_column: 1 if the event was seen, 0 if the patient left first.
        time_column: Days from the patient's start to either; not negative.
    """

    kind: Literal["survival"] = "survival"
    event_column: str = "event"
    time_column: str = "time_days"

    @property
    def outcome_columns(self) -> tuple[str, ...]:
        return self.time_column, self.event_column

    def read(self, sheet: Sheet) -> np.ndarray:
        self.require_known(sheet)
        rows = sheet.numbers(self.outcome_columns)
        negative = rows[:, 0] < 0
        if negative.any():
            raise sheet.refuse(
                f"{sheet.what} holds a negative time for {negative.sum()} of {len(rows)} patients (column "
                f"'{self.time_column}'). Count days from each patient's start; patients whose outcome came "
                "before it do not belong to the cohort.",
                rows=negative,
                columns=self.outcome_columns,
            )
        _require_zero_or_one(sheet, rows[:, 1:], columns=(self.event_column,))
        return rows

    def write(self, rows: np.ndarray) -> dict[str, list[float] | list[str]]:
        return dict(zip(self.outcome_columns, rows.T.tolist(), strict=True))


@final
class ClassOutcome(AbstractOutcome):
    """One class out of several.

    Args:
        column: Where the class stands, as text.
        classes: Every class there can be; their order is the order of the outputs. A class that
            is listed may be called NA.
    """

    kind: Literal["class"] = "class"
    column: str = "class"
    classes: tuple[str, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _check_classes(self) -> "ClassOutcome":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("a class is listed twice; list every class once")
        return self

    @property
    def outcome_columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def text_columns(self) -> tuple[str, ...]:
        return self.outcome_columns

    def is_known(self, sheet: Sheet) -> np.ndarray:
        return sheet.is_known(self.column, listed=self.classes)

    def read(self, sheet: Sheet) -> np.ndarray:
        self.require_known(sheet)
        numbers = {name: float(index) for index, name in enumerate(self.classes)}
        rows = np.array([[numbers.get(text, np.nan)] for text in sheet.texts(self.column)])
        unknown = np.isnan(rows[:, 0])
        if unknown.any():
            raise sheet.refuse(
                f"{sheet.what} holds none of the classes {list(self.classes)} for {unknown.sum()} of "
                f"{len(rows)} patients (column '{self.column}'). Correct these rows, or list every class in "
                "the settings.",
                rows=unknown,
                columns=self.outcome_columns,
            )
        return rows

    def write(self, rows: np.ndarray) -> dict[str, list[float] | list[str]]:
        return {self.column: [self.classes[int(index)] for index in rows[:, 0]]}


@final
class LabelsOutcome(AbstractOutcome):
    """Several findings, each there or not.

    Args:
        columns: One column of 0 and 1 per finding; their order is the order of the outputs.
    """

    kind: Literal["labels"] = "labels"
    columns: tuple[str, ...] = Field(min_length=1)

    @property
    def outcome_columns(self) -> tuple[str, ...]:
        return self.columns

    def read(self, sheet: Sheet) -> np.ndarray:
        self.require_known(sheet)
        rows = sheet.numbers(self.outcome_columns)
        _require_zero_or_one(sheet, rows, columns=self.outcome_columns)
        return rows

    def write(self, rows: np.ndarray) -> dict[str, list[float] | list[str]]:
        return dict(zip(self.outcome_columns, rows.T.tolist(), strict=True))


OutcomeColumns = Annotated[SurvivalOutcome | ClassOutcome | LabelsOutcome, Field(discriminator="kind")]


def _require_zero_or_one(sheet: Sheet, rows: np.ndarray, *, columns: tuple[str, ...]) -> None:
    other = ~np.isin(rows, (0, 1)).all(axis=1)
    if other.any():
        raise sheet.refuse(
            f"{sheet.what} holds something else than 0 and 1 for {other.sum()} of {len(rows)} patients "
            f"(columns {list(columns)}). Write 1 where it was seen and 0 where it was not.",
            rows=other,
            columns=columns,
        )
