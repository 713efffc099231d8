"""Keys and signatures: the known answers of RFC 8032, and what is refused."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lego_core._curve import is_public_key
from lego_core.errors import PrivacyError
from lego_core.signing import SigningKey, canonical_json, is_signed, tagged

RFC_8032 = [  # section 7.1: private key, public key, message, signature
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
]
SMALL_ORDER = [  # all that are written in the one allowed way
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


@pytest.mark.parametrize(("private", "public", "message", "signature"), RFC_8032)
def test_keys_are_those_of_the_standard(private, public, message, signature):
    key = SigningKey(bytes.fromhex(private))

    assert key.public == public
    assert key.identity.sign(bytes.fromhex(message)).hex() == signature


def test_a_signature_is_one_of_the_standard_over_the_use_and_the_content():
    key = SigningKey.make()
    written = b"\x0b" + bytes(7) + b"LEGO/roster" + b"\x02" + bytes(7) + b"{}"

    assert tagged("roster", b"{}") == written
    assert bytes.fromhex(key.sign(b"{}", tag="roster")) == key.identity.sign(written)


@given(st.binary(max_size=80), st.integers(0, 511), st.integers(0, 255))
def test_a_signature_holds_for_its_content_use_and_key_alone(content, sig_bit, key_bit):
    key = SigningKey(bytes(range(32)))
    signature = key.sign(content, tag="roster")
    flipped = f"{int(signature, 16) ^ (1 << sig_bit):0128x}"
    other = f"{int(key.public, 16) ^ (1 << key_bit):064x}"

    assert is_signed(content, signature, tag="roster", by=key.public)
    assert not is_signed(content + b"x", signature, tag="roster", by=key.public)
    assert not is_signed(content, signature, tag="bundle", by=key.public)
    assert not is_signed(content, flipped, tag="roster", by=key.public)
    assert not is_signed(content, signature, tag="roster", by=other)


@pytest.mark.parametrize("nonsense", ["", "00", "no hex", "é" * 128, "0" * 128])
def test_what_is_no_signature_or_key_holds_for_nothing(nonsense):
    key = SigningKey.make()

    assert not is_signed(b"x", nonsense, tag="roster", by=key.public)
    assert not is_signed(b"x", key.sign(b"x", tag="roster"), tag="roster", by=nonsense)


@given(st.binary(min_size=32, max_size=32))
def test_every_public_key_of_the_library_is_a_point(private):
    assert is_public_key(Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_points_for_which_anyone_can_sign_are_no_keys(key):
    assert not is_public_key(bytes.fromhex(key))
    assert not is_signed(b"x", key + "00" * 32, tag="roster", by=key)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        bytes(31),
        bytes.fromhex("02" + "00" * 31),  # on no point of the curve
        bytes.fromhex("ef" + "ff" * 30 + "7f"),  # 2^255 - 17: a number above the field's
    ],
)
def test_bytes_that_are_no_point_are_no_keys(key):
    assert not is_public_key(key)


def test_a_key_comes_back_from_its_file_which_is_its_owners_alone(tmp_path):
    key = SigningKey.make()
    key.save(tmp_path / "identity.key")

    assert SigningKey.load(tmp_path / "identity.key").public == key.public
    assert stat.S_IMODE(os.stat(tmp_path / "identity.key").st_mode) == 0o600


def test_a_key_is_never_written_over(tmp_path):
    SigningKey.make().save(tmp_path / "identity.key")
    before = (tmp_path / "identity.key").read_bytes()

    with pytest.raises(PrivacyError, match=r"There is a file 'identity\.key' already.*lost for good"):
        SigningKey.make().save(tmp_path / "identity.key")
    assert (tmp_path / "identity.key").read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_may_use_is_refused(tmp_path, mode):
    SigningKey.make().save(tmp_path / "identity.key")
    (tmp_path / "identity.key").chmod(mode)

    with pytest.raises(PrivacyError, match=r"may be used by others.*chmod 600"):
        SigningKey.load(tmp_path / "identity.key")


@pytest.mark.parametrize("content", [b"", b"key", b"\xff" * 32, b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_file_that_holds_no_key_is_refused(tmp_path, content):
    (tmp_path / "identity.key").write_bytes(content)
    (tmp_path / "identity.key").chmod(0o600)

    with pytest.raises(PrivacyError, match=r"'identity\.key' is no private Ed25519 key"):
        SigningKey.load(tmp_path / "identity.key")


def test_a_key_that_is_not_there_is_said_without_its_path(tmp_path):
    with pytest.raises(PrivacyError, match=r"'identity\.key' cannot be read.*fedlego keys make") as caught:
        SigningKey.load(tmp_path / "identity.key")
    assert str(tmp_path) not in caught.value.public

    with pytest.raises(PrivacyError, match="cannot be written"):
        SigningKey.make().save(tmp_path / "nowhere" / "identity.key")


def test_a_key_does_not_show_its_secret():
    private = bytes(range(32))
    key = SigningKey(private)

    for shown in (repr(key), str(key), f"{key}", repr(vars(key))):
        assert private.hex() not in shown
        assert repr(private) not in shown


def test_documents_have_one_way_to_be_written():
    one, other = {"b": [1, "é"], "a": None}, {"a": None, "b": [1, "é"]}

    assert canonical_json(one) == canonical_json(other) == b'{"a":null,"b":[1,"\\u00e9"]}'


def test_what_is_missing_is_said_where_nothing_can_be_signed():
    script = (
        "import sys; sys.modules.update(cryptography=None);"
        "import lego_core, lego_core.cli, lego_core.roster;"
        "from lego_core.signing import SigningKey; SigningKey.make()"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "PrivacyError: Keys and signatures need the package 'cryptography'" in done.stderr
