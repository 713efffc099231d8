"""A secret in many hands: any `threshold` of them can put it together, fewer know nothing of it."""

import secrets
from collections.abc import Callable, Mapping

from lego_core.errors import SecureSumError

PRIME = 2**256 + 297  # the smallest prime above every secret of 32 bytes
SECRET_BYTES = 32
SHARE_BYTES = 33
COEFFICIENT_BYTES = 40  # eight more than a secret has: taken modulo the prime, they are even to 2^-63


def split(
    secret: bytes,
    *,
    threshold: int,
    places: list[int],
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> dict[int, bytes]:
    """Deal a secret out.

    Args:
        secret: 32 bytes.
        threshold: How many shares put it together again; at least 2.
        places: Where each share belongs: numbers from 1, all different.
        random_bytes: Gives that many bytes nobody can foresee; only tests with known answers
            put another one in.

    Returns:
        A share of 33 bytes for every place.

    Raises:
        SecureSumError: If a threshold of shares could not be found, or one share would be the secret.

    Guarantees:
        Any `threshold` shares give the secret; fewer fit every secret equally well.
        Not in constant time: secrets live for one session, on the site's own machine.

    Source:
        Shamir. "How to Share a Secret." Communications of the ACM 22(11), 1979.
        doi:10.1145/359168.359176, over the integers modulo 2^256 + 297.
    """
    if len(secret) != SECRET_BYTES:
        raise SecureSumError(
            f"A secret of {len(secret)} bytes cannot be shared: shares are made of {SECRET_BYTES} bytes. "
            "Give it a key of that length."
        )
    if not 2 <= threshold <= len(set(places)) == len(places) or min(places) < 1:
        raise SecureSumError(
            f"A secret cannot be dealt to places {places} with a threshold of {threshold}: places are "
            "different numbers from 1, and the threshold is at least 2 and at most their number."
        )
    coefficients = [int.from_bytes(secret, "big")]
    coefficients += [
        int.from_bytes(random_bytes(COEFFICIENT_BYTES), "big") % PRIME for _ in range(threshold - 1)
    ]
    return {place: _value_at(place, coefficients).to_bytes(SHARE_BYTES, "big") for place in places}


def combine(shares: Mapping[int, bytes]) -> bytes:
    """Put a secret together again.

    Args:
        shares: A threshold of them or more, by place.

    Raises:
        SecureSumError: If they are not shares of one secret of 32 bytes. That they are shares
            of *the* secret is for the caller to check, against what its owner committed to.
    """
    values = {place: int.from_bytes(share, "big") for place, share in shares.items()}
    if any(len(share) != SHARE_BYTES for share in shares.values()) or max(values.values()) >= PRIME:
        raise _unfit(shares)
    secret = 0
    for place, value in values.items():
        numerator = denominator = 1
        for other in values:
            if other != place:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - place) % PRIME
        secret = (secret + value * numerator * pow(denominator, -1, PRIME)) % PRIME
    if secret >= 2 ** (8 * SECRET_BYTES):
        raise _unfit(shares)
    return secret.to_bytes(SECRET_BYTES, "big")


def _value_at(place: int, coefficients: list[int]) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * place + coefficient) % PRIME
    return value


def _unfit(shares: Mapping[int, bytes]) -> SecureSumError:
    return SecureSumError(
        f"The shares of sites {sorted(shares)} do not belong to one secret: one of them was changed. The sum "
        "stays hidden. The round is tried with other shares; see the server's log for who sent these."
    )
