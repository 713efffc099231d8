"""Does a modality fit an encoder? The questions that several encoders ask."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from lego_core.errors import PlanError, ShapeError
from lego_core.records import Inputs, Layout, ModalitySchema


def require_layout(schema: ModalitySchema, layouts: Sequence[Layout], *, kind: str) -> None:
    """Refuse a modality whose layout the encoder cannot read.

    Raises:
        PlanError: If the layout is not among those of the encoder, or if the modality has
            no features.
    """
    if schema.layout not in layouts:
        known = ", ".join(f"'{layout}'" for layout in layouts)
        raise PlanError(
            f"Encoder '{kind}' reads modalities of layout {known}, and this one has layout "
            f"'{schema.layout}' (plan key encoder.kind). Choose an encoder for this layout; "
            "'transformer' and 'module' read every layout."
        )
    if not schema.features:
        raise PlanError(
            f"Encoder '{kind}' needs at least 1 feature, and this modality has 0 (the schema of the "
            "modality). List its features, or take the modality out of the plan."
        )


def grid_of(schema: ModalitySchema, *, kind: str) -> tuple[int, int]:
    """Give the height and width of the images of a modality.

    Raises:
        PlanError: If the modality does not tell them.
    """
    if schema.grid is None:
        raise PlanError(
            f"Encoder '{kind}' needs the height and width of an image, and this modality names no grid "
            "(the schema of the modality). Give `grid` as height and width in pixels."
        )
    return schema.grid


def only_row(inputs: Inputs) -> tuple[Float[Tensor, "B F"], Bool[Tensor, "B F"]]:
    """Give the values of a table and what of them was measured, without the row axis.

    Raises:
        ShapeError: If there is not exactly one row per patient.
    """
    rows = inputs.values.shape[1]
    if rows != 1:
        raise ShapeError(
            f"A table has 1 row per patient, and these inputs have {rows} (the inputs of an encoder). "
            "Give one row per patient, or call the modality a 'series' or a 'bag'."
        )
    return inputs.values[:, 0], inputs.measured[:, 0]


def as_images(inputs: Inputs, grid: tuple[int, int]) -> Float[Tensor, "B F height width"]:
    """Lay pixel rows, in reading order, out as images with the features as channels.

    Raises:
        ShapeError: If the number of rows is not height times width.
    """
    height, width = grid
    rows = inputs.values.shape[1]
    if rows != height * width:
        raise ShapeError(
            f"An image of {height} by {width} pixels has {height * width} rows, and these inputs have "
            f"{rows} (the inputs of an encoder). Resize the images to the grid of the modality."
        )
    return inputs.values.transpose(1, 2).unflatten(2, (height, width))
