"""Finished rounds on the coordinator's disk, open or sealed."""

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
from server.checkpoint import Vault, read_checkpoint, write_checkpoint

STATES = {
    "blood": {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)},
    "fused.all": {"weight": torch.arange(6.0).reshape(2, 3).T, "count": torch.tensor(7)},
}


@pytest.fixture
def key(tmp_path: Path) -> SealingKey:
    return SealingKey.make(tmp_path / "disk.key")


def written(vault: Vault, number: int = 1) -> Path:
    return write_checkpoint(vault, phase="blocks", round_number=number, tensors=STATES)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_round_comes_back(tmp_path, key, sealed):
    vault = Vault(tmp_path / "rounds", key if sealed else None)

    read = read_checkpoint(written(vault), key=vault.key)

    assert read.keys() == STATES.keys()
    for name, state in STATES.items():
        torch.testing.assert_close(read[name], state, rtol=0, atol=0)


def test_a_sealed_round_leaves_no_weights_on_the_disk(tmp_path, key):
    folder = written(Vault(tmp_path / "rounds", key))

    plain = STATES["blood"]["weight"].numpy().tobytes()
    assert sorted(one.name for one in folder.iterdir()) == [
        "blood.safetensors.sealed", "fused.all.safetensors.sealed",
    ]  # fmt: skip
    assert not [
        one for one in (tmp_path / "rounds").rglob("*") if one.is_file() and plain in one.read_bytes()
    ]


def test_two_rounds_are_kept(tmp_path, key):
    for number in range(1, 5):
        written(Vault(tmp_path / "rounds", key), number)

    kept = sorted(one.name for one in (tmp_path / "rounds").iterdir())
    assert kept == ["blocks-round-003", "blocks-round-004"]


def test_an_earlier_round_does_not_pass_for_a_later_one(tmp_path, key):
    first, second = (written(Vault(tmp_path / "rounds", key), number) for number in (1, 2))
    (first / "blood.safetensors.sealed").replace(second / "blood.safetensors.sealed")

    with pytest.raises(PrivacyError, match="put in the place of another file"):
        read_checkpoint(second, key=key)


def test_an_open_file_does_not_pass_where_there_is_a_key(tmp_path, key):
    opened, sealed = written(Vault(tmp_path / "open")), written(Vault(tmp_path / "sealed", key))

    with pytest.raises(RunError, match=r"'\.safetensors\.sealed' were expected with a key"):
        read_checkpoint(opened, key=key)
    with pytest.raises(RunError, match=r"'\.safetensors' were expected without a key"):
        read_checkpoint(sealed)
    with pytest.raises(RunError, match=r"holds \[\]"):
        read_checkpoint(tmp_path / "none")


def test_the_run_names_the_key(tmp_path, key):
    def context(named: str | None) -> Context:
        run_config = {"output": str(tmp_path)} | ({} if named is None else {"checkpoint-key": named})
        return Context(1, 1, {}, RecordDict(), run_config)

    assert vault_of(context(None)) == vault_of(context("")) == Vault(tmp_path / "checkpoints")
    folder = written(vault_of(context(str(tmp_path / "disk.key"))))
    assert read_checkpoint(folder, key=key).keys() == STATES.keys()
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
