"""Something that several checks need, and that is made when the first asks."""

from collections.abc import Callable
from typing import Generic, TypeVar, final

from lego_core.errors import LegoError

T = TypeVar("T")

# What reading other people's files, computing with them and asking a network may raise.
TROUBLE = (
    LegoError, OSError, ArithmeticError, AssertionError, AttributeError, ImportError, LookupError,
    MemoryError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


@final
class Once(Generic[T]):
    """Make a thing once, and remember it, or why it could not be made.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._trouble: BaseException | None = None

    def __call__(self) -> T:
        """The thing.

        Raises:
            LegoError: Or whatever else was raised when it was made, every time.
        """
        if self._trouble is not None:
            raise self._trouble
        if not self._made:
            try:
                self._made.append(self._make())
            except TROUBLE as error:
                self._trouble = error
                raise
        return self._made[0]
