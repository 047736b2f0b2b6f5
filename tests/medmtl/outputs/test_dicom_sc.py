"""Secondary captures of the key pictures, read by pydicom and dciodvfy."""

import dataclasses
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from medmtl.errors import Code, OutputError
from medmtl.outputs.dicom_sc import check_capture
from medmtl.outputs.picture import KeyPictures, Picture, key_pictures
from medmtl.outputs.write_case import write_case
from medmtl.result import CaseResult

ALARM = np.array([255, 196, 64])


@pytest.fixture(scope="module")
def written(planted_ct: CaseResult, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sc")
    return [folder / name for name in write_case(planted_ct, folder, frozenset({"sc"}))]


@pytest.fixture(scope="module")
def shown(planted_ct: CaseResult) -> list[Picture]:
    pictures: KeyPictures = key_pictures(planted_ct)
    return [pictures.main, pictures.field, *pictures.reformats, *pictures.strip]


def test_one_image_per_key_picture_in_one_new_series(
    written: list[Path], shown: list[Picture], planted_ct: CaseResult
) -> None:
    assert [path.name for path in written] == [f"{n:02d}.dcm" for n in range(1, len(shown) + 1)]
    read = [pydicom.dcmread(path) for path in written]
    source = planted_ct.volume.dicom
    assert source is not None
    assert len({ds.SOPInstanceUID for ds in read}) == len(read) == 10
    assert len({ds.SeriesInstanceUID for ds in read} | {source.series_uid}) == 2
    for number, (ds, picture) in enumerate(zip(read, shown, strict=True), start=1):
        assert (ds.StudyInstanceUID, ds.InstanceNumber, ds.BurnedInAnnotation) == (source.study_uid, number, "YES")
        assert ds.SeriesDescription.startswith("RESEARCH medmtl")
        assert ds.ImageComments.startswith(picture.plane)
        pixels = ds.pixel_array
        left = (pixels.shape[1] - picture.size[0]) // 2
        inner = pixels[: picture.size[1], left : left + picture.size[0]]
        assert np.array_equal(inner, np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")))


def test_research_use_stands_below_every_picture(written: list[Path], shown: list[Picture]) -> None:
    for path, picture in zip(written, shown, strict=True):
        below = pydicom.dcmread(path).pixel_array[picture.size[1] :].astype(int)
        warning = np.argwhere(np.abs(below - ALARM).max(axis=-1) < 40)
        assert len(warning) > 200
        assert warning[:, 1].max() < below.shape[1] - 8  # not cut off
        assert np.ptp(warning[:, 1]) > 200


def test_orientation_and_source_slice(written: list[Path], planted_ct: CaseResult, shown: list[Picture]) -> None:
    source = planted_ct.volume.dicom
    assert source is not None
    main, coronal = pydicom.dcmread(written[0]), pydicom.dcmread(written[2])
    assert list(main.PatientOrientation) == ["L", "P"]
    assert list(coronal.PatientOrientation) == ["L", "F"]
    referred = main.SourceImageSequence[0].ReferencedSOPInstanceUID
    assert referred == source.instance_uids[shown[0].index]
    assert "SourceImageSequence" not in coronal


def test_dciodvfy_finds_no_error(written: list[Path]) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (dicom3tools from Debian)")
    for path in written:
        done = subprocess.run([program, "-new", path], capture_output=True, text=True, check=False, timeout=120)
        said = (done.stdout + done.stderr).splitlines()
        assert [line for line in said if line.startswith("Error")] == []
        assert "SCImage" in said


def test_the_same_case_gives_the_same_bytes_whatever_its_name(
    written: list[Path], planted_ct: CaseResult, tmp_path: Path
) -> None:
    renamed = dataclasses.replace(planted_ct, case="b", findings={**planted_ct.findings, "case": "b"})
    again = write_case(renamed, tmp_path, frozenset({"sc"}))
    assert [(tmp_path / name).read_bytes() for name in again] == [path.read_bytes() for path in written]


def test_the_read_back_notices_a_pixel(written: list[Path]) -> None:
    data = written[-1].read_bytes()
    pixels = pydicom.dcmread(io.BytesIO(data)).pixel_array.copy()
    check_capture(data, pixels)
    pixels[3, 4, 1] ^= 1
    with pytest.raises(OutputError) as caught:
        check_capture(data, pixels)
    assert caught.value.code is Code.OUTPUT_CHECK_FAILED


def test_pictures_need_no_structure(planted_ct: CaseResult, tmp_path: Path) -> None:
    masks = {name: np.zeros_like(mask) for name, mask in planted_ct.masks.items()}
    result = dataclasses.replace(planted_ct, masks=masks)
    files = write_case(result, tmp_path, frozenset({"json", "rtstruct", "sc"}))
    assert files[0] == "study-0badcafe/findings.json"
    assert files[1] == "study-0badcafe/sc/01.dcm"
    assert "study-0badcafe/rtstruct.dcm" not in files
    assert "no-dicom-output" in (tmp_path / files[0]).read_text()


def test_nifti_input_has_no_captures(spheres: CaseResult, tmp_path: Path) -> None:
    assert write_case(spheres, tmp_path, frozenset({"json", "sc", "rtstruct"})) == ["Case_P001/findings.json"]
