"""Which tensors of a model travel: those that are trained, and running statistics of a user's encoder."""

from collections.abc import Mapping

from torch import Tensor, nn

AGREED = ("feature_mean", "feature_stddev")  # the same at all sites by agreement, never trained


def exchanged(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model that sites train and a server aggregates, by name.

    Left out: what is frozen, what the sites agreed on, and whole numbers (the step counter of
    a BatchNorm, which has no meaning across sites).
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    running = {
        name: buffer
        for name, buffer in model.named_buffers()
        if buffer.is_floating_point() and not name.endswith(AGREED)
    }
    return {name: tensor.detach() for name, tensor in (trained | running).items()}


def load_exchanged(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put exchanged tensors back into a model, in place."""
    own = exchanged(model)
    for name, tensor in tensors.items():
        own[name].copy_(tensor)
