"""Pictures in folders and archives."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from lego_core.datasets import Images
from lego_core.errors import DataError
from lego_core.records import Cohort


def draw(path: Path, brightness: int = 0, *, mode: str = "L", size: tuple[int, int] = (3, 2)) -> None:
    """Save a picture of one brightness; `size` is width and height, as Pillow has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, brightness).save(path)


def first(cohort: Cohort) -> list[list[float]]:
    return cohort.records[0].modalities["image"].values.tolist()


def test_class_folders_give_the_classes_in_order_of_the_alphabet(tmp_path: Path) -> None:
    draw(tmp_path / "well" / "a.png", 7)
    draw(tmp_path / "ill" / "b.jpg", 200)
    (tmp_path / ".hidden").mkdir()

    cohort = Images(folder=tmp_path, size=(2, 3)).load()

    assert [(r.patient_id, r.outcome.values, r.part) for r in cohort.records] == [
        ("b", (0.0,), None),
        ("a", (1.0,), None),
    ]
    assert cohort.records[1].modalities["image"].values.tolist() == [[7.0]] * 6


def test_listed_classes_keep_their_place_where_a_site_lacks_one(tmp_path: Path) -> None:
    draw(tmp_path / "well" / "a.png")
    draw(tmp_path / "well" / "b.png")

    cohort = Images(folder=tmp_path, size=(2, 3), classes=("ill", "well")).load()

    assert [record.outcome.values for record in cohort.records] == [(1.0,), (1.0,)]


def test_part_folders_prescribe_the_split(tmp_path: Path) -> None:
    for part, name in (("train", "a"), ("val", "b"), ("test", "c")):
        draw(tmp_path / part / "ill" / f"{name}.png")
        draw(tmp_path / part / "well" / f"{name}{name}.png")

    parts = {r.patient_id: r.part for r in Images(folder=tmp_path, size=(2, 3)).load().records}

    assert (parts["a"], parts["bb"], parts["c"]) == ("train", "validation", "test")


def test_a_pattern_finds_the_patient_in_the_name_of_the_file(tmp_path: Path) -> None:
    draw(tmp_path / "ill" / "scan_p1_left.png")
    draw(tmp_path / "well" / "scan_p2_left.png")

    cohort = Images(folder=tmp_path, size=(2, 3), patient_pattern="scan_(p[0-9]+)").load()

    assert [record.patient_id for record in cohort.records] == ["p1", "p2"]


def test_pixels_come_in_reading_order_with_channels_as_features(tmp_path: Path) -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    draw(tmp_path / "well" / "b.png")
    (tmp_path / "ill").mkdir()
    Image.fromarray(pixels).save(tmp_path / "ill" / "a.png")

    cohort = Images(folder=tmp_path, size=(2, 3), channels=3).load()

    assert cohort.schemas["image"].features == ("red", "green", "blue")
    assert first(cohort) == pixels.reshape(6, 3).tolist()


def test_sixteen_bit_pictures_keep_their_depth(tmp_path: Path) -> None:
    draw(tmp_path / "ill" / "a.png", 40_000, mode="I;16")
    draw(tmp_path / "well" / "b.png")

    assert first(Images(folder=tmp_path, size=(2, 3)).load()) == [[40_000.0]] * 6


def test_other_sizes_are_brought_to_size_only_on_request(tmp_path: Path) -> None:
    draw(tmp_path / "ill" / "SECRET.png", 9, size=(30, 20))
    draw(tmp_path / "well" / "b.png")

    assert first(Images(folder=tmp_path, size=(2, 3), resize=True).load()) == [[9.0]] * 6
    with pytest.raises(DataError, match=r"A picture is 20×30 pixels, and the settings say 2×3") as caught:
        Images(folder=tmp_path, size=(2, 3)).load()
    assert "SECRET" not in caught.value.public
    assert "SECRET" in caught.value.local


def test_dicom_values_are_rescaled_as_the_file_says(tmp_path: Path) -> None:
    write_dicom(
        tmp_path / "ill" / "a.dcm", np.arange(6, dtype=np.uint16).reshape(2, 3), slope=2, intercept=-1024
    )
    draw(tmp_path / "well" / "b.png")

    assert first(Images(folder=tmp_path, size=(2, 3)).load()) == [[2.0 * n - 1024] for n in range(6)]


def test_dicom_pictures_that_count_from_white_are_turned_round(tmp_path: Path) -> None:
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3)
    write_dicom(tmp_path / "ill" / "a.dcm", pixels, photometric="MONOCHROME1")
    draw(tmp_path / "well" / "b.png")

    assert first(Images(folder=tmp_path, size=(2, 3)).load()) == [[65_535.0 - n] for n in range(6)]


def test_a_broken_dicom_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    draw(tmp_path / "well" / "b.png")
    (tmp_path / "ill").mkdir()
    (tmp_path / "ill" / "a.dcm").write_text("SECRET")

    with pytest.raises(DataError, match=r"A picture cannot be read\. Give a PNG, JPEG or DICOM file"):
        Images(folder=tmp_path, size=(2, 3)).load()


def test_dicom_without_pydicom_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)  # as if it were not installed
    draw(tmp_path / "well" / "b.png")
    (tmp_path / "ill").mkdir()
    (tmp_path / "ill" / "a.dcm").touch()

    with pytest.raises(
        DataError, match=r"pydicom, which reads them, is not installed\. Install the extra 'dicom'"
    ):
        Images(folder=tmp_path, size=(2, 3)).load()


def test_an_archive_of_medmnist_keeps_its_split(tmp_path: Path) -> None:
    save_archive(tmp_path / "a.npz", size=(2, 3))

    cohort = Images(file=Path("a.npz"), size=(2, 3)).load(tmp_path)

    assert [(r.patient_id, r.part) for r in cohort.records][:3] == [
        ("train-0", "train"),
        ("train-1", "train"),
        ("val-0", "validation"),
    ]
    assert cohort.records[1].outcome.values == (1.0,)


def test_grey_pictures_fill_three_channels(tmp_path: Path) -> None:
    save_archive(tmp_path / "a.npz", size=(2, 3))

    assert first(Images(file=Path("a.npz"), size=(2, 3), channels=3).load(tmp_path))[5] == [5.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((2, 4), r"A picture of the archive is 2×4 pixels, and the settings say 2×3"),
        ((2, 3, 4), "A picture of the archive has 4 channels, and the settings name 1"),
        ((2, 3, 4, 5), r"A picture of the archive holds an array of shape \(2, 3, 4, 5\)"),
    ],
)
def test_pictures_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...], sentence: str) -> None:
    save_archive(tmp_path / "a.npz", size=shape)

    with pytest.raises(DataError, match=sentence):
        Images(file=Path("a.npz"), size=(2, 3)).load(tmp_path)


def test_archives_that_are_missing_or_lack_labels_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=np.zeros((2, 2, 3)), train_labels=np.zeros((1, 1)))

    with pytest.raises(DataError, match="The picture archive holds 2 pictures and 1 labels in part 'train'"):
        Images(file=Path("a.npz"), size=(2, 3)).load(tmp_path)
    with pytest.raises(DataError, match="The picture archive is not there"):
        Images(file=Path("b.npz"), size=(2, 3)).load(tmp_path)


def test_two_pictures_of_one_patient_are_refused(tmp_path: Path) -> None:
    for place in ("train/ill/SECRET", "test/well/SECRET", "train/well/b"):
        draw(tmp_path / f"{place}.png")

    with pytest.raises(
        DataError, match="1 of 2 patients have more than one picture, 1 of them in more than"
    ) as caught:
        Images(folder=tmp_path, size=(2, 3)).load()
    assert "SECRET" not in caught.value.public


def test_a_name_that_does_not_fit_the_pattern_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "ill" / "SECRET.png")
    draw(tmp_path / "well" / "p1.png")

    with pytest.raises(DataError, match="A picture's name does not fit 'patient-pattern'") as caught:
        Images(folder=tmp_path, size=(2, 3), patient_pattern="(p[0-9])").load()
    assert "SECRET" not in caught.value.public


def test_class_folders_that_are_not_listed_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "SECRET" / "a.png")

    with pytest.raises(
        DataError, match=r"Of 1 class folders, 1 are called like no class of the settings"
    ) as caught:
        Images(folder=tmp_path, size=(2, 3), classes=("ill", "well")).load()
    assert "SECRET" not in caught.value.public


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "ill" / "a.png")

    with pytest.raises(DataError, match=r"Of 1 class folders, 0 are .* and two classes are the least"):
        Images(folder=tmp_path, size=(2, 3)).load()


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_class_folders_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match="The folder of pictures is not there or has no folders inside"):
        Images(folder=Path(name), size=(2, 3)).load(tmp_path)


def test_an_empty_class_folder_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "ill" / "a.png")
    (tmp_path / "well").mkdir()

    with pytest.raises(DataError, match="A class folder holds no file that ends in one of"):
        Images(folder=tmp_path, size=(2, 3)).load()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "folder and file are both given or both absent"),
        ({"folder": Path("a"), "file": Path("b")}, "folder and file are both given or both absent"),
        ({"folder": Path("a"), "patient_pattern": "("}, "patient-pattern is no regular expression"),
        ({"folder": Path("a"), "patient_pattern": "p"}, "patient-pattern has no group"),
        ({"folder": Path("a"), "size": (0, 3)}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Images.model_validate({"size": (2, 3), **settings})


def save_archive(path: Path, *, size: tuple[int, ...]) -> None:
    images = np.arange(np.prod(size), dtype=np.uint8).reshape(1, *size).repeat(2, axis=0)
    labels = np.array([[0], [1]])
    parts = ("train", "val", "test")
    np.savez(path, **{f"{p}_images": images for p in parts}, **{f"{p}_labels": labels for p in parts})


def write_dicom(
    path: Path,
    pixels: np.ndarray,
    *,
    slope: float = 1,
    intercept: float = 0,
    photometric: str = "MONOCHROME2",
) -> None:
    pydicom = pytest.importorskip("pydicom")
    path.parent.mkdir(parents=True)
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    scan = pydicom.dataset.FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    scan.SOPClassUID, scan.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    scan.Rows, scan.Columns = pixels.shape
    scan.SamplesPerPixel, scan.PhotometricInterpretation = 1, photometric
    scan.BitsAllocated, scan.BitsStored, scan.HighBit, scan.PixelRepresentation = 16, 16, 15, 0
    scan.RescaleSlope, scan.RescaleIntercept = slope, intercept
    scan.PixelData = pixels.tobytes()
    scan.save_as(path, enforce_file_format=True)
