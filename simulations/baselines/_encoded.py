"""Settings that baselines with our encoders share."""

from pydantic import Field

from lego_core.encoders import Encoder
from simulations.baselines._networks import AbstractNetwork


class AbstractEncodedNetwork(AbstractNetwork):
    """A network over the tokens of our own encoders, so that tables compare ways of fusing.

    Args:
        encoders: Encoders by modality, as in a plan; the default of its layout where none is given.
        token_dim: Width that the tokens of all modalities are brought to.
        learning_rates: As in `AbstractNetwork`.
        dropout: Probability of dropping a value where the baseline itself has dropout, in [0, 1).
    """

    encoders: dict[str, Encoder] = Field(default={})
    token_dim: int = Field(default=64, ge=4, multiple_of=4)
    dropout: float = Field(default=0.25, ge=0, lt=1)
