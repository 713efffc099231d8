"""What is predicted: head size, loss, metric, and what a group must agree on first."""

from typing import Annotated

from pydantic import Field

from lego_core.tasks._contract import AbstractTask, Score
from lego_core.tasks.classification import Classification
from lego_core.tasks.multi_label import MultiLabel
from lego_core.tasks.survival import Survival

Task = Annotated[Classification | MultiLabel | Survival, Field(discriminator="kind")]

__all__ = ["AbstractTask", "Classification", "MultiLabel", "Score", "Survival", "Task"]
