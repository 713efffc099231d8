"""What a check has found, for the site's operator alone."""

from collections.abc import Mapping
from typing import Literal, final

from pydantic import Field

from lego_core.component import Component

Status = Literal["PASS", "LOOK", "FIX", "SKIPPED"]
Measure = str | float | int


@final
class Finding(Component):
    """One line of preflight.

    Args:
        check: Name of the check.
        status: `PASS`; `LOOK`, where nothing would fail and somebody should look all the same; `FIX`, where a
            run would fail or be worth nothing; `SKIPPED`, where it could not be told.
        said: What was found, in a sentence that says nothing of any one patient.
        todo: What to do about it.
        measured: What was measured, by name, with units in the names.
        limits: What it was held against, likewise.
        details: Paths, identifiers and values behind it; shown on request.
    """

    check: str
    status: Status
    said: str
    todo: str = ""
    measured: Mapping[str, Measure] = Field(default={})
    limits: Mapping[str, Measure] = Field(default={})
    details: tuple[str, ...] = ()
