"""Who belongs to the consortium: what a roster must bear before it is believed."""

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from lego_core.cli import app
from lego_core.errors import PrivacyError
from lego_core.roster import Roster, RosterEntry, SignedRoster, read_roster, sign_roster
from lego_core.signing import SigningKey

SITES = {name: SigningKey(bytes([number]) * 32) for number, name in enumerate(("north", "east", "west"))}
GOVERNORS = [SigningKey(bytes([number]) * 32) for number in (101, 102, 103)]
PUBLIC = tuple(one.public for one in GOVERNORS)
FIRST, LAST = date(2026, 1, 1), date(2026, 12, 31)
TODAY = date(2026, 6, 1)


def entry(name: str, *, until: date = LAST) -> RosterEntry:
    return RosterEntry(site=name, public_key=SITES[name].public, valid_from=FIRST, valid_until=until)


def roster(*, until: date = LAST) -> Roster:
    return Roster(consortium="liver", entries=tuple(entry(name, until=until) for name in SITES))


def written(path: Path, *, signers: int = 2, until: date = LAST) -> Path:
    signed = SignedRoster(roster=roster(until=until))
    for governor in GOVERNORS[:signers]:
        signed = signed.signed_with(governor)
    signed.save(path)
    return path


def read(path: Path, *, needed: int = 2, keys: tuple[str, ...] = PUBLIC, today: date = TODAY) -> Roster:
    return read_roster(path, governance_keys=keys, needed=needed, today=today)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "roster.json")


def changed(file: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


# ---- what it says --------------------------------------------------------------------------------------


def test_a_signed_roster_comes_back_from_its_file(file):
    assert read(file) == roster()
    assert read(file).keys_at(TODAY) == {name: bytes.fromhex(key.public) for name, key in SITES.items()}


@given(st.permutations(list(SITES)))
def test_the_order_of_its_entries_does_not_matter(names):
    turned = Roster(consortium="liver", entries=tuple(entry(name) for name in names))

    assert turned.canonical() == roster().canonical()
    assert turned.sha256 == roster().sha256
    assert [one.site for one in turned.entries] == ["east", "north", "west"]


def test_the_hash_is_of_one_way_to_write_it():
    east = roster().entries[0]

    assert (
        roster()
        .canonical()
        .startswith(b'{"consortium":"liver","entries":[{"public-key":"' + east.public_key.encode())
    )
    assert roster(until=LAST - timedelta(days=1)).sha256 != roster().sha256


def test_an_entry_counts_from_its_first_day_to_its_last():
    both = Roster(consortium="liver", entries=(entry("north"), entry("east", until=TODAY)))
    day = timedelta(days=1)

    assert sorted(both.keys_at(TODAY)) == ["east", "north"]
    assert sorted(both.keys_at(TODAY + day)) == ["north"]
    assert sorted(both.keys_at(LAST)) == ["north"]
    assert both.keys_at(LAST + day) == both.keys_at(FIRST - day) == {}


def test_a_site_stands_on_the_roster_with_its_own_key_today():
    roster().check_member("north", public_key=SITES["north"].public, today=TODAY)

    for site, key, today, said in [
        ("south", "north", TODAY, "Site 'south' is not among the 3 sites"),
        ("north", "east", TODAY, "holds the key .* and the roster of 'liver' names"),
        ("north", "north", LAST + timedelta(days=1), "until 2026-12-31, and today is 2027-01-01"),
        ("north", "north", FIRST - timedelta(days=1), "from 2026-01-01 .* today is 2025-12-31"),
    ]:
        with pytest.raises(PrivacyError, match=said):
            roster().check_member(site, public_key=SITES[key].public, today=today)


def test_one_name_or_one_key_twice_is_refused():
    twin = entry("north").model_copy(update={"site": "south"})

    with pytest.raises(ValidationError, match="site 'north' is there twice"):
        Roster(consortium="liver", entries=(entry("north"), entry("north")))
    with pytest.raises(ValidationError, match=r"key '.*' is there twice"):
        Roster(consortium="liver", entries=(entry("north"), twin))


@pytest.mark.parametrize("limit", [[], ["rna"]])
def test_an_older_roster_that_names_modalities_is_refused_and_it_is_said_why(file, limit):
    plain = json.loads(file.read_text())
    plain["roster"]["entries"][0]["modalities"] = limit
    file.write_text(json.dumps(plain))

    with pytest.raises(PrivacyError, match=r"site 'east' names modalities, .* sign the roster anew\.$"):
        read(file)


# ---- what it must bear ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("signers", "needed"), [(2, 2), (3, 2), (3, 3), (1, 1)])
def test_enough_signatures_suffice(tmp_path, signers, needed):
    assert read(written(tmp_path / "roster.json", signers=signers), needed=needed) == roster()


@pytest.mark.parametrize(("signers", "needed"), [(0, 1), (1, 2), (2, 3)])
def test_too_few_signatures_are_said_with_both_numbers(tmp_path, signers, needed):
    path = written(tmp_path / "roster.json", signers=signers)

    with pytest.raises(PrivacyError, match=f"bears {signers} signatures of the 3 .*and {needed} are needed"):
        read(path, needed=needed)


def test_signatures_of_strangers_do_not_count(file):
    with pytest.raises(PrivacyError, match="bears 1 signatures of the 2 governance keys"):
        read(file, keys=(PUBLIC[0], PUBLIC[2]))


def test_one_governor_counts_once_however_often_named(file):
    with pytest.raises(PrivacyError, match="2 signatures of 1 governance keys are asked for"):
        read(file, keys=(PUBLIC[0], PUBLIC[0]))


@pytest.mark.parametrize("needed", [0, -1, 4])
def test_no_signature_or_more_than_there_can_be_is_no_rule(file, needed):
    with pytest.raises(PrivacyError, match=f"{needed} signatures of 3 governance keys are asked for"):
        read(file, needed=needed)


@given(st.integers(0, 511))
def test_a_forged_signature_is_refused_even_beside_enough_others(tmp_path_factory, bit):
    path = written(tmp_path_factory.mktemp("it") / "roster.json", signers=3)
    plain = json.loads(path.read_text())
    signature = int(plain["signatures"][PUBLIC[0]], 16)
    plain["signatures"][PUBLIC[0]] = f"{signature ^ (1 << bit):0128x}"
    path.write_text(json.dumps(plain))

    with pytest.raises(PrivacyError, match=f"signature of key {PUBLIC[0][:12]}… that does not hold"):
        read(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2026-12-31", "2036-12-31"),
        ("north", "south"),
        (SITES["north"].public, GOVERNORS[0].public),
        ("liver", "lungs"),
    ],
)
def test_a_roster_changed_after_it_was_signed_is_refused(file, old, new):
    with pytest.raises(PrivacyError, match="does not hold: it is forged, or the roster was changed since"):
        read(changed(file, old, new))


def test_a_signature_for_another_use_does_not_count(file):
    other = GOVERNORS[0].sign(roster().canonical(), tag="bundle")
    right = GOVERNORS[0].sign(roster().canonical(), tag="roster")

    with pytest.raises(PrivacyError, match="does not hold"):
        read(changed(file, right, other))


@pytest.mark.parametrize(
    ("today", "said"), [(date(2027, 1, 1), "2027-01-01"), (date(2025, 1, 1), "2025-01-01")]
)
def test_a_roster_on_which_nobody_counts_today_is_refused_with_its_dates(file, today, said):
    with pytest.raises(PrivacyError, match=f"today, {said} .*between 2026-01-01 and 2026-12-31"):
        read(file, today=today)


# ---- files that are none -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 200_000])
def test_what_is_not_json_is_said(tmp_path, content):
    (tmp_path / "roster.json").write_bytes(content)

    with pytest.raises(PrivacyError, match=r"Roster 'roster\.json' is not JSON"):
        read(tmp_path / "roster.json")


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"roster": 3}', '{"format": 2}', '{"entries": []}'])
def test_json_of_another_form_is_said(tmp_path, content):
    (tmp_path / "roster.json").write_text(content)

    with pytest.raises(PrivacyError, match=r"^Roster 'roster\.json': "):
        read(tmp_path / "roster.json")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (SITES["north"].public, "00" * 32, "is no Ed25519 public key"),
        (SITES["north"].public, "zz" * 32, "public-key"),
        ("2026-12-31", "2025-12-31", "valid from 2026-01-01 until 2025-12-31"),
        ("valid-from", "valid-form", "there is no such key"),
    ],
)
def test_what_is_wrong_in_an_entry_is_named(file, old, new, said):
    with pytest.raises(PrivacyError, match=said):
        read(changed(file, old, new))


def test_a_roster_that_is_not_there_is_said_without_its_path(tmp_path):
    with pytest.raises(PrivacyError, match=r"'roster\.json' cannot be read") as caught:
        read(tmp_path / "roster.json")
    assert str(tmp_path) not in caught.value.public


# ---- signing it ----------------------------------------------------------------------------------------


def test_governors_sign_one_after_the_other_from_a_roster_written_by_hand(tmp_path):
    path = tmp_path / "roster.json"
    path.write_text(json.dumps(roster().to_plain()))

    for governor in (*GOVERNORS[:2], GOVERNORS[0]):
        sign_roster(path, key=governor)

    assert read(path) == roster()
    assert [one.name for one in tmp_path.iterdir()] == ["roster.json"]


def test_nobody_signs_below_a_signature_that_does_not_hold(file):
    changed(file, "north", "south")
    before = file.read_bytes()

    with pytest.raises(PrivacyError, match="does not hold"):
        sign_roster(file, key=GOVERNORS[2])
    assert file.read_bytes() == before


def test_commands_make_keys_sign_and_show(tmp_path):
    def fedlego(*words: str) -> str:
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.output
        return done.output

    key, path = str(tmp_path / "governor.key"), tmp_path / "roster.json"
    path.write_text(json.dumps(roster().to_plain()))

    public = fedlego("keys", "make", key).strip()
    assert fedlego("keys", "show", key).strip() == public
    assert "bears 1 signatures now" in fedlego("roster", "sign", str(path), "--key", key)
    assert read(path, keys=(public,), needed=1) == roster()
    shown = fedlego("roster", "show", str(path))
    assert f"signed by {public}" in shown
    assert "NOT" not in shown
    assert all(name in shown for name in SITES)
    assert roster().sha256 in shown

    changed(path, "north", "south")
    assert f"NOT signed by {public}" in fedlego("roster", "show", str(path))
    assert CliRunner().invoke(app, ["keys", "make", key]).exit_code == 2
