"""The key by which Flower knows a site's SuperNode: EC P-384, in the one format that Flower reads."""

from contextlib import suppress

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.errors import DeployError
from lego_core.signing import tagged

CURVES = ("secp256r1", "secp384r1", "secp521r1")


def make_node_key() -> tuple[bytes, str]:
    """Draw a fresh key from the operating system.

    Returns:
        The private key as its file holds it, without a passphrase since Flower asks for none, and the
        public key as a line of OpenSSH.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return private, _line(key.public_key())


def sign_with_node_key(private: bytes, content: bytes, *, tag: str) -> str:
    """Sign some bytes for one use: ECDSA with SHA-384, in hexadecimal digits.

    Raises:
        DeployError: If the file holds no such key.
    """
    key: object = None
    with suppress(ValueError, UnsupportedAlgorithm):  # said below
        key = serialization.load_ssh_private_key(private, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DeployError("'node.key' holds no elliptic-curve key of OpenSSH. Bring back what 'join' wrote.")
    return key.sign(tagged(tag, content), ec.ECDSA(hashes.SHA384())).hex()


def is_signed_by_node(content: bytes, signature: str, *, tag: str, by: str) -> bool:
    """Whether the owner of a node's public key signed these bytes, for this use."""
    try:
        _read_public(by).verify(bytes.fromhex(signature), tagged(tag, content), ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError):
        return False
    return True


def checked_node_key(line: str) -> str:
    """Give back the public key of a node, if Flower would register it.

    Raises:
        ValueError: If it is no key, of another kind or curve, or written in another way.
    """
    if _line(_read_public(line)) != line:
        raise ValueError("the node key has a comment or blanks; give kind and key alone, with one blank")
    return line


def _read_public(line: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(
            f"'{line[:24]}…' is no public key of OpenSSH on a curve that is safe ({', '.join(CURVES)}); "
            "give what 'join' wrote"
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise ValueError(
            f"'{line[:24]}…' is a key of another kind, and Flower's node authentication takes elliptic-curve "
            f"keys alone ({', '.join(CURVES)}); give what 'join' wrote"
        )
    return key


def _line(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
