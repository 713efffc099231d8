"""A site asks to join: its public keys, and the proof that it holds the private ones. Nothing is secret."""

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, final

from pydantic import AfterValidator, Field, ValidationError

from deploy._files import read
from deploy.errors import DeployError
from deploy.federation import Federation, Name, Sha256
from deploy.node_key import checked_node_key, is_signed_by_node, sign_with_node_key
from lego_core.component import Component, explain
from lego_core.signing import PublicKey, SigningKey, canonical_json, is_signed

TAG = "join"
SPOKEN_DIGITS = 32  # of the fingerprint that two people compare by telephone

Proof = Annotated[str, Field(pattern=r"^[0-9a-f]{2,512}$")]


@final
class JoinRequest(Component):
    """What `join` writes, and `approve` reads.

    Args:
        format: Version of this form.
        federation: Which one the site wants to join.
        authority: SHA-256 of its `ca.crt`, as the site knows it: no other federation takes the request.
        site: The site's name.
        identity_key: Public half of its identity key, for roster and secure sum (Ed25519).
        node_key: Public half of its node key, for Flower (elliptic curve, as OpenSSH writes it).
        made_on: The day (UTC).
    """

    format: Literal[1] = 1
    federation: Name
    authority: Sha256
    site: Name
    identity_key: PublicKey
    node_key: Annotated[str, AfterValidator(checked_node_key)]
    made_on: date

    def canonical(self) -> bytes:
        """The bytes that both keys sign."""
        return canonical_json(self.to_plain())

    @property
    def fingerprint(self) -> str:
        """What two people compare by telephone: it changes if anything in the request does."""
        digits = hashlib.sha256(self.canonical()).hexdigest()[:SPOKEN_DIGITS]
        return " ".join(digits[start : start + 4] for start in range(0, SPOKEN_DIGITS, 4))


@final
class SignedRequest(Component):
    """A request as it lies in a file.

    Args:
        request: What is asked.
        identity_proof: Its signature with the identity key.
        node_proof: Its signature with the node key.
    """

    request: JoinRequest
    identity_proof: Proof
    node_proof: Proof

    @classmethod
    def of(cls, request: JoinRequest, *, identity: SigningKey, node: bytes) -> "SignedRequest":
        """Sign a request with both of the site's private keys."""
        content = request.canonical()
        return cls(
            request=request,
            identity_proof=identity.sign(content, tag=TAG),
            node_proof=sign_with_node_key(node, content, tag=TAG),
        )

    def to_json(self) -> bytes:
        """The bytes of the file."""
        return (json.dumps(self.to_plain(), indent=1) + "\n").encode("ascii")

    def check(self, federation: Federation) -> None:
        """Make sure that the request is for this federation, and its maker holds both keys.

        Raises:
            DeployError: If it is for another, or a proof does not hold.
        """
        asked, content = self.request, self.request.canonical()
        if (asked.federation, asked.authority) != (federation.name, federation.authority):
            raise DeployError(
                f"The request of site '{asked.site}' is for federation '{asked.federation}' with authority "
                f"{asked.authority[:16]}…, and this is '{federation.name}', {federation.authority[:16]}…. "
                "Send the site this federation's 'federation.toml', and let it call 'join' anew."
            )
        proofs = {
            "identity": is_signed(content, self.identity_proof, tag=TAG, by=asked.identity_key),
            "node": is_signed_by_node(content, self.node_proof, tag=TAG, by=asked.node_key),
        }
        broken = [name for name, holds in proofs.items() if not holds]
        if broken:
            raise DeployError(
                f"The request of site '{asked.site}' is not signed by its {' and '.join(broken)} key: it was "
                "changed on its way, or its maker does not hold the key. Approve nothing, and ask the site "
                "to send the file again."
            )


def read_request(path: Path) -> SignedRequest:
    """Read a request, and believe none of it.

    Raises:
        DeployError: If it cannot be read, has another form, or a key of a kind that nobody may use.
    """
    content = read(path, what="Request")
    try:
        plain: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DeployError(
            f"Request '{path.name}' is not JSON. Ask the site to send it again, as a file and not as text.",
            local=f"{path}: {error}",
        ) from error
    try:
        return SignedRequest.model_validate(plain)
    except ValidationError as error:
        raise explain(error, where=f"Request '{path.name}'", kind=DeployError) from error
