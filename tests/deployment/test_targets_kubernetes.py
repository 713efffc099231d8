"""The chart, rendered by Helm's own engine: valid, and every container locked up."""

import io
import subprocess
from typing import Any

import pytest
from target_stage import CHART, ROLES, Institutions, institutions

from deploy.code_bundle import ROOT

MOST_OF_A_CONFIGMAP = 1024 * 1024


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Institutions:
    return institutions(tmp_path_factory.mktemp("kubernetes"))


def pod(here: Institutions, role: str, *more: object) -> dict[str, Any]:
    return here.manifests(role, *more)["StatefulSet"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", ["1.28", "1.31", "1.37"])
@pytest.mark.parametrize("role", ROLES)
def test_kubernetes_knows_every_key(here: Institutions, role: str, version: str) -> None:
    known = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for manifest in here.manifests(role).values():
        known.validate(manifest, version, strict=True)


def test_the_chart_refuses_values_that_cannot_be(here: Institutions) -> None:
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk (Helm's own engine) is not installed")
    good = here.values("site")
    wrong = [
        good | {"role": "spectator"},
        good | {"coordinator": {"networks": [], "port": 8443}},
        good | {"data": {"path": "/data", "claimName": ""}},
        good | {"misspelt": 1},
    ]
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(good)
        for values in wrong:
            with pytest.raises(helm.HelmError):
                chart.validate_schema(values)


@pytest.mark.parametrize("role", ROLES)
def test_every_container_is_locked_up(here: Institutions, role: str) -> None:
    spec = pod(here, role)
    whole = spec["securityContext"]
    assert whole["runAsNonRoot"] is True
    assert whole["runAsUser"] == whole["runAsGroup"] == 10001
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
    for container in spec["containers"]:
        assert container["livenessProbe"]
        assert container["startupProbe"]


@pytest.mark.parametrize("role", ROLES)
def test_keys_are_files_in_memory_that_their_owner_alone_reads(here: Institutions, role: str) -> None:
    spec = pod(here, role)
    volumes = {one["name"]: one for one in spec["volumes"]}
    script = spec["initContainers"][0]["args"][0]
    for container in spec["containers"]:
        mounted = {one["name"] for one in container["volumeMounts"]}
        assert "secret" not in mounted
        assert {one for one in mounted if one.startswith("keys-")} == {f"keys-{container['name']}"}
        assert volumes[f"keys-{container['name']}"]["emptyDir"]["medium"] == "Memory"
        assert all("valueFrom" not in one for one in container["env"])
    assert "umask 077" in script
    assert script.count("install -m 600 /secret/") == (5 if role == "coordinator" else 2)


def test_a_site_goes_out_to_the_coordinator_alone_and_nobody_comes_in(here: Institutions) -> None:
    made = here.manifests("site")
    assert "Service" not in made
    policy = made["NetworkPolicy"]["spec"]
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert policy["ingress"] == []
    outwards, names = policy["egress"]
    assert outwards == {
        "to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}],
        "ports": [{"protocol": "TCP", "port": 8443}],
    }
    assert {one["port"] for one in names["ports"]} == {53}


def test_sites_reach_the_proxy_of_a_coordinator_and_nothing_goes_out(here: Institutions) -> None:
    made = here.manifests("coordinator")
    policy, service = made["NetworkPolicy"]["spec"], made["Service"]["spec"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8443}]}]
    assert policy["egress"] == []
    assert [one["port"] for one in service["ports"]] == [8443]
    assert {one["name"] for one in pod(here, "coordinator")["containers"] if "ports" in one} == {"proxy"}
    assert service["externalTrafficPolicy"] == "Local"


def test_every_selector_finds_the_pod(here: Institutions) -> None:
    made = here.manifests("coordinator")
    labels = made["StatefulSet"]["spec"]["template"]["metadata"]["labels"].items()
    chosen = [
        made["Service"]["spec"]["selector"],
        made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        made["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        made["StatefulSet"]["spec"]["selector"]["matchLabels"],
    ]
    assert all(one.items() <= labels for one in chosen)


def test_nothing_drains_a_coordinator_in_the_middle_of_a_run(here: Institutions) -> None:
    made = here.manifests("coordinator")
    assert made["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 0
    assert made["StatefulSet"]["spec"]["updateStrategy"] == {"type": "OnDelete"}


@pytest.mark.parametrize("role", ROLES)
def test_every_mount_has_its_volume_and_state_outlives_the_pod(here: Institutions, role: str) -> None:
    spec = here.manifests(role)["StatefulSet"]["spec"]
    inner = spec["template"]["spec"]
    claimed = {one["metadata"]["name"] for one in spec["volumeClaimTemplates"]}
    there = claimed | {one["name"] for one in inner["volumes"]}
    for container in (*inner["initContainers"], *inner["containers"]):
        assert {one["name"] for one in container["volumeMounts"]} <= there
    assert claimed == {"state"}
    assert spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"


def test_a_site_may_wait_out_a_refusal_before_it_is_started_again(here: Institutions) -> None:
    probe = pod(here, "site")["containers"][0]["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > 2 * 75


def test_a_card_is_asked_for_only_if_the_site_says_so(here: Institutions) -> None:
    assert "nvidia.com/gpu" not in pod(here, "site")["containers"][0]["resources"]["limits"]
    limits = pod(here, "site", "--gpu", "any")["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == 1


def test_the_code_that_starts_a_site_fits_into_a_configmap() -> None:
    command = [
        "git",
        "-C",
        str(ROOT),
        "archive",
        "--format=zip",
        "HEAD",
        "deploy",
        "client",
        "lego_core",
        ":!*.png",
    ]
    packed = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(io.BytesIO(packed).getvalue()) * 4 / 3 < MOST_OF_A_CONFIGMAP
