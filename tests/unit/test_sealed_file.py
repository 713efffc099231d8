"""Sealed files: they come back as they were, with the right key, or not at all."""

import resource
import secrets
import signal
import stat
from itertools import permutations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lego_core import sealed_file
from lego_core.errors import PrivacyError
from lego_core.sealed_file import CHUNK_BYTES, HEADER_BYTES, MAGIC, SealingKey, open_sealed, seal

SECRET = bytes(range(32))
KEY = SealingKey(SECRET)
SMALL = 64  # chunks small enough to have many of
BORDERS = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 1]


@pytest.fixture(scope="module")
def small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed_file, "CHUNK_BYTES", SMALL)
        yield


@pytest.fixture
def path(tmp_path):
    return tmp_path / "it.sealed"


def opened_by_hand(written: bytes, *, about: bytes, chunk: int) -> bytes:
    """The form as it is documented, read with nothing of ours."""
    nonce, wrapped, rest = written[14:26], written[26:74], written[74:]
    cipher = AESGCM(AESGCM(SECRET).decrypt(nonce, wrapped, b"LEGO sealed 1\n" + about))
    pieces = [rest[start : start + chunk + 16] for start in range(0, len(rest), chunk + 16)]
    return b"".join(
        cipher.decrypt(number.to_bytes(11, "big") + bytes([number == len(pieces) - 1]), piece, None)
        for number, piece in enumerate(pieces)
    )


# ---- there and back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", BORDERS)
def test_files_around_the_borders_of_chunks_come_back(path, size):
    content = secrets.token_bytes(size)
    seal(content, path, key=KEY, about="a round")

    written = path.read_bytes()
    assert open_sealed(path, key=KEY, about="a round") == content
    assert opened_by_hand(written, about=b"a round", chunk=CHUNK_BYTES) == content
    assert len(written) == HEADER_BYTES + size + 16 * max(1, -(-size // CHUNK_BYTES))


@given(st.binary(max_size=4 * SMALL), st.text(max_size=9))
@example(bytes(2 * SMALL), "")
def test_any_content_comes_back(tmp_path_factory, small_chunks, content, about):
    path = tmp_path_factory.mktemp("it") / "it.sealed"
    seal(content, path, key=KEY, about=about)

    assert open_sealed(path, key=KEY, about=about) == content
    assert opened_by_hand(path.read_bytes(), about=about.encode(), chunk=SMALL) == content
    assert [one.name for one in path.parent.iterdir()] == ["it.sealed"]


def test_the_same_content_looks_different_every_time(path):
    written = set()
    for _ in range(3):
        seal(b"the same" * 9, path, key=KEY)
        written.add(path.read_bytes()[len(MAGIC) :])

    assert len(written) == 3
    assert not any(b"the same" in one for one in written)


# ---- damage --------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 3 * SMALL), st.data())
def test_any_flipped_bit_is_found(tmp_path_factory, small_chunks, size, data):
    path = tmp_path_factory.mktemp("it") / "it.sealed"
    seal(bytes(size), path, key=KEY)
    written = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(written) - 1))
    written[bit // 8] ^= 1 << bit % 8
    path.write_bytes(written)

    with pytest.raises(PrivacyError, match=r"does not open|was changed|is no sealed file"):
        open_sealed(path, key=KEY)


@given(st.integers(0, 3 * SMALL), st.data())
def test_any_shorter_or_longer_file_is_found(tmp_path_factory, small_chunks, size, data):
    path = tmp_path_factory.mktemp("it") / "it.sealed"
    seal(bytes(size), path, key=KEY)
    written = path.read_bytes()
    cut = written[: data.draw(st.integers(0, len(written) - 1))]
    longer = written + data.draw(st.binary(min_size=1, max_size=2 * SMALL))

    for other in (cut, longer):
        path.write_bytes(other)
        with pytest.raises(PrivacyError, match=r"does not open|was changed|is no sealed file"):
            open_sealed(path, key=KEY)


def test_pieces_in_another_order_or_number_are_found(path, small_chunks):
    seal(secrets.token_bytes(3 * SMALL), path, key=KEY)
    written = path.read_bytes()
    header, rest = written[:HEADER_BYTES], written[HEADER_BYTES:]
    pieces = [rest[start : start + SMALL + 16] for start in range(0, len(rest), SMALL + 16)]
    orders = [order for count in (1, 2, 3) for order in permutations(pieces, count) if list(order) != pieces]

    assert len(orders) == 14
    for order in [*orders, [*pieces, pieces[-1]], [pieces[0], *pieces]]:
        path.write_bytes(header + b"".join(order))
        with pytest.raises(PrivacyError, match="was changed, cut off or put together anew: piece"):
            open_sealed(path, key=KEY)


def test_an_empty_last_piece_behind_a_full_one_is_none_of_ours(path, small_chunks):
    cipher = AESGCM(bytes(32))
    header = MAGIC + bytes(12) + AESGCM(SECRET).encrypt(bytes(12), bytes(32), MAGIC)
    full = cipher.encrypt(bytes(12), bytes(SMALL), None)
    empty = cipher.encrypt((1).to_bytes(11, "big") + b"\x01", b"", None)
    path.write_bytes(header + full + empty)

    with pytest.raises(PrivacyError, match="piece 2 of 2 does not hold"):
        open_sealed(path, key=KEY)


def test_pieces_of_another_file_are_found(tmp_path, small_chunks):
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        seal(bytes(2 * SMALL), path, key=KEY)
    one.write_bytes(one.read_bytes()[:-80] + other.read_bytes()[-80:])

    with pytest.raises(PrivacyError, match="piece 2 of 2 does not hold"):
        open_sealed(one, key=KEY)


@pytest.mark.parametrize(("key", "about"), [(SealingKey(bytes(32)), "round 1"), (KEY, "round 2"), (KEY, "")])
def test_another_key_or_another_file_in_its_place_is_found(path, key, about):
    seal(b"weights", path, key=KEY, about="round 1")

    with pytest.raises(PrivacyError, match="does not open: the key is another one"):
        open_sealed(path, key=key, about=about)


@pytest.mark.parametrize("written", [b"", b"weights", b"LEGO sealed 2\n" + bytes(99)])
def test_what_is_no_sealed_file_is_said_without_its_path(path, written):
    path.write_bytes(written)

    with pytest.raises(PrivacyError, match=r"'it\.sealed' is no sealed file") as caught:
        open_sealed(path, key=KEY)
    assert str(path.parent) not in caught.value.public
    path.unlink()
    with pytest.raises(PrivacyError, match=r"'it\.sealed' cannot be read"):
        open_sealed(path, key=KEY)


def test_a_full_disk_leaves_what_was_there(path):
    seal(b"round 1", path, key=KEY)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(PrivacyError, match=r"'it\.sealed' cannot be written .*Make room"):
            seal(bytes(5000), path, key=KEY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    assert open_sealed(path, key=KEY) == b"round 1"
    assert [one.name for one in path.parent.iterdir()] == ["it.sealed"]


# ---- keys ----------------------------------------------------------------------------------------------


def test_a_key_comes_back_from_its_file_which_is_its_owners_alone(tmp_path, path):
    seal(b"weights", path, key=SealingKey.make(tmp_path / "disk.key"))

    assert open_sealed(path, key=SealingKey.load(tmp_path / "disk.key")) == b"weights"
    assert stat.S_IMODE((tmp_path / "disk.key").stat().st_mode) == 0o600
    with pytest.raises(PrivacyError, match=r"There is a file 'disk\.key' already"):
        SealingKey.make(tmp_path / "disk.key")


@pytest.mark.parametrize(("size", "mode"), [(31, 0o600), (33, 0o600), (0, 0o600), (32, 0o640), (32, 0o604)])
def test_what_is_no_key_of_its_owner_alone_is_refused(tmp_path, size, mode):
    (tmp_path / "disk.key").write_bytes(bytes(size))
    (tmp_path / "disk.key").chmod(mode)

    with pytest.raises(PrivacyError, match=r"'disk\.key' is not a file of 32 bytes that its owner alone"):
        SealingKey.load(tmp_path / "disk.key")


def test_a_key_does_not_show_its_secret(tmp_path):
    assert repr(SECRET) not in repr(KEY) + repr(vars(KEY))
    assert SECRET.hex() not in repr(KEY) + repr(vars(KEY))
    with pytest.raises(PrivacyError, match=r"'none\.key' cannot be read"):
        SealingKey.load(tmp_path / "none.key")
