"""How a site's SuperNode is started, what it sees, and when it comes back; nothing of Flower's runs here."""

import shutil
import sys
from pathlib import Path

import pytest
from flwr.common.config import parse_config_args
from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode, _try_obtain_trusted_entities
from provisioning import done, found, member, refused

from deploy.service import Service
from deploy.supernode import (
    RETURN_SECONDS,
    SuperNodeSettings,
    keep_running,
    supernode_command,
    supernode_environment,
    supernode_of,
)
from lego_core.errors import LegoError


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site that has put its kit in place, and approved code."""
    tmp_path = tmp_path_factory.mktemp("ready")
    coordinator = found(tmp_path / "liver")
    home = member(coordinator, tmp_path / "north", site="north")
    done("kit", coordinator, "north", "--output", tmp_path / "kit")
    for name in ("ca.crt", "governance.json", "roster.json"):
        (home / name).write_bytes((tmp_path / "kit" / name).read_bytes())
    done("bundle", "--output", tmp_path / "lego.fab")
    done("approve-bundle", home, tmp_path / "lego.fab", "--yes")
    return home


@pytest.fixture
def north(ready: Path, tmp_path: Path) -> Path:
    """The same site, for one test to damage."""
    return Path(shutil.copytree(ready, tmp_path / "north"))


def settings(folder: Path, **more: object) -> SuperNodeSettings:
    return SuperNodeSettings.of(folder, runtime_port=9123).model_copy(update=more)


def test_flower_understands_the_command(north: Path) -> None:
    words = supernode_command(settings(north))

    assert words[:4] == [sys.executable, "-m", "deploy.pinned_supernode", str(north)]
    given = _parse_args_run_supernode().parse_args(words[4:])
    assert given.superlink == "fl.example.org:8443"
    assert not given.insecure
    assert given.root_certificates == str(north / "ca.crt")
    assert given.auth_supernode_private_key == str(north / "node.key")
    assert (given.host, given.port) == ("127.0.0.1", 9123)
    assert not given.runtime_dependency_install
    assert parse_config_args([given.node_config]) == {"site-file": str(north / "site.toml")}


def test_flower_is_given_no_other_signer_than_the_site_itself(north: Path) -> None:
    node = supernode_of(settings(north))

    given = _parse_args_run_supernode().parse_args(supernode_command(settings(north))[4:])
    trusted = _try_obtain_trusted_entities(given.trusted_entities)

    assert not node.is_running
    assert trusted is not None
    assert list(trusted) == ["this-site"]
    assert trusted["this-site"].startswith("ssh-ed25519 ")


def test_the_node_sees_the_card_that_the_site_names_and_no_other(north: Path) -> None:
    inherited = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0,1,2", "SECRET": "s", "OMP_NUM_THREADS": "8"}

    def seen(**more: object) -> dict[str, str]:
        return supernode_environment(settings(north, **more), inherited=inherited)

    assert seen()["CUDA_VISIBLE_DEVICES"] == "0,1,2"
    assert seen(gpu=2)["CUDA_VISIBLE_DEVICES"] == "2"
    assert seen(gpu="GPU-8f6e")["CUDA_VISIBLE_DEVICES"] == "GPU-8f6e"
    assert seen(gpu=2, device="cpu")["CUDA_VISIBLE_DEVICES"] == ""
    assert seen(threads=3)["OMP_NUM_THREADS"] == "3"
    assert seen()["FLWR_HOME"] == str(north / "flower")
    assert seen()["FLWR_TELEMETRY_ENABLED"] == "0"
    assert "SECRET" not in seen()


def test_the_card_is_read_from_the_sites_own_file(north: Path) -> None:
    file = north / "site.toml"
    file.write_text(file.read_text().replace('device = "auto"', 'device = "cuda"\ngpu = 1'))

    assert settings(north).gpu == 1
    file.write_text(file.read_text().replace("gpu = 1", 'gpu = "../x"'))
    with pytest.raises(LegoError, match="gpu"):
        settings(north)


def test_without_approved_code_nothing_starts(north: Path) -> None:
    (north / "approved" / "approved.json").unlink()

    said = refused("site", "start", north)

    assert "This site has approved no code, so no run could begin" in said
    assert "approve-bundle" in said


def test_the_authority_of_another_federation_is_noticed(north: Path, tmp_path: Path) -> None:
    (north / "ca.crt").write_bytes((found(tmp_path / "lung") / "ca.crt").read_bytes())

    assert "one of them is of another federation" in refused("site", "start", north)


@pytest.mark.parametrize(
    ("name", "said"),
    [("ca.crt", "Certificate 'ca.crt' cannot be read"), ("node.key", "'node.key' cannot be looked at"),
     ("site.toml", "'site.toml' cannot be read"), ("federation.toml", "cannot be read")],
)  # fmt: skip
def test_a_file_that_is_missing_is_named(north: Path, name: str, said: str) -> None:
    (north / name).unlink()

    assert said in refused("site", "start", north)


def test_a_key_that_others_may_read_is_not_used(north: Path) -> None:
    (north / "node.key").chmod(0o644)

    assert "may be used by others than its owner" in refused("site", "start", north)


def test_a_site_that_says_nothing_of_privacy_does_not_start(north: Path) -> None:
    file = north / "site.toml"
    file.write_text(file.read_text().replace("privacy = [", "# privacy = ["))

    assert "does not say which kinds of privacy plans it accepts" in refused("site", "start", north)


def python(folder: Path, script: str) -> Service:
    return Service("supernode", [sys.executable, "-c", script], environment={}, folder=folder)


def test_a_node_that_ends_comes_back_when_flower_takes_its_key_again(tmp_path: Path) -> None:
    script = "print('\x1b[91mFailed to activate\x1b[0m\\n\\n'); raise SystemExit(1)"
    node, waited, said = python(tmp_path, script), [], []

    def waits(seconds: float) -> bool:
        waited.append(seconds)
        assert node.ends_within(30)
        return waited.count(RETURN_SECONDS) == 3

    keep_running(node, waits=waits, say=lambda *lines: said.extend(lines))
    node.stop()

    assert RETURN_SECONDS > 60
    assert len([line for line in said if "The SuperNode has ended" in line]) == 3
    assert said.count("The SuperNode is back.") == 2
    assert "  Failed to activate" in said


def test_a_node_that_runs_is_left_alone_until_it_is_told_to_stop(tmp_path: Path) -> None:
    node, looks, said = python(tmp_path, "import time; time.sleep(60)"), iter([False, False, True]), []

    keep_running(node, waits=lambda _: next(looks), say=said.append)

    assert node.is_running
    assert said == []
    node.stop()
