"""`join` and `approve`: keys are made at the site, and a request is believed only if it holds."""

import json
from argparse import Namespace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from flwr.cli.supernode.register import try_load_public_key
from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication
from provisioning import ask, call, contents, done, found, member, refused, rights, secret_forms, secrets_of

from client.site import read_site_file
from deploy import _files
from deploy.coordinator import Coordinator
from deploy.node_key import make_node_key
from deploy.request import JoinRequest, SignedRequest, read_request
from lego_core.roster import read_signed_roster
from lego_core.signing import SigningKey


@pytest.fixture
def coordinator(tmp_path: Path) -> Path:
    return found(tmp_path / "coordinator")


def forged(path: Path, **changes: object) -> Path:
    """A request with keys changed in its text, as somebody on its way could."""
    plain = json.loads(path.read_text())
    for key, value in changes.items():
        part = plain["request"] if key in plain["request"] else plain
        part[key] = value
    path.write_text(json.dumps(plain))
    return path


def request_with(coordinator: Path, path: Path, *, site: str, identity: SigningKey, node: tuple[bytes, str]):
    """The request of a site that chose its keys itself."""
    federation = Coordinator.open(coordinator).federation
    asked = JoinRequest(
        federation=federation.name,
        authority=federation.authority,
        site=site,
        identity_key=identity.public,
        node_key=node[1],
        made_on="2026-01-01",  # type: ignore[arg-type]
    )
    path.write_bytes(SignedRequest.of(asked, identity=identity, node=node[0]).to_json())
    return path


# ---- at the site ---------------------------------------------------------------------------------------


def test_flowers_own_loader_takes_the_node_key(coordinator, tmp_path):
    member(coordinator, tmp_path / "north", site="north")
    words = Namespace(
        auth_supernode_private_key=str(tmp_path / "north" / "node.key"), auth_supernode_public_key=None
    )

    private, public = _try_setup_client_authentication(words) or (None, None)

    assert private is not None
    assert public is not None
    assert isinstance(private.curve, ec.SECP384R1)
    registered = serialization.load_pem_public_key(try_load_public_key(coordinator / "sites/north/node.pub"))
    assert registered == public


def test_the_site_file_is_one_that_a_site_reads(coordinator, tmp_path):
    ask(coordinator, tmp_path / "north", site="north")

    file = read_site_file(tmp_path / "north" / "site.toml")

    federation = Coordinator.open(coordinator).federation
    assert file.name == "north"
    assert file.rules.privacy == ("secure-sum", "patient-dp")
    assert file.split is not None
    assert file.split_seed is not None
    assert file.identity is not None
    assert file.identity.governance_keys == federation.governance_keys
    key = file.identity.signing_key(tmp_path / "north")
    assert key.public == read_request(tmp_path / "north" / "request.json").request.identity_key


def test_two_sites_do_not_split_by_the_same_seed(coordinator, tmp_path):
    for name in ("north", "south"):
        ask(coordinator, tmp_path / name, site=name)

    seeds = [read_site_file(tmp_path / name / "site.toml").split_seed for name in ("north", "south")]

    assert seeds[0] != seeds[1]


def test_nothing_secret_leaves_the_site(coordinator, tmp_path):
    words = ("join", tmp_path / "north", "--site", "north", "--federation", coordinator / "federation.toml")
    said = done(*words).encode()
    said += done("approve", coordinator, tmp_path / "north" / "request.json", "--yes").encode()
    left = [(tmp_path / "north" / "request.json").read_bytes(), *contents(coordinator).values()]

    for secret in secrets_of(tmp_path / "north"):
        assert secret not in said
        assert not any(secret in content for content in left)


def test_the_search_for_secrets_finds_one(coordinator, tmp_path):
    ask(coordinator, tmp_path / "north", site="north")
    for name in ("node.key", "identity.key"):
        path = tmp_path / "north" / name
        assert any(form in path.read_bytes() for form in secret_forms(path))


def test_the_site_alone_may_use_its_folder(coordinator, tmp_path):
    ask(coordinator, tmp_path / "north", site="north")

    assert set(rights(tmp_path / "north").values()) == {"drwx------", "-rw-------"}


def test_keys_are_never_written_over(coordinator, tmp_path):
    ask(coordinator, tmp_path / "north", site="north")
    before = contents(tmp_path / "north")

    said = refused(
        "join", tmp_path / "north", "--site", "north", "--federation", coordinator / "federation.toml"
    )

    assert "something at 'north' already" in said
    assert contents(tmp_path / "north") == before


@pytest.mark.parametrize("site", ["", "north/..", ".north", "no rth", "n" * 65, "north;rm"])
def test_a_name_that_cannot_be_is_refused(coordinator, tmp_path, site):
    said = refused("join", tmp_path / "n", "--site", site, "--federation", coordinator / "federation.toml")

    assert "key 'site'" in said
    assert not (tmp_path / "n").exists()


# ---- at the coordinator --------------------------------------------------------------------------------


def test_an_approved_site_stands_on_a_roster_that_those_who_govern_signed(coordinator, tmp_path):
    member(coordinator, tmp_path / "north", site="north")

    signed = read_signed_roster(coordinator / "roster.json")

    asked = read_request(tmp_path / "north" / "request.json").request
    assert [(one.site, one.public_key) for one in signed.roster.entries] == [("north", asked.identity_key)]
    assert all(signed.signed_by(key) for key in Coordinator.open(coordinator).federation.governance_keys)


def test_both_sides_are_shown_the_same_fingerprint(coordinator, tmp_path):
    words = ("join", tmp_path / "north", "--site", "north", "--federation", coordinator / "federation.toml")
    fingerprint = read_request_after(words, tmp_path / "north").fingerprint

    said = done("approve", coordinator, tmp_path / "north" / "request.json", answer="y\n")

    assert fingerprint in said
    assert len(fingerprint.split()) == 8


def read_request_after(words: tuple, folder: Path) -> JoinRequest:
    said = done(*words)
    asked = read_request(folder / "request.json").request
    assert asked.fingerprint in said
    return asked


def test_without_a_yes_nothing_is_changed(coordinator, tmp_path):
    request = ask(coordinator, tmp_path / "north", site="north")
    before = contents(coordinator)

    assert call("approve", coordinator, request, answer="n\n").exit_code == 1
    assert contents(coordinator) == before


def test_the_command_for_flower_is_told(coordinator, tmp_path):
    request = ask(coordinator, tmp_path / "north", site="north")

    said = done("approve", coordinator, request, "--yes")

    assert f"python -m deploy coordinator register {coordinator}" in said


def test_the_same_request_twice_changes_nothing(coordinator, tmp_path):
    north = member(coordinator, tmp_path / "north", site="north")
    before = contents(coordinator)

    assert "approved already" in done("approve", coordinator, north / "request.json")
    assert contents(coordinator) == before


def test_an_approval_that_was_cut_off_is_finished_by_the_next(coordinator, tmp_path):
    north = member(coordinator, tmp_path / "north", site="north")
    (coordinator / "roster.json").unlink()

    done("approve", coordinator, north / "request.json", "--yes")

    assert [one.site for one in Coordinator.open(coordinator).entries()] == ["north"]


def test_a_second_site_leaves_the_firsts_files_alone(coordinator, tmp_path):
    member(coordinator, tmp_path / "north", site="north")
    before = contents(coordinator)

    member(coordinator, tmp_path / "south", site="south")

    after = contents(coordinator)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"roster.json"}
    assert set(after) - set(before) == {"sites/south/request.json", "sites/south/node.pub"}


# ---- what is refused -----------------------------------------------------------------------------------


def test_a_name_that_is_taken_is_refused(coordinator, tmp_path):
    member(coordinator, tmp_path / "north", site="north")
    request = ask(coordinator, tmp_path / "again", site="north")

    said = refused("approve", coordinator, request, "--yes")

    assert "There is a site 'north' already" in said
    assert "python -m deploy leave" in said


@pytest.mark.parametrize("shared", ["identity", "node"])
def test_one_key_for_two_sites_is_refused(coordinator, tmp_path, shared):
    identity, node = SigningKey.make(), make_node_key()
    first = request_with(coordinator, tmp_path / "1.json", site="north", identity=identity, node=node)
    done("approve", coordinator, first, "--yes")
    second = request_with(
        coordinator,
        tmp_path / "2.json",
        site="south",
        identity=identity if shared == "identity" else SigningKey.make(),
        node=node if shared == "node" else make_node_key(),
    )

    said = refused("approve", coordinator, second, "--yes")

    assert f"The {shared} key of site 'south' is that of site 'north' too" in said
    assert list(Coordinator.open(coordinator).sites()) == ["north"]


def test_a_key_of_those_who_govern_is_no_sites_key(coordinator, tmp_path):
    governor = SigningKey.load(coordinator / "secrets" / "governance-1.key")
    request = request_with(
        coordinator, tmp_path / "r.json", site="north", identity=governor, node=make_node_key()
    )

    assert "that of the federation itself too" in refused("approve", coordinator, request, "--yes")


@pytest.mark.parametrize("position", range(0, 400, 37))
def test_no_changed_byte_gets_through(coordinator, tmp_path, position):
    request = ask(coordinator, tmp_path / "north", site="north")
    content = bytearray(request.read_bytes())
    at = position % len(content)
    content[at] = content[at] ^ 1
    request.write_bytes(content)
    before = contents(coordinator)

    result = call("approve", coordinator, request, "--yes")

    assert result.exit_code == 2
    assert contents(coordinator) == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"site": "south"}, "not signed by its identity and node key"),
        ({"identity-proof": "ab" * 64}, "not signed by its identity key"),
        ({"node-proof": "ab" * 64}, "not signed by its node key"),
        ({"federation": "kidney"}, "is for federation 'kidney'"),
        ({"authority": "0" * 64}, "with authority 0000000000000000…"),
        ({"identity-key": "0" * 64}, "no Ed25519 public key"),
        ({"format": 2}, "key 'request.format'"),
        ({"site": "../../etc"}, "key 'request.site'"),
    ],
)
def test_a_forged_request_is_told_what_is_wrong_with_it(coordinator, tmp_path, change, sentence):
    request = forged(ask(coordinator, tmp_path / "north", site="north"), **change)

    assert sentence in refused("approve", coordinator, request, "--yes")


def ssh_line(key: object) -> str:
    encoding, form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(encoding, form).decode()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (ssh_line(ed25519.Ed25519PrivateKey.generate()), "a key of another kind"),
        (ssh_line(rsa.generate_private_key(65537, 2048)), "a key of another kind"),
        ("ecdsa-sha2-nistp192 AAAAE2VjZHNhLXNoYTItbmlzdHAxOTIAAAAIbmlzdHAxOTI=", "on a curve that is safe"),
        ("not a key", "on a curve that is safe"),
        (f"{make_node_key()[1]} somebody@somewhere", "has a comment or blanks"),
    ],
    ids=["ed25519", "rsa", "short-curve", "no-key", "comment"],
)
def test_a_node_key_that_flower_or_we_would_not_take_is_refused(coordinator, tmp_path, line, sentence):
    request = forged(ask(coordinator, tmp_path / "north", site="north"), **{"node-key": line})

    assert sentence in refused("approve", coordinator, request, "--yes")


def test_a_request_that_is_none_is_refused(coordinator, tmp_path):
    request = tmp_path / "request.json"
    for content, sentence in ((b"\xff{", "is not JSON"), (b"{}", "key 'request'"), (b"[" * 9999, "not JSON")):
        request.write_bytes(content)
        assert sentence in refused("approve", coordinator, request, "--yes")
    request.write_bytes(b" " * (_files.MOST_BYTES + 1))
    assert "larger than" in refused("approve", coordinator, request, "--yes")
    assert "cannot be read" in refused("approve", coordinator, tmp_path / "nothing.json", "--yes")


def test_two_commands_at_once_do_not_lose_a_site(coordinator, tmp_path):
    request = ask(coordinator, tmp_path / "north", site="north")

    with _files.alone_in(coordinator):
        said = refused("approve", coordinator, request, "--yes")

    assert "Another command is changing 'coordinator' right now" in said


def test_those_who_govern_elsewhere_sign_afterwards(tmp_path):
    governors = [SigningKey.make() for _ in range(2)]
    named = [word for key in governors for word in ("--governance-key", key.public)]
    coordinator = found(tmp_path / "coordinator", *named)
    north = ask(coordinator, tmp_path / "north", site="north")

    said = done("approve", coordinator, north, "--yes")

    assert "bears 0 of the 2 signatures it needs" in said
    assert "fedlego roster sign" in said
    assert "0 of the 2" in refused("kit", coordinator, "north", "--output", tmp_path / "kit")
    signed = read_signed_roster(coordinator / "roster.json")
    for key in governors:
        signed = signed.signed_with(key)
    signed.save(coordinator / "roster.json")
    done("kit", coordinator, "north", "--output", tmp_path / "kit")
