"""The units: accepted by systemd, and well shut."""

from pathlib import Path

import pytest
from target_stage import ROLES, Institutions, accepted, institutions, tool

EXPOSED_AT_MOST = 2.0  # systemd's own score: 10 is an open door; its word for 2 is OK


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Institutions:
    return institutions(tmp_path_factory.mktemp("systemd"))


@pytest.mark.parametrize(("role", "more"), [("coordinator", ()), ("site", ()), ("site", ("--gpu", "1"))])
def test_systemd_accepts_every_unit(here: Institutions, role: str, more: tuple[str, ...]) -> None:
    analyze, made = tool("systemd-analyze"), here.make(role, "systemd", *more)
    tool("nginx") if role == "coordinator" else None  # systemd looks whether programs are there

    said = accepted(analyze, "verify", *sorted(made.glob("*.service")))

    assert said == ""


@pytest.mark.parametrize("role", ROLES)
def test_systemd_finds_little_that_is_exposed(here: Institutions, role: str) -> None:
    analyze = tool("systemd-analyze")
    for path in sorted(here.make(role, "systemd").glob("*.service")):
        overall = accepted(analyze, "security", "--offline=yes", path)
        assert float(overall.rsplit(": ", 1)[1].split()[0]) <= EXPOSED_AT_MOST


def test_the_unit_of_the_kit_differs_only_in_where_things_lie(here: Institutions) -> None:
    kit = (here.folder / "kit" / "lego-supernode.service").read_text().splitlines()
    own = here.units("site", "--gpu", "any")["supernode"].splitlines()
    places = ("Description=", "WorkingDirectory=", "ExecStart=", "ReadOnlyPaths=")

    assert [line for line in kit if not line.startswith(places)] == [
        line for line in own if not line.startswith(places)
    ]


def test_a_process_may_write_its_own_folder_alone(here: Institutions) -> None:
    for name, unit in here.units("coordinator").items():
        assert "ProtectSystem=strict" in unit
        assert lines(unit, "ReadWritePaths") == [str(here.folder / "state" / name)]


def test_keys_of_others_are_out_of_sight(here: Institutions) -> None:
    secrets = here.folder / "liver" / "secrets"
    units = here.units("coordinator")
    for unit in units.values():
        assert lines(unit, "TemporaryFileSystem") == [f"{secrets}:ro"]
    assert [Path(one).name for one in lines(units["superexec"], "BindReadOnlyPaths")] == [
        "superexec.secret",
        "bundle.key",
    ]


def test_the_coordinators_inner_processes_reach_no_network(here: Institutions) -> None:
    units = here.units("coordinator")
    inner = {name for name, unit in units.items() if "IPAddressDeny=any\nIPAddressAllow=localhost" in unit}
    assert inner == {"superlink", "superexec"}


def test_a_supernode_that_was_killed_stays_away_long_enough(here: Institutions) -> None:
    unit = here.units("site")["supernode"]
    assert int(lines(unit, "RestartSec")[0]) > 60
    assert lines(unit, "StartLimitIntervalSec") == ["0"]


def test_a_site_without_a_card_sees_no_device(here: Institutions) -> None:
    assert "PrivateDevices=yes" in here.units("site")["supernode"]
    unit = here.units("site", "--gpu", "1")["supernode"]
    assert "PrivateDevices" not in unit
    assert 'Environment="CUDA_VISIBLE_DEVICES=1"' in unit


def lines(unit: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]
