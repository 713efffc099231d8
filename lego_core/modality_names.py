"""What a plan may call a modality: a name that is no name of anything else."""

import re
from typing import Annotated

from pydantic import AfterValidator

from lego_core.block import Blocks

PARTS = ("head", "fused", "encoder", "trunk")  # of models, and a model itself, in names of weights and sums


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(
            f"'{name}' is no name for a modality, since names become parts of longer ones (as of sums); use "
            "letters, digits, '-' and '_', and begin with a letter or a digit"
        )
    if name in PARTS or name in dir(Blocks([])):
        raise ValueError(
            f"'{name}' is no name for a modality, since it means something else in the models of a run; "
            f"call it otherwise, as '{name}-data'"
        )
    return name


ModalityName = Annotated[str, AfterValidator(_check_name)]
