"""A run for TensorBoard: event files in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

from deploy.seeing.run_state import RunState
from deploy.seeing.scalars import Scalar
from deploy.seeing.words import STATUS
from lego_core.errors import RunError


@final
class TensorBoardFiles:
    """Event files that `tensorboard --logdir` shows.

    Args:
        folder: Where to write them; TensorBoard would show older ones there as the same run.

    Raises:
        RunError: If TensorBoard is not installed, or the folder holds event files or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise RunError(
                "TensorBoard is not installed. Run: pip install -c constraints.txt -e '.[tensorboard]'."
            ) from error
        if any(folder.glob("events.out.tfevents.*")):
            raise RunError(
                f"'{folder.name}' holds event files of TensorBoard already, and two runs would be shown as "
                "one. Name another folder, or empty this one."
            )
        try:
            self._writer = SummaryWriter(str(folder))
        except OSError as error:
            raise RunError(
                f"'{folder.name}' cannot be written ({error.strerror}). Name another folder.",
                local=str(folder),
            ) from error

    def write(self, state: RunState, scalars: Sequence[Scalar]) -> None:
        """As `Sink.write`."""
        del state
        for one in scalars:
            self._writer.add_scalar(one.name, one.value, global_step=one.step, walltime=one.time.timestamp())
        self._writer.flush()

    def close(self, state: RunState) -> None:
        """As `Sink.close`; the last word is a text."""
        words = [f"plan {state.plan}: {STATUS.get(state.status, state.status)}", state.reason]
        words += [state.recommendation, state.claim]
        self._writer.add_text("run", "\n\n".join(filter(None, words)))
        self._writer.close()
