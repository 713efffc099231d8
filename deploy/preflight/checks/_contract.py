"""What every check promises."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from deploy.preflight.finding import Finding, Measure
from deploy.preflight.premises import Premises

Need = Literal["file", "plan", "cohort", "contact"]
Measures = Mapping[str, Measure]


class AbstractCheck(ABC):
    """One question about a site before a run. It changes nothing, and may raise a `LegoError`, whose sentence
    is then what must be mended.

    Attributes:
        name: What the check is called.
        asks: The question, as its operator would ask it.
        needs: What must be readable before it can be asked; the check of that thing says what is wrong.
    """

    name: ClassVar[str]
    asks: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]] = ()

    @abstractmethod
    def look(self, premises: Premises) -> Finding:
        """Look at the site.

        Raises:
            LegoError: If something must be mended.
        """

    def passed(
        self, said: str, *, measured: Measures | None = None, limits: Measures | None = None
    ) -> Finding:
        """All is well."""
        return Finding(
            check=self.name, status="PASS", said=said, measured=measured or {}, limits=limits or {}
        )

    def look_at(
        self,
        said: str,
        todo: str,
        *,
        measured: Measures | None = None,
        limits: Measures | None = None,
        details: Sequence[str] = (),
    ) -> Finding:
        """Nothing would fail, and somebody should look."""
        return Finding(
            check=self.name,
            status="LOOK",
            said=said,
            todo=todo,
            measured=measured or {},
            limits=limits or {},
            details=tuple(details),
        )

    def fix(
        self,
        said: str,
        todo: str,
        *,
        measured: Measures | None = None,
        limits: Measures | None = None,
        details: Sequence[str] = (),
    ) -> Finding:
        """A run would fail, or be worth nothing."""
        return Finding(
            check=self.name,
            status="FIX",
            said=said,
            todo=todo,
            measured=measured or {},
            limits=limits or {},
            details=tuple(details),
        )

    def skipped(self, why: str) -> Finding:
        """It could not be told."""
        return Finding(check=self.name, status="SKIPPED", said=why)
