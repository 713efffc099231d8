"""`leave`, `revoke`, `renew`, and what is said before something ends."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from provisioning import HOST, ask, contents, done, found, member, refused

from deploy.certificates import names_in
from deploy.coordinator import Coordinator
from deploy.expiry import warnings_before_expiry
from lego_core.roster import read_signed_roster

TODAY = datetime.now(UTC).date()


@pytest.fixture
def coordinator(tmp_path: Path) -> Path:
    folder = found(tmp_path / "coordinator")
    for name in ("north", "south"):
        member(folder, tmp_path / name, site=name)
    return folder


def on_roster(coordinator: Path) -> list[str]:
    return [one.site for one in read_signed_roster(coordinator / "roster.json").roster.entries]


# ---- leaving -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["leave", "revoke"])
def test_a_site_that_goes_is_off_a_newly_signed_roster(coordinator, command):
    south = {name: content for name, content in contents(coordinator).items() if "south" in name}

    done(command, coordinator, "north")

    assert on_roster(coordinator) == ["south"]
    signed = read_signed_roster(coordinator / "roster.json")
    assert all(signed.signed_by(key) for key in Coordinator.open(coordinator).federation.governance_keys)
    assert {name: contents(coordinator)[name] for name in south} == south
    assert (coordinator / "former-sites" / "north-1" / "request.json").exists()


def test_the_number_of_the_node_is_told_if_flower_told_it(coordinator):
    answer = {"success": True, "node-id": 12189600822649542134}
    (coordinator / "sites" / "north" / "registered.json").write_text(json.dumps(answer))

    assert "flwr supernode unregister 12189600822649542134 lego" in done("leave", coordinator, "north")


@pytest.mark.parametrize("answer", [None, "", "{}", '{"success": false}', '{"node-id": "x; rm -rf /"}', "[]"])
def test_and_where_to_find_it_otherwise(coordinator, answer):
    if answer is not None:
        (coordinator / "sites" / "north" / "registered.json").write_text(answer)

    said = done("leave", coordinator, "north")

    assert "flwr supernode unregister NODE-ID lego" in said
    assert "flwr supernode list lego" in said


def test_its_keys_never_count_again(coordinator, tmp_path):
    done("leave", coordinator, "north")

    said = refused("approve", coordinator, tmp_path / "north" / "request.json", "--yes")

    assert "that of site 'north', which has left, too" in said
    assert "python -m deploy join" in said


def test_it_may_come_back_with_new_keys_and_go_again(coordinator, tmp_path):
    for number in (1, 2):
        done("leave", coordinator, "north")
        member(coordinator, tmp_path / f"north-{number}", site="north")

    assert on_roster(coordinator) == ["north", "south"]
    assert sorted(one.name for one in (coordinator / "former-sites").iterdir()) == ["north-1", "north-2"]


def test_a_revocation_says_that_it_is_urgent(coordinator):
    assert "do both today" in done("revoke", coordinator, "north")


def test_the_last_site_can_go_too(coordinator, tmp_path):
    done("leave", coordinator, "north")
    done("leave", coordinator, "south")

    assert not (coordinator / "roster.json").exists()
    member(coordinator, tmp_path / "east", site="east")
    assert on_roster(coordinator) == ["east"]


def test_who_is_not_there_cannot_go(coordinator):
    before = contents(coordinator)

    assert "no site 'east'; there are ['north', 'south']" in refused("leave", coordinator, "east")
    assert contents(coordinator) == before


def test_a_departure_that_was_cut_off_is_finished_by_the_next(coordinator, monkeypatch):
    def cut_off(self: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", cut_off)
        assert "Input/output error" in refused("leave", coordinator, "north")
    assert on_roster(coordinator) == ["south"]  # its key counts no more, whatever else happened

    done("leave", coordinator, "north")

    assert list(Coordinator.open(coordinator).sites()) == ["south"]


# ---- renewing ------------------------------------------------------------------------------------------


def test_a_renewed_certificate_is_of_the_same_authority_and_key(coordinator):
    before = Coordinator.open(coordinator)
    first, authority = before.server_certificate, (coordinator / "ca.crt").read_bytes()

    done("renew", coordinator)

    second = Coordinator.open(coordinator).server_certificate
    assert second.serial_number != first.serial_number
    assert second.public_key() == first.public_key()
    assert (coordinator / "ca.crt").read_bytes() == authority


def test_it_counts_for_hosts_that_were_added(coordinator):
    file = coordinator / "federation.toml"
    file.write_text(file.read_text().replace(f'"{HOST}",', f'"{HOST}", "new.example.org",'))

    done("renew", coordinator)

    assert "new.example.org" in names_in(Coordinator.open(coordinator).server_certificate)


def test_a_roster_is_extended_and_signed_anew(coordinator, monkeypatch):
    later = TODAY + timedelta(days=350)
    monkeypatch.setattr("deploy.cli.today", lambda: later)

    said = done("renew", coordinator)

    signed = read_signed_roster(coordinator / "roster.json")
    assert {one.valid_until for one in signed.roster.entries} == {later + timedelta(days=365)}
    assert {one.valid_from for one in signed.roster.entries} == {TODAY - timedelta(days=1)}
    assert all(signed.signed_by(key) for key in Coordinator.open(coordinator).federation.governance_keys)
    assert "Give every site the new 'roster.json'" in said
    assert warnings_before_expiry(coordinator, later) == []


def test_on_the_same_day_the_roster_stays_as_it_is(coordinator):
    before = (coordinator / "roster.json").read_bytes()

    assert "Give every site" not in done("renew", coordinator)
    assert (coordinator / "roster.json").read_bytes() == before


def test_without_the_authoritys_key_there_is_no_new_certificate(coordinator):
    (coordinator / "secrets" / "authority.key").unlink()
    before = contents(coordinator)

    said = refused("renew", coordinator)

    assert "The authority's key 'authority.key' cannot be read" in said
    assert contents(coordinator) == before


# ---- before something ends -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (335, None),
        (336, "ends in 29 days"),
        (364, "ends in 1 day,"),
        (365, "ends in 0 days"),
        (366, "has ended"),
    ],
)
def test_one_is_warned_thirty_days_before_and_afterwards(coordinator, days, words):
    warnings = warnings_before_expiry(coordinator, TODAY + timedelta(days=days))

    if words is None:
        assert warnings == []
        return
    assert len(warnings) == 3
    assert [one.split(" ends")[0].split(" has")[0] for one in warnings] == [
        "The server's certificate",
        "The roster's entry of site 'north'",
        "The roster's entry of site 'south'",
    ]
    assert all(words in one and f"deploy renew {coordinator}" in one for one in warnings)


def test_the_end_of_the_authority_is_told_too(coordinator):
    warnings = warnings_before_expiry(coordinator, TODAY + timedelta(days=20 * 365 - 5))

    assert "The authority ('ca.crt') ends in 5 days" in warnings[0]
    assert "make a new federation" in warnings[0].lower()


@pytest.mark.parametrize("command", ["approve", "leave", "revoke", "kit"])
def test_every_command_warns(coordinator, tmp_path, monkeypatch, command):
    request = ask(coordinator, tmp_path / "east", site="east")
    words = {
        "approve": ("approve", coordinator, request, "--yes"),
        "leave": ("leave", coordinator, "north"),
        "revoke": ("revoke", coordinator, "north"),
        "kit": ("kit", coordinator, "north", "--output", tmp_path / "kit"),
    }
    monkeypatch.setattr("deploy.cli.today", lambda: TODAY + timedelta(days=340))

    assert "The server's certificate ends in 25 days" in done(*words[command])


def test_nobody_is_warned_without_reason(coordinator, tmp_path):
    assert "ends in" not in done("kit", coordinator, "north", "--output", tmp_path / "kit")
