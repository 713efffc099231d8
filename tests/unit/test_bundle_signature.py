"""Who vouches for a bundle: nothing is loaded that nobody who is trusted has signed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_bundle import tiny_bundle
from typer.testing import CliRunner

from lego_core import bundle, manifest
from lego_core.bundle import ModelBundle, hash_of_state
from lego_core.cli import app
from lego_core.errors import BundleError
from lego_core.manifest import SEAL, Provenance, read_manifest, sign_bundle
from lego_core.signing import SigningKey

KEY, OTHER = SigningKey(bytes([1]) * 32), SigningKey(bytes([2]) * 32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "two"
    tiny_bundle().save(folder, key=KEY)
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(saved, tmp_path / "two"))


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that may not even be looked at."""

    def touched(*_: object) -> None:
        raise AssertionError("something was read before the signature was checked")

    monkeypatch.setattr(bundle, "checked_file", touched)
    monkeypatch.setattr(manifest, "_parse_manifest", touched)


def resealed(folder: Path, change: dict[str, object]) -> None:
    """Change a manifest as an attacker would, who knows how its seal is made."""
    plain = json.loads((folder / "manifest.json").read_text()) | change
    plain.pop(SEAL)
    (folder / "manifest.json").write_text(json.dumps({**plain, SEAL: manifest._seal(plain)}, indent=1))


def test_a_signed_bundle_loads_for_who_trusts_the_signer(saved):
    loaded = ModelBundle.load(saved, trusted_keys=(OTHER.public, KEY.public))

    assert hash_of_state(loaded.models.state_dict()) == hash_of_state(tiny_bundle().models.state_dict())
    assert ModelBundle.load(saved).plan == loaded.plan


def test_a_signature_is_the_same_every_time(saved, tmp_path):
    tiny_bundle().save(tmp_path / "two", key=KEY)

    assert (tmp_path / "two" / "signature.json").read_bytes() == (saved / "signature.json").read_bytes()


def test_a_bundle_signed_by_strangers_is_refused(saved, unread):
    with pytest.raises(
        BundleError, match=r"bears 1 signatures and none of the 1 keys .*Nothing of it was lo"
    ):
        ModelBundle.load(saved, trusted_keys=[OTHER.public])


def test_a_bundle_without_a_signature_is_refused(copied, unread):
    (copied / "signature.json").unlink()

    with pytest.raises(BundleError, match=r"Bundle 'two' bears 0 signatures"):
        ModelBundle.load(copied, trusted_keys=[KEY.public])


def test_a_manifest_changed_with_its_seal_is_refused_where_a_key_is_trusted(copied):
    resealed(copied, {"versions": {"lego_core": "9"}})

    assert read_manifest(copied).versions == {"lego_core": "9"}  # hashes alone do not show an attacker
    with pytest.raises(BundleError, match=f"signature of key {KEY.public[:12]}… does not hold"):
        ModelBundle.load(copied, trusted_keys=[KEY.public])


def test_weights_changed_with_manifest_and_seal_are_refused(copied, tmp_path, unread):
    other = tiny_bundle()
    with torch.no_grad():
        next(iter(other.models.parameters())).add_(1)
    other.save(tmp_path / "other")
    shutil.copy(copied / "signature.json", tmp_path / "other")

    with pytest.raises(BundleError, match="does not hold"):
        ModelBundle.load(tmp_path / "other", trusted_keys=[KEY.public])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(bit=st.integers(0, 511))
def test_a_forged_signature_is_refused(copied, unread, bit):
    plain = json.loads((copied / "signature.json").read_text())
    forged = dict(
        plain, signatures={KEY.public: f"{int(plain['signatures'][KEY.public], 16) ^ (1 << bit):0128x}"}
    )
    (copied / "signature.json").write_text(json.dumps(forged))

    with pytest.raises(BundleError, match="does not hold"):
        ModelBundle.load(copied, trusted_keys=[KEY.public])

    (copied / "signature.json").write_text(json.dumps(plain))


def test_a_signature_of_the_same_bytes_for_another_use_is_refused(copied, unread):
    other_use = KEY.sign((copied / "manifest.json").read_bytes(), tag="roster")
    (copied / "signature.json").write_text(json.dumps({"format": 1, "signatures": {KEY.public: other_use}}))

    with pytest.raises(BundleError, match="does not hold"):
        ModelBundle.load(copied, trusted_keys=[KEY.public])


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "3", '{"signatures": 3}', '{"format": 2}'])
def test_a_file_of_signatures_that_is_none_is_said(copied, unread, content):
    (copied / "signature.json").write_text(content)

    with pytest.raises(
        BundleError, match=r"(signature\.json cannot be read)|(^signature\.json of bundle 'two')"
    ):
        ModelBundle.load(copied, trusted_keys=[KEY.public])


# ---- signing what is there -----------------------------------------------------------------------------


def test_several_vouch_for_one_bundle(copied):
    before = (copied / "manifest.json").read_bytes()
    sign_bundle(copied, key=OTHER)
    sign_bundle(copied, key=OTHER)

    for key in (KEY, OTHER):
        ModelBundle.load(copied, trusted_keys=[key.public])
    assert (copied / "manifest.json").read_bytes() == before
    assert len(list(copied.iterdir())) == 5


def test_nobody_signs_what_does_not_hold(copied):
    (copied / "card.md").write_text("We are the best.")
    with pytest.raises(BundleError, match=r"file 'card\.md' has hash"):
        sign_bundle(copied, key=OTHER)

    shutil.rmtree(copied)
    tiny_bundle().save(copied, key=KEY)
    resealed(copied, {"versions": {}})
    with pytest.raises(BundleError, match=f"signature of key {KEY.public[:12]}… does not hold"):
        sign_bundle(copied, key=OTHER)


def test_commands_sign_and_verify(copied, tmp_path):
    def fedlego(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(words))
        return done.exit_code, done.output

    OTHER.save(tmp_path / "own.key")

    assert fedlego("verify", str(copied), "--key", OTHER.public)[0] == 2
    code, said = fedlego("sign", str(copied), "--key", str(tmp_path / "own.key"))
    assert (code, OTHER.public in said) == (0, True)
    code, said = fedlego("verify", str(copied), "--key", OTHER.public)
    assert code == 0
    assert f"signed by {OTHER.public}" in said
    assert f"not checked: a signature of {KEY.public}" in said


# ---- what the manifest tells of the run's records ------------------------------------------------------


def test_heads_and_roster_come_back_and_are_signed(tmp_path):
    told = Provenance(roster_sha256="a" * 64, run_log_head="b" * 64, ledger_heads={"north": "c" * 64})
    replace(tiny_bundle(), provenance=told).save(tmp_path / "two", key=KEY)

    assert ModelBundle.load(tmp_path / "two", trusted_keys=[KEY.public]).provenance == told
    resealed(tmp_path / "two", {"provenance": told.model_copy(update={"run_log_head": "d" * 64}).to_plain()})
    with pytest.raises(BundleError, match="does not hold"):
        read_manifest(tmp_path / "two", trusted_keys=[KEY.public])


def test_a_manifest_without_them_reads_as_before(saved):
    assert "provenance" not in json.loads((saved / "manifest.json").read_text())
    assert ModelBundle.load(saved).provenance is None
