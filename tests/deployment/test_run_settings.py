"""What a run reads from the coordinator's folder, and what a hospital reads from its own."""

from pathlib import Path

import pytest
from flwr.app import Context, RecordDict
from provisioning import done, found, member

from client.site import read_site_file
from deploy._terminal import today
from lego_core.errors import PrivacyError
from lego_core.signing import SigningKey
from server.setting import roster_of


@pytest.fixture
def coordinator(tmp_path: Path) -> Path:
    return found(tmp_path / "liver")


def context(roster: Path | str, *, sites_dir: str = "") -> Context:
    return Context(1, 1, {}, RecordDict(), {"sites-dir": sites_dir, "plan": "small", "roster": str(roster)})


def test_the_server_reads_the_roster_of_the_folder_that_the_run_names(coordinator, tmp_path):
    for site in ("north", "south"):
        member(coordinator, tmp_path / site, site=site)

    roster = roster_of(context(coordinator))

    assert roster is not None
    assert [entry.site for entry in roster.entries] == ["north", "south"]
    assert roster_of(context("")) is None


def test_as_many_have_to_sign_as_the_federation_says_and_not_all(tmp_path):
    alone = tmp_path / "alone.key"
    SigningKey.make().save(alone)
    more = ("--governance", 1, "--governance-key", SigningKey.load(alone).public, "--needed", 1)
    coordinator = found(tmp_path / "liver", *more)
    member(coordinator, tmp_path / "north", site="north")

    assert roster_of(context(coordinator)) is not None


def test_a_roster_that_nobody_has_signed_enough_ends_the_run(tmp_path):
    alone = SigningKey.make().public
    more = ("--governance", 1, "--governance-key", alone, "--needed", 2)
    coordinator = found(tmp_path / "liver", *more)
    member(coordinator, tmp_path / "north", site="north")

    with pytest.raises(PrivacyError, match="bears 1 signatures of the 2 governance keys known here"):
        roster_of(context(coordinator))


def test_a_folder_without_roster_or_governance_is_named(coordinator, tmp_path):
    with pytest.raises(PrivacyError, match=r"roster\.json"):
        roster_of(context(coordinator))
    with pytest.raises(PrivacyError, match=r"'governance\.json', cannot be read \(No such file"):
        roster_of(context(tmp_path))


def test_a_site_and_the_server_trust_the_same_roster(coordinator, tmp_path):
    north = member(coordinator, tmp_path / "north", site="north")
    done("kit", coordinator, "north", "--output", tmp_path / "kit")
    (north / "roster.json").write_bytes((tmp_path / "kit" / "roster.json").read_bytes())

    identity = read_site_file(north / "site.toml").identity
    served = roster_of(context(coordinator))

    assert identity is not None
    assert served is not None
    assert identity.read_roster(north, today=today()).sha256 == served.sha256
