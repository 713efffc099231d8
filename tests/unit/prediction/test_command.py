"""`fedlego predict`, as a site calls it."""

import hashlib
import shutil
from pathlib import Path

import pandas as pd
import pytest
from prediction.serving import bundle_of, made_up, write_site
from typer.testing import CliRunner, Result

from lego_core.bundle import ModelBundle
from lego_core.cli import app
from lego_core.errors import DataError
from lego_core.prediction import predict, write_in_batches
from lego_core.signing import SigningKey

COHORT = made_up(patients=30)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    bundle_of(COHORT).save(folder / "bundle", key=SigningKey.make())
    write_site(COHORT, folder / "site")
    return folder


@pytest.fixture
def served(written: Path, tmp_path: Path) -> Path:
    """A bundle and a site's folder, both to be changed."""
    return Path(shutil.copytree(written, tmp_path / "served"))


def call(served: Path, *more: str, output: str = "out.csv") -> Result:
    given = ["predict", str(served / "bundle"), "--input", str(served / "site")]
    return CliRunner().invoke(app, [*given, "--output", str(served / output), *more])


@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
def test_the_table_is_what_the_python_interface_gives(served, output):
    done = call(served, "--batch-size", "7", output=output)

    assert done.exit_code == 0, done.output
    read = pd.read_csv if output.endswith("csv") else pd.read_parquet
    found = read(served / output)
    wanted = predict(ModelBundle.load(served / "bundle"), COHORT)
    pd.testing.assert_frame_equal(found, wanted, atol=1e-5, rtol=1e-4, check_dtype=False)
    assert "predicted" in done.stdout
    assert f"of {len(COHORT)} patients" in done.stdout


def test_the_table_names_the_manifest_that_the_model_came_with(served):
    call(served)

    digest = hashlib.sha256((served / "bundle" / "manifest.json").read_bytes()).hexdigest()
    assert set(pd.read_csv(served / "out.csv")["bundle_sha256"]) == {digest}


def test_a_changed_byte_predicts_nothing(served):
    weights = served / "bundle" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    done = call(served)

    assert done.exit_code == 2
    assert "was changed or damaged" in done.output
    assert not (served / "out.csv").exists()


def test_a_bundle_that_nobody_trusted_signed_predicts_nothing(served):
    done = call(served, "--key", SigningKey.make().public)

    assert done.exit_code == 2
    assert "none of the 1 keys that are trusted here" in " ".join(done.output.split())
    assert not (served / "out.csv").exists()


def test_problems_are_listed_beside_the_table_and_cost_nobody_else(served):
    table = served / "site" / "clinical.csv"
    lines = table.read_text().splitlines()
    cells = lines[1].split(",")
    table.write_text("\n".join([lines[0], ",".join([cells[0], "much", *cells[2:]]), *lines[2:]]) + "\n")

    done = call(served)

    assert done.exit_code == 0, done.output
    listed = pd.read_csv(served / "out.problems.csv")
    assert listed["patient_id"].tolist() == [cells[0]]
    assert listed["place"].tolist() == ["clinical.csv, row 1"]
    assert len(pd.read_csv(served / "out.csv")) == len(COHORT)
    assert "out.problems.csv" in done.stdout.replace("\n", "")


def test_without_problems_an_earlier_list_of_them_goes(served):
    (served / "out.problems.csv").write_text("old\n")

    call(served)

    assert not (served / "out.problems.csv").exists()


def test_what_was_there_stays_if_nothing_comes_of_it(served):
    (served / "out.csv").write_text("earlier\n")

    done = call(served, "--model", "block:rna")

    assert done.exit_code == 2
    assert "has no model 'block:rna'" in done.output
    assert (served / "out.csv").read_text() == "earlier\n"
    assert {one.name for one in served.iterdir()} == {"bundle", "site", "out.csv"}


def test_an_unknown_ending_is_refused(served):
    done = call(served, output="out.xlsx")

    assert done.exit_code == 2
    assert "ends in '.xlsx'" in done.output


def test_half_a_table_is_no_table(tmp_path):
    def write() -> None:
        with write_in_batches(tmp_path / "out.csv") as file:
            file.write(pd.DataFrame({"a": [1]}))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_folder_that_is_not_there_is_told(tmp_path, name):
    missing = tmp_path / "no" / name

    with (
        pytest.raises(DataError, match=f"'{name}' cannot be written") as caught,
        write_in_batches(missing) as file,
    ):
        file.write(pd.DataFrame({"a": [1]}))

    assert str(tmp_path) not in caught.value.public
