"""Checkpoints on the coordinator's disk: open or sealed, whole or passed over."""

import errno
import os
from pathlib import Path

import pytest
import torch
from flwr.app import Context, RecordDict
from safetensors.torch import load_file
from typer.testing import CliRunner

from lego_core.cli import app as fedlego
from lego_core.errors import PrivacyError, RunError
from lego_core.sealed_file import SealingKey
from server.app import vault_of
from server.checkpoint import Vault, newest, read_checkpoint, write_checkpoint

STATES = {
    "blood": {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)},
    "fused.all": {"weight": torch.arange(6.0).reshape(2, 3).T, "count": torch.tensor(7)},
}


@pytest.fixture
def key(tmp_path: Path) -> SealingKey:
    return SealingKey.make(tmp_path / "disk.key")


def written(vault: Vault, number: int = 1) -> Path:
    return write_checkpoint(
        vault, number=number, about=f"blocks-round-{number:03d}", state={"number": number}, tensors=STATES
    )


@pytest.mark.parametrize("sealed", [False, True])
def test_a_checkpoint_comes_back(tmp_path, key, sealed):
    vault = Vault(tmp_path / "rounds", key if sealed else None)

    read = read_checkpoint(written(vault, 7), key=vault.key)

    assert (read.name, read.state) == ("0007-blocks-round-007", {"number": 7})
    assert read.tensors.keys() == STATES.keys()
    for name, state in STATES.items():
        torch.testing.assert_close(read.tensors[name], state, rtol=0, atol=0)


def test_a_sealed_checkpoint_leaves_no_weights_on_the_disk(tmp_path, key):
    folder = written(Vault(tmp_path / "rounds", key))

    plain = STATES["blood"]["weight"].numpy().tobytes()
    assert sorted(one.name for one in folder.iterdir()) == [
        "blood.safetensors.sealed", "checkpoint.json.sealed", "fused.all.safetensors.sealed",
    ]  # fmt: skip
    assert not [
        one for one in (tmp_path / "rounds").rglob("*") if one.is_file() and plain in one.read_bytes()
    ]


def test_equal_tensors_are_written_once(tmp_path):
    tensors = {"blood": STATES["blood"], "blood@best": dict(STATES["blood"])}
    folder = write_checkpoint(Vault(tmp_path), number=1, about="begun", state={}, tensors=tensors)

    assert sorted(one.name for one in folder.iterdir()) == ["blood.safetensors", "checkpoint.json"]
    read = read_checkpoint(folder).tensors
    torch.testing.assert_close(read["blood"], read["blood@best"], rtol=0, atol=0)


def test_two_checkpoints_are_kept(tmp_path, key):
    for number in range(1, 5):
        written(Vault(tmp_path / "rounds", key), number)

    kept = sorted(one.name for one in (tmp_path / "rounds").iterdir())
    assert kept == ["0003-blocks-round-003", "0004-blocks-round-004"]


def test_a_new_run_drops_what_an_earlier_one_has_left(tmp_path):
    for name in ("0014-blocks-round-012", "0015-blocks-round-013", ".0016-merged.unfinished"):
        (tmp_path / "rounds" / name).mkdir(parents=True)

    written(Vault(tmp_path / "rounds"))

    assert [one.name for one in (tmp_path / "rounds").iterdir()] == ["0001-blocks-round-001"]


def changed_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("damage", [changed_byte, cut_in_half, Path.unlink])
@pytest.mark.parametrize("name", ["checkpoint.json", "blood.safetensors"])
@pytest.mark.parametrize("sealed", [False, True])
def test_of_two_checkpoints_the_last_that_holds_is_read(tmp_path, key, sealed, name, damage):
    vault = Vault(tmp_path / "rounds", key if sealed else None)
    written(vault, 1)
    damage(written(vault, 2) / f"{name}{'.sealed' if sealed else ''}")

    found, damaged = newest(vault)

    assert found is not None
    assert found.name == "0001-blocks-round-001"
    assert list(damaged) == ["0002-blocks-round-002"]
    assert name in damaged["0002-blocks-round-002"]


@pytest.mark.parametrize("sealed", [False, True])
def test_a_full_disk_leaves_the_checkpoint_before_as_it_was(tmp_path, key, sealed, monkeypatch):
    vault = Vault(tmp_path / "rounds", key if sealed else None)
    written(vault, 1)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            RunError, match=r"'0002-.*' cannot be written \(.*No space left.*\)\. The one before"
        ):
            written(vault, 2)

    assert [one.name for one in (tmp_path / "rounds").iterdir()] == ["0001-blocks-round-001"]
    found, damaged = newest(vault)
    assert found is not None
    assert not damaged


def test_an_earlier_round_does_not_pass_for_a_later_one(tmp_path, key):
    first, second = (written(Vault(tmp_path / "rounds", key), number) for number in (1, 2))
    (first / "blood.safetensors.sealed").replace(second / "blood.safetensors.sealed")

    with pytest.raises(PrivacyError, match="put in the place of another file"):
        read_checkpoint(second, key=key)


def test_an_open_file_does_not_pass_where_there_is_a_key(tmp_path, key):
    opened, sealed = written(Vault(tmp_path / "open")), written(Vault(tmp_path / "sealed", key))

    with pytest.raises(RunError, match=r"files that end with '\.sealed' were expected with a key"):
        read_checkpoint(opened, key=key)
    with pytest.raises(RunError, match=r"files that do not end with '\.sealed' were expected without a key"):
        read_checkpoint(sealed)
    with pytest.raises(RunError, match=r"holds \[\]"):
        read_checkpoint(tmp_path / "none")


def test_the_run_names_the_key(tmp_path, key):
    def context(named: str | None) -> Context:
        run_config = {"output": str(tmp_path)} | ({} if named is None else {"checkpoint-key": named})
        return Context(1, 1, {}, RecordDict(), run_config)

    assert vault_of(context(None)) == vault_of(context("")) == Vault(tmp_path / "checkpoints")
    folder = written(vault_of(context(str(tmp_path / "disk.key"))))
    assert read_checkpoint(folder, key=key).tensors.keys() == STATES.keys()
    with pytest.raises(PrivacyError, match=r"'none\.key' cannot be read"):
        vault_of(context(str(tmp_path / "none.key")))


def test_the_owner_of_the_key_opens_a_round_from_the_command_line(tmp_path):
    key, out = str(tmp_path / "own.key"), tmp_path / "open.safetensors"
    made = CliRunner().invoke(fedlego, ["keys", "make-sealing", key])
    folder = written(Vault(tmp_path / "rounds", SealingKey.load(Path(key))))
    sealed = str(folder / "fused.all.safetensors.sealed")

    done = CliRunner().invoke(fedlego, ["keys", "unseal", sealed, "--key", key, "--output", str(out)])

    assert (made.exit_code, done.exit_code) == (0, 0), done.output
    torch.testing.assert_close(load_file(out), STATES["fused.all"], rtol=0, atol=0)
