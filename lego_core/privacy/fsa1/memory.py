"""What a site remembers of a session, and how it travels to another process of the same site."""

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any, final

import numpy as np
from jaxtyping import UInt32

from lego_core.privacy.fsa1.keys import Bundle, SessionSecrets
from lego_core.privacy.fsa1.sharing import SHARE_BYTES


@dataclass(frozen=True, slots=True)
class MaskedVector:
    """What leaves a site in place of its vector: residues that are noise to whoever lacks the masks."""

    residues: UInt32[np.ndarray, "W"]
    signature: bytes


@final
@dataclass
class SiteMemory:
    """Everything that a session needs to go on; secret while it lasts.

    Args:
        drawn: What the site drew for the session; None once it is over.
        answers: By stage, the hash of what was asked, and the answer.
        bundles: What all sites showed, by place.
        th: The transcript.
        held: Of each site, by place, the shares of its own seed and of its key.
        sharing: Who dealt shares out.
        received_sha256: Hash of the weights that this site was sent.
        survivors: Whose vectors are in the sum.
    """

    drawn: SessionSecrets | None
    answers: dict[str, tuple[bytes, Any]] = field(default_factory=dict, repr=False)
    bundles: dict[int, Bundle] = field(default_factory=dict)
    th: bytes = b""
    held: dict[int, tuple[bytes, bytes]] = field(default_factory=dict, repr=False)
    sharing: frozenset[int] = frozenset()
    received_sha256: str = ""
    survivors: frozenset[int] = frozenset()

    @classmethod
    def begin(cls) -> "SiteMemory":
        """Draw fresh secrets."""
        return cls(SessionSecrets.draw())

    def forget(self) -> None:
        """End the session: no secret is left, and no answer but those that were small."""
        self.drawn = None
        self.held = {}
        self.answers.pop("masked", None)

    def save(self) -> dict[str, bytes]:
        """Write everything down."""
        masked = self.answers["masked"][1].residues if "masked" in self.answers else None
        kept = {
            "drawn": self.drawn and [one.hex() for one in astuple(self.drawn)],
            "answers": {
                stage: (asked.hex(), _plain(answer)) for stage, (asked, answer) in self.answers.items()
            },
            "bundles": _plain({place: bundle.packed() for place, bundle in self.bundles.items()}),
            "th": self.th.hex(),
            "held": _plain({place: first + second for place, (first, second) in self.held.items()}),
            "sharing": sorted(self.sharing),
            "received_sha256": self.received_sha256,
            "survivors": sorted(self.survivors),
        }
        residues = b"" if masked is None else masked.astype("<u4", copy=False).tobytes()
        return {"session": json.dumps(kept).encode("ascii"), "residues": residues}

    @classmethod
    def restore(cls, saved: Mapping[str, bytes]) -> "SiteMemory":
        """Read what `save` wrote."""
        kept = json.loads(saved["session"])
        answers = {
            stage: (bytes.fromhex(asked), _answer(stage, plain, saved["residues"]))
            for stage, (asked, plain) in kept["answers"].items()
        }
        return cls(
            drawn=kept["drawn"] and SessionSecrets(*(bytes.fromhex(one) for one in kept["drawn"])),
            answers=answers,
            bundles={place: Bundle.read(one) for place, one in _by_place(kept["bundles"]).items()},
            th=bytes.fromhex(kept["th"]),
            held={
                place: (one[:SHARE_BYTES], one[SHARE_BYTES:])
                for place, one in _by_place(kept["held"]).items()
            },
            sharing=frozenset(kept["sharing"]),
            received_sha256=kept["received_sha256"],
            survivors=frozenset(kept["survivors"]),
        )


def _answer(stage: str, plain: Any, residues: bytes) -> Any:
    if stage == "masked":
        return MaskedVector(np.frombuffer(residues, dtype="<u4"), bytes.fromhex(plain))
    return _by_place(plain) if isinstance(plain, dict) else bytes.fromhex(plain)


def _plain(answer: Any) -> Any:
    """An answer in JSON: hexadecimal bytes, by place where there are several."""
    if isinstance(answer, Mapping):
        return {str(place): one.hex() for place, one in answer.items()}
    return (answer.signature if isinstance(answer, MaskedVector) else answer).hex()


def _by_place(plain: Mapping[str, str]) -> dict[int, bytes]:
    return {int(place): bytes.fromhex(one) for place, one in plain.items()}
