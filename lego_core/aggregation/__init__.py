"""Updates of one block from several sites, and the block's next global weights."""

from typing import Annotated

from pydantic import Field

from lego_core.aggregation._contract import AbstractAggregation, ServerState
from lego_core.aggregation.fedadam import FedAdam
from lego_core.aggregation.fedavg import FedAvg
from lego_core.aggregation.fedprox import FedProx
from lego_core.aggregation.median import Median
from lego_core.aggregation.trimmed_mean import TrimmedMean

Aggregation = Annotated[FedAvg | FedProx | FedAdam | TrimmedMean | Median, Field(discriminator="kind")]

__all__ = [
    "AbstractAggregation",
    "Aggregation",
    "FedAdam",
    "FedAvg",
    "FedProx",
    "Median",
    "ServerState",
    "TrimmedMean",
]
