"""`init`: what the coordinator's folder holds, who may read it, and what is refused."""

import json
import os
from pathlib import Path

import pytest
from provisioning import HOST, call, contents, done, found, refused, rights, secrets_of

from deploy.certificates import fingerprint, names_in, read_certificate
from deploy.coordinator import Coordinator
from deploy.federation import read_federation
from lego_core.signing import SigningKey


@pytest.fixture
def coordinator(tmp_path: Path) -> Path:
    return found(tmp_path / "coordinator")


def test_the_folder_describes_itself(coordinator):
    federation = read_federation(coordinator / "federation.toml")
    authority = read_certificate((coordinator / "ca.crt").read_bytes(), what="ca.crt")

    assert federation.hosts == (HOST, "192.0.2.7")
    assert federation.address == f"{HOST}:8443"
    assert federation.authority == fingerprint(authority)
    assert federation.bundle_key == SigningKey.load(coordinator / "secrets" / "bundle.key").public
    keys = [SigningKey.load(coordinator / "secrets" / f"governance-{n}.key").public for n in (1, 2)]
    assert list(federation.governance_keys) == keys
    assert json.loads((coordinator / "governance.json").read_text()) == {"keys": keys, "needed": 2}
    assert federation.governance_needed == 2


def test_its_owner_alone_may_use_anything_in_it(coordinator):
    assert set(rights(coordinator).values()) == {"drwx------", "-rw-------"}


def test_nothing_secret_is_said_or_lies_outside_the_folder_of_secrets(tmp_path):
    said = done("init", tmp_path / "c", "--name", "liver", "--host", HOST).encode()
    public = [content for name, content in contents(tmp_path / "c").items() if "secrets/" not in name]

    for secret in secrets_of(tmp_path / "c"):
        assert secret not in said
        assert not any(secret in content for content in public)


def test_the_secret_of_superexec_is_long_and_never_the_same(tmp_path):
    made = {(found(tmp_path / name) / "secrets" / "superexec.secret").read_bytes() for name in "ab"}

    assert len(made) == 2
    assert all(len(secret) == 64 for secret in made)


def test_people_who_govern_may_keep_their_keys_to_themselves(tmp_path):
    theirs = [SigningKey.make().public for _ in range(3)]
    named = [word for key in theirs for word in ("--governance-key", key)]

    coordinator = found(tmp_path / "c", *named)

    federation = read_federation(coordinator / "federation.toml")
    assert list(federation.governance_keys) == theirs
    assert federation.governance_needed == 2
    assert list((coordinator / "secrets").glob("governance*")) == []


def test_nothing_is_written_over(coordinator):
    before = contents(coordinator)

    said = refused("init", coordinator, "--name", "other", "--host", HOST)

    assert "something at 'coordinator' already" in said
    assert "Choose another folder" in said
    assert contents(coordinator) == before


def test_an_empty_folder_may_be_there(tmp_path):
    (tmp_path / "c").mkdir(mode=0o755)

    assert set(rights(found(tmp_path / "c")).values()) == {"drwx------", "-rw-------"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--host", "https://fl.example.org"], "neither a name that DNS could know nor an IP address"),
        (["--host", "*.example.org"], "neither a name that DNS could know nor an IP address"),
        (["--host", "10.0.0.256"], "neither a name that DNS could know nor an IP address"),
        (["--host", HOST, "--host", HOST.upper()], "names 'fl.example.org' twice"),
        (["--host", HOST, "--port", "0"], "key 'port'"),
        (["--host", HOST, "--port", "8500"], "port and superlink-port are both 8500"),
        (["--host", HOST, "--governance", "1", "--needed", "2"], "ask for fewer signatures"),
        (["--host", HOST, "--governance", "0"], "a roster needs one signature at least"),
        (["--host", HOST, "--governance-key", "ab" * 32], "no Ed25519 public key"),
        (["--host", HOST, "--name", "../up"], "key 'name'"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing_behind(tmp_path, words, sentence):
    assert sentence in refused("init", tmp_path / "c", "--name", "liver", *words)
    assert list(tmp_path.iterdir()) == []


def test_hosts_are_kept_in_the_one_way_to_write_them(tmp_path):
    done("init", tmp_path / "c", "--name", "liver", "--host", "FL.Example.ORG", "--host", "2001:DB8:0::1")

    opened = Coordinator.open(tmp_path / "c")

    assert opened.federation.hosts == (HOST, "2001:db8::1")
    assert names_in(opened.server_certificate) == [HOST, "localhost", "2001:db8::1", "127.0.0.1"]


@pytest.mark.parametrize("name", ["authority.key", "server.key", "superexec.secret", "governance-1.key"])
def test_a_secret_that_others_may_read_stops_every_command(coordinator, name):
    (coordinator / "secrets" / name).chmod(0o640)

    said = refused("renew", coordinator)

    assert f"'{name}' may be used by others than its owner (its rights are 640)" in said
    assert "chmod 600" in said


def test_so_does_a_folder_of_secrets_that_others_may_enter(coordinator):
    (coordinator / "secrets").chmod(0o755)

    assert "chmod 700" in refused("renew", coordinator)


def test_parts_of_two_federations_do_not_go_together(coordinator, tmp_path):
    other = found(tmp_path / "other")
    (coordinator / "ca.crt").write_bytes((other / "ca.crt").read_bytes())

    said = refused("renew", coordinator)

    assert "one of them is of another federation" in said
    assert Coordinator.open(other).federation.authority[:16] in said


def test_a_folder_that_is_none_is_named(tmp_path):
    said = refused("renew", tmp_path)

    assert "'federation.toml' cannot be read (No such file or directory)" in said


def test_a_full_disk_or_a_missing_right_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    said = refused("init", tmp_path / "c", "--name", "liver", "--host", HOST)

    assert "cannot be written (No space left on device)" in said
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_command():
    said = call("--help").output

    assert all(name in said for name in ("init", "join", "approve", "leave", "revoke", "renew", "kit"))


def test_folders_are_private_whatever_the_umask_says(tmp_path, monkeypatch):
    before = os.umask(0o000)
    try:
        folder = found(tmp_path / "c")
    finally:
        os.umask(before)

    assert set(rights(folder).values()) == {"drwx------", "-rw-------"}
