"""A hospital's tables: what is read, and what is said when they do not fit."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from lego_core.datasets import Tables
from lego_core.datasets._sheet import UNKNOWN
from lego_core.errors import DataError
from lego_core.records import Cohort, Outcome

SETTINGS = """
kind = "tables"
patients = "patients.csv"
hospital-column = "hospital"
part-column = "part"
outcome = { kind = "survival" }

[modalities.clinical]
layout = "table"
file = "clinical.csv"
features = ["age", "bili"]
categories = { sex = ["f", "m"] }

[modalities.laboratory]
layout = "series"
file = "laboratory.csv"
time-column = "day"

[modalities.patches]
layout = "bag"
folder = "bags"

[modalities.scan]
layout = "image"
folder = "scans"
size = [2, 3]
"""
PATIENTS = """patient_id,event,time_days,hospital,part
007,1,10.5,north,train
NA,0,20,,test
SECRET,1,30,south,
"""
CLINICAL = "age,patient_id,sex,bili,ignored\n50,SECRET,f,,x\n60,007,,1.5,x\n"
LABORATORY = "patient_id,day,alt,ast\n007,9,1,2\nNA,0,5,\n007,3,3,4\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "patients.csv").write_text(PATIENTS)
    (tmp_path / "clinical.csv").write_text(CLINICAL)
    (tmp_path / "laboratory.csv").write_text(LABORATORY)
    (tmp_path / "bags").mkdir()
    (tmp_path / "scans").mkdir()
    np.savez(tmp_path / "bags" / "007.npz", features=np.arange(6.0).reshape(3, 2))
    np.save(tmp_path / "bags" / "SECRET.npy", np.ones((1, 2)))
    Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3)).save(tmp_path / "scans" / "NA.png")
    return tmp_path


def read(folder: Path, settings: str = SETTINGS) -> Cohort:
    return Tables.model_validate(tomllib.loads(settings)).load(folder)


def values(cohort: Cohort, patient: int, modality: str) -> list[list[float]]:
    return cohort.records[patient].modalities[modality].values.nan_to_num(nan=-1).tolist()


def test_patients_are_read_as_written_and_in_order(folder: Path) -> None:
    records = read(folder).records

    assert [record.patient_id for record in records] == ["007", "NA", "SECRET"]
    assert [record.hospital for record in records] == ["north", None, "south"]
    assert [record.part for record in records] == ["train", "test", None]
    assert [record.outcome for record in records] == [
        Outcome((10.5, 1.0)),
        Outcome((20.0, 0.0)),
        Outcome((30.0, 1.0)),
    ]


def test_patients_hold_the_modalities_that_mention_them(folder: Path) -> None:
    held = [list(record.modalities) for record in read(folder).records]

    assert held == [["clinical", "laboratory", "patches"], ["laboratory", "scan"], ["clinical", "patches"]]


def test_table_features_come_in_the_order_of_the_settings_with_categories_behind(folder: Path) -> None:
    cohort = read(folder)

    assert cohort.schemas["clinical"].features == ("age", "bili", "sex=f", "sex=m")
    assert values(cohort, 0, "clinical") == [[60, 1.5, -1, -1]]
    assert values(cohort, 2, "clinical") == [[50, -1, 1, 0]]


def test_series_rows_come_in_order_of_time(folder: Path) -> None:
    cohort = read(folder)

    assert cohort.schemas["laboratory"].features == ("alt", "ast")
    assert values(cohort, 0, "laboratory") == [[3, 4], [1, 2]]
    assert torch.equal(cohort.records[0].modalities["laboratory"].times_days, torch.tensor([3.0, 9.0]))


def test_bags_and_images_are_found_by_identifier(folder: Path) -> None:
    cohort = read(folder)

    assert cohort.schemas["patches"].features == ("feature-0", "feature-1")
    assert values(cohort, 0, "patches") == [[0, 1], [2, 3], [4, 5]]
    assert cohort.schemas["scan"].features == ("grey",)
    assert values(cohort, 1, "scan") == [[0], [1], [2], [3], [4], [5]]


def test_features_like_takes_matching_columns_in_the_order_of_the_file(folder: Path) -> None:
    (folder / "clinical.csv").write_text("patient_id,B_rna,a,A_rna\n007,1,2,3\n")

    cohort = read(folder, one_modality('file = "clinical.csv"\nfeatures-like = "*_rna"'))

    assert cohort.schemas["clinical"].features == ("B_rna", "A_rna")


def test_a_table_among_the_patients_leaves_out_identifiers_and_outcomes(folder: Path) -> None:
    (folder / "patients.csv").write_text(
        "patient_id,event,time_days,age,sex\n1,1,1,50,m\n2,0,2,,\n3,0,2,,f\n"
    )

    cohort = read(folder, one_modality('categories = { sex = ["f", "m"] }'))

    assert cohort.schemas["clinical"].features == ("age", "sex=f", "sex=m")
    assert [list(record.modalities) for record in cohort.records] == [["clinical"], [], ["clinical"]]


@pytest.mark.parametrize("nothing", sorted(UNKNOWN))
def test_words_for_nothing_mean_the_same_in_numbers_and_in_categories(folder: Path, nothing: str) -> None:
    (folder / "patients.csv").write_text(
        f"patient_id,event,time_days,age,sex\n1,1,1,50,{nothing}\n2,0,2,{nothing},m\n"
    )

    cohort = read(folder, one_modality('categories = { sex = ["f", "m"] }'))

    assert values(cohort, 0, "clinical") == [[50, -1, -1]]
    assert values(cohort, 1, "clinical") == [[-1, 0, 1]]


def test_a_category_that_is_listed_may_be_called_na(folder: Path) -> None:
    (folder / "patients.csv").write_text("patient_id,event,time_days,gene\n1,1,1,NA\n2,0,2,\n3,0,2,x\n")

    cohort = read(folder, one_modality('categories = { gene = ["x", "NA"] }'))

    assert values(cohort, 0, "clinical") == [[0, 1]]
    assert [list(record.modalities) for record in cohort.records] == [["clinical"], [], ["clinical"]]


def test_text_of_a_parquet_file_that_says_nothing_is_known_is_no_number(folder: Path) -> None:
    columns = {"event": ["1", "0"], "time_days": ["1", "2"], "age": ["NA", "3"]}
    pd.DataFrame({"patient_id": ["1", "2"], **columns}).to_parquet(folder / "patients.parquet")

    cohort = read(folder, one_modality("").replace("patients.csv", "patients.parquet"))

    assert [list(record.modalities) for record in cohort.records] == [[], ["clinical"]]


def test_pictures_may_be_named_by_a_column(folder: Path) -> None:
    (folder / "patients.csv").write_text("patient_id,event,time_days,picture\n1,1,1,NA.png\n2,0,2,\n")

    cohort = read(folder, image('image-column = "picture"'))

    assert [list(record.modalities) for record in cohort.records] == [["scan"], []]


def test_unlisted_patients_are_passed_over_where_the_settings_say_so(folder: Path) -> None:
    (folder / "patients.csv").write_text(PATIENTS.replace("SECRET", "other"))
    settings = SETTINGS.replace('kind = "tables"', 'kind = "tables"\nignore-unlisted = true')

    assert [list(record.modalities) for record in read(folder, settings).records][2] == []


@pytest.mark.parametrize("ending", [".csv.gz", ".csv.zip", ".parquet"])
def test_compressed_and_parquet_files_are_read_alike(folder: Path, ending: str) -> None:
    frame = pd.read_csv(folder / "laboratory.csv", dtype={"patient_id": str}, na_filter=False)
    frame = frame.assign(ast=pd.to_numeric(frame["ast"]))
    name = f"laboratory{ending}"
    frame.to_parquet(folder / name) if ending == ".parquet" else frame.to_csv(folder / name, index=False)

    cohort = read(folder, SETTINGS.replace("laboratory.csv", name))

    assert values(cohort, 0, "laboratory") == values(read(folder), 0, "laboratory")
    assert values(cohort, 1, "laboratory") == [[5, -1]]


def test_whole_numbers_of_a_parquet_file_are_identifiers_without_a_point(folder: Path) -> None:
    frame = pd.DataFrame({"patient_id": [1.0, 2.0], "event": [1, 0], "time_days": [1.0, 2.0], "age": [3, 4]})
    frame.to_parquet(folder / "patients.parquet")

    cohort = read(folder, one_modality("").replace("patients.csv", "patients.parquet"))

    assert [record.patient_id for record in cohort.records] == ["1", "2"]


def one_modality(lines: str) -> str:
    head = 'kind = "tables"\npatients = "patients.csv"\noutcome = { kind = "survival" }\n'
    return f'{head}[modalities.clinical]\nlayout = "table"\n{lines}'


def image(lines: str) -> str:
    head = 'kind = "tables"\noutcome = { kind = "survival" }\n[modalities.scan]\nlayout = "image"\n'
    return f'{head}folder = "scans"\nsize = [2, 3]\n{lines}'


def write(name: str, text: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def bag(array: np.ndarray, *, key: str = "features", name: str = "SECRET.npz") -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        (folder / "bags" / "SECRET.npy").unlink()
        np.savez(folder / "bags" / name, allow_pickle=True, **{key: array})

    return spoil


def rename(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / old).rename(folder / new)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no patients table": (
        rename("patients.csv", "x"),
        "The patients table is not there. Check the file name",
    ),
    "no modality table": (
        rename("clinical.csv", "x"),
        "The table of modality 'clinical' is not there. Check the file",
    ),
    "unreadable": (
        write("patients.csv", b"\xff\xfe\x00"),
        "The patients table cannot be read. Give a CSV file",
    ),
    "decimal comma": (
        write("laboratory.csv", "patient_id,day,alt\n007,1,2\n007,2,2,5\n"),
        "The table of modality 'laboratory' cannot be read",
    ),
    "decimal commas everywhere": (
        write("laboratory.csv", "patient_id,day,alt\n007,1,2,5\n007,2,2,5\n"),
        "The table of modality 'laboratory' cannot be read",
    ),
    "empty file": (write("clinical.csv", ""), "The table of modality 'clinical' cannot be read"),
    "no rows": (write("clinical.csv", "patient_id,age\n"), "The table of modality 'clinical' has no rows"),
    "one patient": (
        lambda folder: (
            (
                write("patients.csv", PATIENTS[: PATIENTS.index("NA")])(folder),
                write("clinical.csv", "patient_id,age,bili,sex\n007,1,2,f\n")(folder),
                write("laboratory.csv", "patient_id,day,alt\n007,1,2\n")(folder),
                (folder / "bags" / "SECRET.npy").unlink(),
                rename("scans/NA.png", "scans/007.png")(folder),
            )
        ),
        "These data hold too few patients: 1, and at least 2 are needed",
    ),
    "missing column": (
        write("clinical.csv", "patient_id,SECRET,sex\n007,5,f\n"),
        r"of modality 'clinical' lacks 2 columns that the settings name, the first are \['age', 'bili'\]",
    ),
    "missing identifier column": (write("clinical.csv", "id,age\n007,1\n"), r"first are \['patient_id'\]"),
    "missing part column": (write("patients.csv", PATIENTS.replace(",part", ",x")), r"first are \['part'\]"),
    "doubled column": (
        write("clinical.csv", "patient_id,age,age\n007,1,2\n"),
        "The table of modality 'clinical' has 1 column names more than once, the first is 'age'",
    ),
    "text in numbers": (
        write("clinical.csv", CLINICAL.replace("1.5", "SECRET")),
        "of modality 'clinical' holds text in 1 of 2 rows of column 'bili', which should hold numbers",
    ),
    "infinite": (
        write("clinical.csv", CLINICAL.replace("1.5", "inf")),
        "of modality 'clinical' holds infinite or immense numbers in 1 columns, the first is 'bili'",
    ),
    "immense": (
        write("clinical.csv", CLINICAL.replace("1.5", "1e300")),
        "holds infinite or immense numbers in 1 col",
    ),
    "no identifier": (
        write("patients.csv", PATIENTS.replace("SECRET,", ",")),
        "The patients table has no identifier in 1 of 3 rows. Fill in column 'patient_id'",
    ),
    "doubled patient": (
        write("patients.csv", PATIENTS.replace("NA,", "SECRET,").replace("test", "")),
        "share an identifier with another row, and 0 patients are in more than one",
    ),
    "train and test": (
        write("patients.csv", PATIENTS.replace("NA,", "007,")),
        "share an identifier with another row, and 1 patients are in more than one",
    ),
    "unknown part": (
        write("patients.csv", PATIENTS.replace("test", "SECRET")),
        r"is none of \['train', 'validation', 'test'\] and not empty for 1 of 3 patients",
    ),
    "two rows in a table": (
        write("clinical.csv", CLINICAL.replace("007", "SECRET")),
        "The table of modality 'clinical' holds 2 of 2 rows that share a patient with another",
    ),
    "unlisted in a table": (
        write("laboratory.csv", LABORATORY.replace("NA", "SECRET-2")),
        "The table of modality 'laboratory' holds 1 of 3 rows for patients who are not in the patients table",
    ),
    "unlisted in a folder": (
        rename("bags/SECRET.npy", "bags/SECRET-2.npy"),
        "The folder of modality 'patches' holds 1 of 2 files for patients who are not in the patients table",
    ),
    "negative time": (
        write("patients.csv", PATIENTS.replace("10.5", "-10.5")),
        r"The patients table holds a negative time for 1 of 3 patients \(column 'time_days'\)",
    ),
    "no outcome": (
        write("patients.csv", PATIENTS.replace("10.5", "")),
        "The patients table lacks the outcome of 1 of 3 patients",
    ),
    "odd event": (
        write("patients.csv", PATIENTS.replace("SECRET,1", "SECRET,2")),
        r"The patients table holds something else than 0 and 1 for 1 of 3 patients \(columns \['event'\]\)",
    ),
    "no time": (
        write("laboratory.csv", LABORATORY.replace("007,9", "007,")),
        "The table of modality 'laboratory' has no time in 1 of 3 rows. Fill in column 'day' in days",
    ),
    "no time column": (write("laboratory.csv", "patient_id,alt\n007,1\n"), r"first are \['day'\]"),
    "unknown category": (
        write("clinical.csv", CLINICAL.replace(",f,", ",SECRET,")),
        r"holds none of the categories \['f', 'm'\] in 1 of 2 rows of column 'sex'",
    ),
    "no feature": (
        write("laboratory.csv", "patient_id,day\n007,1\n"),
        "The table of modality 'laboratory' has no column that is a feature",
    ),
    "nameless column": (
        write("laboratory.csv", ",patient_id,day,alt\n0,007,1,2\n"),
        "The table of modality 'laboratory' has 1 columns without a name, often row numbers",
    ),
    "no folder": (rename("bags", "x"), "The folder of modality 'patches' is not there"),
    "empty folder": (
        lambda folder: [path.unlink() for path in (folder / "bags").iterdir()],
        "The folder of modality 'patches' holds no file that ends in one of",
    ),
    "two files": (
        lambda folder: np.save(folder / "bags" / "007.npy", np.ones((1, 2))),
        "The folder of modality 'patches' holds more than one file for 1 of 2 patients",
    ),
    "broken bag": (write("bags/SECRET.npy", "SECRET"), "A file of modality 'patches' cannot be read"),
    "pickled bag": (
        bag(np.array([["SECRET", None]], dtype=object)),
        "A file of modality 'patches' cannot be read",
    ),
    "text bag": (
        bag(np.array([["SECRET", "b"]])),
        "A file of modality 'patches' holds something else than numbers",
    ),
    "infinite bag": (
        bag(np.array([[1e300, 1]])),
        "A file of modality 'patches' holds infinite or immense numbers",
    ),
    "flat bag": (
        bag(np.ones(2)),
        r"A file of modality 'patches' holds an array of shape \(2,\), and a bag has rows",
    ),
    "empty bag": (bag(np.ones((0, 2))), r"A file of modality 'patches' holds an array of shape \(0, 2\)"),
    "other key": (bag(np.ones((1, 2)), key="x"), "A file of modality 'patches' holds no array 'features'"),
    "wider bag": (
        bag(np.ones((1, 3))),
        "1 of 2 files of modality 'patches' have another number of columns than",
    ),
    "broken picture": (write("scans/NA.png", "SECRET"), "A picture of modality 'scan' cannot be read"),
    "larger picture": (
        lambda folder: Image.new("L", (9, 8)).save(folder / "scans" / "NA.png"),
        "A picture of modality 'scan' is 8×9 pixels, and the settings say 2×3",
    ),
}


@pytest.mark.parametrize("fault", sorted(BROKEN))
def test_what_does_not_fit_is_said_without_a_path_or_a_patient(folder: Path, fault: str) -> None:
    spoil, sentence = BROKEN[fault]
    spoil(folder)

    with pytest.raises(DataError, match=sentence) as caught:
        read(folder)

    assert "SECRET" not in caught.value.public
    assert "007" not in caught.value.public
    assert str(folder) not in caught.value.public
    assert caught.value.public.endswith(".")
    assert "  " not in caught.value.public


def test_the_first_bad_rows_are_for_the_site_alone(folder: Path) -> None:
    (folder / "clinical.csv").write_text(CLINICAL.replace("1.5", "many"))

    with pytest.raises(DataError) as caught:
        read(folder)

    assert str(folder / "clinical.csv") in caught.value.local
    assert "many" in caught.value.local


def test_a_missing_picture_that_a_column_names_is_refused(folder: Path) -> None:
    (folder / "patients.csv").write_text(
        "patient_id,event,time_days,picture\n1,1,1,NA.png\n2,0,2,SECRET.png\n"
    )

    with pytest.raises(DataError, match="lacks 1 of 2 files that column 'picture' names") as caught:
        read(folder, image('image-column = "picture"'))

    assert "SECRET" in caught.value.local


def test_files_of_nobody_who_is_listed_are_refused_whatever_the_settings_say(folder: Path) -> None:
    (folder / "clinical.csv").write_text("patient_id,age\nx,1\ny,2\n")
    settings = one_modality('file = "clinical.csv"').replace(
        'kind = "tables"', 'kind = "tables"\nignore-unlisted = true'
    )

    with pytest.raises(DataError, match="holds 2 of 2 rows for patients who are not in the patients table"):
        read(folder, settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (one_modality('features = ["a"]\nfeatures-like = "*"'), "features and features-like are both given"),
        (one_modality("").replace("survival", "class"), "classes"),
        (one_modality('colour = "red"'), "Extra inputs are not permitted"),
        ('kind = "tables"\noutcome = { kind = "survival" }\nmodalities = {}', "at least 1 item"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Tables.model_validate(tomllib.loads(settings))
