"""The code that sites approve: packed, looked at, compared, listed."""

import hashlib
import io
import json
import warnings
import zipfile
from pathlib import Path

import pytest
from provisioning import call, done, refused, rights
from tiny_apps import ECHOING_SERVER, write_app

from deploy.approved_code import approvals, last_approved
from deploy.code_bundle import CodeBundle, build_code_bundle


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path / "tiny-app", ECHOING_SERVER)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "north"
    folder.mkdir(mode=0o700)
    return folder


def packed(tmp_path: Path, files: dict[str, str], *, twice: str = "") -> Path:
    """A bundle of these files, in a file of its own."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as content, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's own, of a name that comes twice
        for name in [*files, *([twice] if twice else [])]:
            content.writestr(zipfile.ZipInfo(name), files[name])
    path = tmp_path / f"{hashlib.sha256(held.getvalue()).hexdigest()[:8]}.fab"
    path.write_bytes(held.getvalue())
    return path


def test_the_same_code_gives_the_same_bytes_and_other_code_others(app: Path) -> None:
    first, again = build_code_bundle(app), build_code_bundle(app)
    with (app / "tiny" / "client.py").open("a") as code:
        code.write("\n# changed\n")

    assert first.content == again.content
    assert first.sha256 == hashlib.sha256(first.content).hexdigest()
    assert build_code_bundle(app).sha256 != first.sha256


def test_a_bundle_is_what_flower_would_send(app: Path) -> None:
    files = build_code_bundle(app).files

    assert set(files) == {"pyproject.toml", "tiny/__init__.py", "tiny/client.py", "tiny/server.py"}
    assert files["tiny/server.py"] == (app / "tiny" / "server.py").read_bytes()


def test_the_bundle_of_this_project_holds_its_code_and_plans(tmp_path: Path) -> None:
    said = done("bundle", "--output", tmp_path / "lego.fab")

    bundle = CodeBundle((tmp_path / "lego.fab").read_bytes())
    assert bundle.sha256 in said
    assert {"client/gate.py", "server/app.py", "lego_core/plan.py", "LICENSE"} < set(bundle.files)
    assert "simulations/plans/five-hospitals.toml" in bundle.files
    tops = {name.split("/")[0] for name in bundle.files}
    assert tops == {"pyproject.toml", "LICENSE", "client", "server", "lego_core", "simulations"}


def test_a_site_is_shown_every_file_before_it_approves_the_first_bundle(tmp_path: Path, site: Path) -> None:
    file = packed(tmp_path, {"a.py": "one", "b.py": "two"})

    said = done("approve-bundle", site, file, answer="y\n")

    for content in ("one", "two"):
        assert hashlib.sha256(content.encode()).hexdigest() in said
    [approved] = approvals(site)
    assert approved.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert set(rights(site / "approved").values()) == {"drwx------", "-rw-------"}


def test_of_the_next_bundle_a_site_is_shown_what_differs(tmp_path: Path, site: Path) -> None:
    done("approve-bundle", site, packed(tmp_path, {"a.py": "one", "b.py": "two", "c.py": "same"}), "--yes")
    new = packed(tmp_path, {"a.py": "ONE", "d.py": "four", "c.py": "same"})

    said = done("approve-bundle", site, new, "--lines", answer="y\n")

    shown = [line.split() for line in said.splitlines()]
    told = [(words[0], words[2]) for words in shown if words and words[0] in {"added", "changed", "removed"}]
    assert told == [("changed", "a.py"), ("removed", "b.py"), ("added", "d.py")]
    assert {"-one", "+ONE", "-two", "+four"} <= {line.strip() for line in said.splitlines()}
    assert "1 files are those of" in said
    assert len(approvals(site)) == 2


def test_without_a_yes_nothing_is_approved(tmp_path: Path, site: Path) -> None:
    result = call("approve-bundle", site, packed(tmp_path, {"a.py": "one"}), answer="n\n")

    assert result.exit_code == 1
    assert "Nothing was changed" in result.output
    assert approvals(site) == ()
    assert not (site / "approved").exists()


def test_what_is_approved_already_is_not_asked_again(tmp_path: Path, site: Path) -> None:
    file = packed(tmp_path, {"a.py": "one"})
    done("approve-bundle", site, file, "--yes")

    assert "is approved already" in done("approve-bundle", site, file)
    assert len(approvals(site)) == 1


def test_two_files_of_one_name_hide_nothing(tmp_path: Path, site: Path) -> None:
    file = packed(tmp_path, {"a.py": "one"}, twice="a.py")

    assert "has two files 'a.py'" in refused("approve-bundle", site, file, "--yes")


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"no archive at all"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, site: Path, content: bytes) -> None:
    (tmp_path / "x.fab").write_bytes(content)

    assert "is no code bundle" in refused("approve-bundle", site, tmp_path / "x.fab", "--yes")
    assert "cannot be read" in refused("approve-bundle", site, tmp_path / "none.fab", "--yes")


def test_a_list_that_cannot_be_read_is_told(tmp_path: Path, site: Path) -> None:
    done("approve-bundle", site, packed(tmp_path, {"a.py": "one"}), "--yes")
    (site / "approved" / "approved.json").write_text(json.dumps([{"sha256": "abc"}]))

    assert "'approved.json': key '0.sha256'" in refused(
        "approve-bundle", site, packed(tmp_path, {"a.py": "two"}), "--yes"
    )


def test_a_kept_bundle_that_was_changed_is_no_measure_for_the_next(tmp_path: Path, site: Path) -> None:
    done("approve-bundle", site, packed(tmp_path, {"a.py": "one"}), "--yes")
    [kept] = (site / "approved").glob("*.fab")
    assert last_approved(site) is not None
    kept.write_bytes(packed(tmp_path, {"a.py": "evil"}).read_bytes())

    assert last_approved(site) is None
