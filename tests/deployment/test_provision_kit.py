"""`kit`: what a site gets; the same for the same state, and nothing in it is secret."""

import hashlib
import shlex
import shutil
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from provisioning import HOST, contents, done, found, member, refused, secrets_of

from client.identity import Identity
from deploy.unit_file import UNIT
from lego_core.roster import read_roster

SYSTEMD = shutil.which("systemd-analyze")


@pytest.fixture
def coordinator(tmp_path: Path) -> Path:
    folder = found(tmp_path / "coordinator")
    member(folder, tmp_path / "north", site="north")
    return folder


def kit(coordinator: Path, output: Path, *more: object, site: str = "north") -> Path:
    done("kit", coordinator, site, "--output", output, *more)
    return output


def program(unit: Path) -> list[str]:
    """The words of a unit's ExecStart, as systemd passes them on."""
    text = unit.read_text().replace("\\\n", " ")
    line = next(one for one in text.splitlines() if one.startswith("ExecStart="))
    return shlex.split(line.removeprefix("ExecStart="))


def test_it_holds_what_a_site_needs(coordinator, tmp_path):
    files = contents(kit(coordinator, tmp_path / "kit"))

    assert set(files) == {
        "README.md",
        "SHA256SUMS",
        "ca.crt",
        "federation.toml",
        "governance.json",
        "lego-supernode.service",
        "roster.json",
        "site-additions.toml",
    }
    assert files["ca.crt"] == (coordinator / "ca.crt").read_bytes()
    assert files["governance.json"] == (coordinator / "governance.json").read_bytes()
    assert files["federation.toml"] == (tmp_path / "north" / "federation.toml").read_bytes()


def test_a_site_believes_its_roster(coordinator, tmp_path):
    folder = kit(coordinator, tmp_path / "kit")
    additions = tomllib.loads((folder / "site-additions.toml").read_text())
    identity = Identity.model_validate(additions["identity"])

    roster = read_roster(
        folder / identity.roster,
        governance_keys=identity.governance_keys,
        needed=identity.governance_needed,
        today=datetime.now(UTC).date(),
    )

    assert [one.site for one in roster.entries] == ["north"]


def test_the_checksums_hold(coordinator, tmp_path):
    folder = kit(coordinator, tmp_path / "kit")

    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)

    assert set(sums) == set(contents(folder)) - {"SHA256SUMS", "roster.json"}
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == sums[name] for name in sums)


def test_the_same_state_gives_the_same_bytes(coordinator, tmp_path):
    assert contents(kit(coordinator, tmp_path / "one")) == contents(kit(coordinator, tmp_path / "two"))


def test_another_sites_approval_changes_the_roster_and_nothing_else(coordinator, tmp_path):
    before = contents(kit(coordinator, tmp_path / "before"))

    member(coordinator, tmp_path / "south", site="south")

    after = contents(kit(coordinator, tmp_path / "after"))
    assert {name for name in before if before[name] != after[name]} == {"roster.json"}


@pytest.mark.parametrize("command", ["leave", "revoke"])
def test_neither_does_another_sites_departure(coordinator, tmp_path, command):
    member(coordinator, tmp_path / "south", site="south")
    before = contents(kit(coordinator, tmp_path / "before"))

    done(command, coordinator, "south")

    after = contents(kit(coordinator, tmp_path / "after"))
    assert {name for name in before if before[name] != after[name]} == {"roster.json"}


def test_renewing_the_certificate_changes_no_sites_kit(coordinator, tmp_path):
    before = contents(kit(coordinator, tmp_path / "before"))
    certificate = (coordinator / "server.pem").read_bytes()

    done("renew", coordinator)

    assert (coordinator / "server.pem").read_bytes() != certificate
    assert contents(kit(coordinator, tmp_path / "after")) == before


def test_nothing_in_it_is_secret(coordinator, tmp_path):
    files = contents(kit(coordinator, tmp_path / "kit")).values()

    for secret in secrets_of(coordinator, tmp_path / "north"):
        assert not any(secret in content for content in files)


# ---- the unit file -------------------------------------------------------------------------------------


def test_the_unit_starts_the_node_that_runs_approved_code_alone(coordinator, tmp_path):
    words = program(kit(coordinator, tmp_path / "kit", "--runtime-port", "9123") / UNIT)

    home = "/srv/lego/north"
    assert words == [
        f"{home}/venv/bin/python", "-m", "deploy", "site", "start", home, "--runtime-port", "9123",
    ]  # fmt: skip


def test_the_node_waits_until_flower_takes_its_key_again(coordinator, tmp_path):
    unit = (kit(coordinator, tmp_path / "kit") / UNIT).read_text().splitlines()

    assert {"Restart=always", "RestartSec=75", "StartLimitIntervalSec=0"} <= set(unit)


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_unit(coordinator, tmp_path):
    home = tmp_path / "home"
    (home / "venv" / "bin").mkdir(parents=True)
    (home / "venv" / "bin" / "python").touch(mode=0o755)
    (home / "lego-federation").mkdir()
    unit = kit(coordinator, tmp_path / "kit", "--home", home) / UNIT

    checked = subprocess.run(
        [str(SYSTEMD), "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )

    complaints = [line for line in checked.stderr.splitlines() if UNIT in line]
    assert (checked.returncode, complaints) == (0, []), checked.stderr


@pytest.mark.parametrize("home", ["srv/lego", "/srv/le go", "/srv/%h", '/srv/"x"', "/srv/$(id)", "/srv/x\ny"])
def test_a_folder_that_systemd_would_read_otherwise_is_refused(coordinator, tmp_path, home):
    said = refused("kit", coordinator, "north", "--output", tmp_path / "kit", "--home", home)

    assert "systemd and Flower would read that otherwise" in said
    assert not (tmp_path / "kit").exists()


# ---- what is refused -----------------------------------------------------------------------------------


def test_a_site_that_was_not_approved_gets_none(coordinator, tmp_path):
    said = refused("kit", coordinator, "south", "--output", tmp_path / "kit")

    assert "There is no site 'south'; there are ['north']" in said


def test_a_kit_is_never_written_over(coordinator, tmp_path):
    kit(coordinator, tmp_path / "kit")

    assert "something at 'kit' already" in refused("kit", coordinator, "north", "--output", tmp_path / "kit")


def test_a_name_that_the_certificate_lacks_is_seen_before_a_site_is(coordinator, tmp_path):
    file = coordinator / "federation.toml"
    file.write_text(file.read_text().replace(HOST, "new.example.org"))

    said = refused("kit", coordinator, "north", "--output", tmp_path / "kit")

    assert f"counts for {HOST}" in said
    assert "'new.example.org' is none of these" in said
    done("renew", coordinator)
    assert "new.example.org:8443" in (kit(coordinator, tmp_path / "kit") / "README.md").read_text()


def test_a_roster_that_was_changed_by_hand_goes_to_nobody(coordinator, tmp_path):
    file = coordinator / "roster.json"
    file.write_text(file.read_text().replace('"north"', '"nord"'))

    said = refused("kit", coordinator, "north", "--output", tmp_path / "kit")

    assert "bears 0 of the 2 signatures" in said
