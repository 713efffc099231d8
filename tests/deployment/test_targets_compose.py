"""The compose files: valid, and every container locked up."""

import sys
from pathlib import Path
from typing import Any

import pytest
from target_stage import ROLES, Institutions, accepted, institutions

GPU = ("--gpu", "GPU-1b2c")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Institutions:
    return institutions(tmp_path_factory.mktemp("compose"))


def services(here: Institutions, role: str, *more: object) -> dict[str, dict[str, Any]]:
    return here.compose(role, *more)["services"]


@pytest.mark.parametrize("more", [(), GPU, ("--gpu", "any")])
def test_the_site_is_what_the_compose_specification_asks_for(
    here: Institutions, more: tuple[str, ...]
) -> None:
    check_schema(here.make("site", "compose", *more))


def test_the_coordinator_is_what_the_compose_specification_asks_for(here: Institutions) -> None:
    check_schema(here.make("coordinator", "compose"))


def check_schema(made: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema (compose's schema) is not installed")
    schema = ("--builtin-schema", "vendor.compose-spec")
    accepted(sys.executable, "-m", "check_jsonschema", *schema, made / "compose.yaml")


@pytest.mark.parametrize("role", ROLES)
def test_every_container_is_locked_up(here: Institutions, role: str) -> None:
    for name, service in services(here, role).items():
        assert service["user"] == "10001:10001", name
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["pids_limit"] <= 1024
        assert service["mem_limit"]
        assert not {"privileged", "cap_add", "devices", "pid", "ipc", "env_file"} & service.keys()
        assert all("noexec" in one for one in service["tmpfs"])


@pytest.mark.parametrize("role", ROLES)
def test_what_runs_for_long_is_watched_and_comes_back(here: Institutions, role: str) -> None:
    for name, service in services(here, role).items():
        if name == "operator":
            continue
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["logging"]["options"]["max-size"]


def test_a_site_publishes_no_port_and_the_coordinator_one(here: Institutions) -> None:
    assert all("ports" not in service for service in services(here, "site").values())
    published = [
        port for service in services(here, "coordinator").values() for port in service.get("ports", [])
    ]
    assert published == ["8443:8443"]


def test_an_ip_address_is_published_alone(here: Institutions) -> None:
    made = here.compose("coordinator", "--address", "192.0.2.7")
    assert made["services"]["network"]["ports"] == ["192.0.2.7:8443:8443"]


def test_superlink_and_superexec_listen_where_no_other_container_can_come(here: Institutions) -> None:
    made = services(here, "coordinator")
    for name in ("superlink", "superexec", "proxy", "operator"):
        assert made[name]["network_mode"] == "service:network"
        assert "networks" not in made[name]
    at = made["superlink"]["command"].index("--host")
    assert made["superlink"]["command"][at + 1] == "127.0.0.1"


def test_each_process_is_given_its_own_keys_and_cannot_see_the_others(here: Institutions) -> None:
    made, secrets = services(here, "coordinator"), here.folder / "liver" / "secrets"
    keys = {
        name: {one["source"] for one in made[name]["secrets"]} for name in ("superlink", "superexec", "proxy")
    }
    assert keys == {
        "superlink": {"server.key", "superexec.secret"},
        "superexec": {"superexec.secret", "bundle.key"},
        "proxy": {"server.key"},
    }
    for name in keys:
        assert any(one.startswith(f"{secrets}:") for one in made[name]["tmpfs"])
        assert all(one["read_only"] for one in made[name]["volumes"] if one["type"] == "bind")


def test_data_keys_code_and_approvals_of_a_site_are_only_read(here: Institutions) -> None:
    node = services(here, "site")["supernode"]
    bound = {one["target"]: one for one in node["volumes"] if one["type"] == "bind"}
    assert {str(here.folder / "data"), str(here.folder / "north" / "approved")} < bound.keys()
    assert all(one["read_only"] and one["source"] == target for target, one in bound.items())
    assert {one["source"] for one in node["secrets"]} == {"node.key", "identity.key"}


def test_state_lies_in_named_volumes_at_the_place_that_was_said(here: Institutions) -> None:
    made = here.compose("coordinator")
    place = made["volumes"]["superlink"]["driver_opts"]["device"]
    assert place == str(here.folder / "state" / "superlink")
    at = made["services"]["superlink"]["command"].index("--database")
    assert Path(made["services"]["superlink"]["command"][at + 1]).parent == Path(place)


def test_a_card_is_lent_to_the_site_alone_and_only_if_asked_for(here: Institutions) -> None:
    assert "deploy" not in services(here, "site")["supernode"]
    lent = services(here, "site", *GPU)["supernode"]["deploy"]["resources"]["reservations"]["devices"]
    assert lent == [{"driver": "nvidia", "device_ids": ["GPU-1b2c"], "capabilities": ["gpu"]}]
