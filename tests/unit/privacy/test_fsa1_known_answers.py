"""The bytes of the secure sum, against a prototype that somebody else wrote from the same specification."""

import ast
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from lego_core.privacy.fsa1 import keys, sharing
from lego_core.privacy.fsa1.fixed_point import fraction_bits, to_fixed_point
from lego_core.privacy.fsa1.masks import Masks
from lego_core.privacy.fsa1.wire import digest, set_bytes, tagged

VECTORS = Path(__file__).parents[2] / "vectors" / "secure_sum.json"
KNOWN = json.loads(VECTORS.read_text(encoding="utf-8"))
TH = bytes.fromhex(KNOWN["H_u1_x"])
PAIR_KEY = bytes.fromhex(KNOWN["pair_key_1_2"])


def test_shares_of_a_secret():
    known, calls = KNOWN["shamir"], iter([1, 2])

    def random_bytes(count: int) -> bytes:
        return hashlib.shake_256(b"fsa1-kat" + struct.pack(">I", next(calls))).digest(count)

    secret = bytes.fromhex(known["secret"])
    shares = sharing.split(secret, threshold=3, places=[1, 2, 3, 4, 5], random_bytes=random_bytes)

    assert {str(place): share.hex() for place, share in shares.items()} == known["shares"]
    assert sharing.combine({place: shares[place] for place in (2, 4, 5)}).hex() == known["combine_2_4_5"]


def test_keys_of_a_pair_and_of_a_site():
    first, second = (bytes.fromhex(KNOWN["x25519"][name]) for name in "ab")
    agreed = X25519PrivateKey.from_private_bytes(first).exchange(
        X25519PublicKey.from_public_bytes(keys.public_key(second))
    )

    assert agreed.hex() == KNOWN["x25519"]["shared"]
    assert digest("u1", b"x") == TH
    assert keys.pair_key(first, keys.public_key(second), places=(1, 2), th=TH) == PAIR_KEY
    assert keys.pair_key(second, keys.public_key(first), places=(2, 1), th=TH) == PAIR_KEY
    assert keys.own_key(bytes(range(32)), th=TH).hex() == KNOWN["self_key"]


def test_residues_and_masks():
    known = KNOWN["encode"]
    bits = fraction_bits(known["n"], known["clip"])
    residues = np.empty(8, dtype=np.uint32)
    to_fixed_point(np.array(known["x"], np.float32), weight=1.0, clip=known["clip"], bits=bits, out=residues)
    stream = np.zeros(8, dtype=np.uint32)
    Masks({PAIR_KEY: 1}, narrow=8).apply(stream)

    assert bits == known["f"]
    assert residues.astype("<u4").tobytes().hex() == known["q_hex"]
    assert stream.tolist() == KNOWN["mask_u32_first8"]
    assert (residues + stream).astype("<u4").tobytes().hex() == known["masked_plus_pair"]


def test_a_long_mask():
    vector = np.zeros(1_000_003, dtype=np.uint32)

    Masks({PAIR_KEY: 1, bytes(32): -1}, narrow=len(vector)).apply(vector)

    found = hashlib.sha256(vector.astype("<u4").tobytes()).hexdigest()
    assert found == KNOWN["sha256_masked_1000003_zeros_plus_pair_minus_zerokey"]


def test_what_survivors_sign():
    assert tagged("alive", TH, set_bytes([1, 2, 3]), set_bytes([3, 1])).hex() == KNOWN["enc_alive"]


@pytest.mark.parametrize(("sizes", "bits"), [*KNOWN["frac_bits"].items()])
def test_bits_behind_the_point(sizes, bits):
    assert fraction_bits(*ast.literal_eval(sizes)) == bits
