"""What a site says of itself before any training."""

from typing import ClassVar, final

from pydantic import Field

from lego_core.component import Component
from lego_core.encoders import Encoder
from lego_core.letters import AbstractMessage
from lego_core.records import ModalitySchema
from lego_core.trunk import LatentContract


@final
class ModalityOffer(Component):
    """One modality a site holds.

    Args:
        schema_here: Layout and features at this site.
        patients: How many training patients have it, rounded down to tens.
        trains: Whether any training patient has it.
        fuses_with: The other modalities that any of these patients has, too.
        judges: Whether enough validation patients have it for the site's rules.
        encoder: How the site's plan has it encoded.
    """

    schema_here: ModalitySchema
    encoder: Encoder
    patients: int = Field(ge=0)
    trains: bool
    fuses_with: tuple[str, ...] = ()
    judges: bool = False


@final
class Offer(AbstractMessage):
    """What a site holds.

    Reveals to the server: the site's name, its modalities and their feature names, numbers of
    patients rounded down to tens, which modalities any patients are there for to train, fuse and
    judge, and of which sets of modalities there are enough patients to score models on. Nothing
    of any patient.

    Args:
        site: Name of the site.
        plan: Name of the plan the site has read.
        latent: The latent contract in that plan; blocks merge only under one contract.
        modalities: What it holds.
        paired_patients: Training patients with more than one modality, rounded down to tens.
        paired: Whether there is any such patient.
        judges_paired: Whether enough validation patients have more than one, for the site's rules.
        test_groups: The sets of modalities that enough test patients hold for their scores to leave
            the site (`evaluation.smallest-count`, or the site's own), and to tell of no fewer.
        validation_groups: Likewise, of validation patients.
    """

    kind: ClassVar[str] = "offer"
    site: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    plan: str
    latent: LatentContract
    modalities: dict[str, ModalityOffer]
    paired_patients: int = Field(ge=0)
    paired: bool
    judges_paired: bool = False
    test_groups: tuple[tuple[str, ...], ...] = ()
    validation_groups: tuple[tuple[str, ...], ...] = ()
