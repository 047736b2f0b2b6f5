"""The three cardiac samples: whole, small, licensed, without identity, and those of the rule."""

import csv
import shutil
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import yaml

from medmtl.task import tasks_from_mapping
from scripts.make_samples import chosen_cases

FOLDER = Path(__file__).resolve().parent.parent / "sample_data" / "cardiac_lge"
CASES = ("Case_N014", "Case_P002", "Case_P007")


def array(folder: str, case: str) -> np.ndarray:
    return np.asarray(nibabel.load(FOLDER / folder / f"{case}.nii.gz").dataobj)


def test_samples_are_small() -> None:
    everything = [path for path in FOLDER.parent.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in everything) < 6e6


def test_licence_lies_beside_the_samples() -> None:
    text = (FOLDER / "LICENCE").read_text()
    for said in ("CC BY-NC-SA 4.0", "emidec.com", "Lalande", "Changes made", "commercial"):
        assert said in text
    assert "CC BY-NC-SA 4.0" in (FOLDER.parent / "README.md").read_text()


def test_table_lists_the_cases() -> None:
    with (FOLDER / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == list(CASES)
    assert [row["diagnosis"] for row in rows] == ["normal", "infarction", "infarction"]
    assert {row["fold"] for row in rows} == {"0"}


def test_maps_fit_image_and_declared_labels() -> None:
    tasks = tasks_from_mapping(yaml.safe_load((FOLDER / "dataset.yaml").read_text())["tasks"])
    for case in CASES:
        image = nibabel.load(FOLDER / "images" / f"{case}.nii.gz")
        assert image.affine[2, 2] == image.header.get_zooms()[2] > 5
        for task in (task for task in tasks if task.is_voxel):
            labels = nibabel.load(FOLDER / task.name / f"{case}.nii.gz")
            assert np.array_equal(labels.affine, image.affine)
            assert set(np.unique(labels.dataobj)) <= {0, *(label.value for label in task.labels)}
        assert (array("organs", case)[array("lesions", case) > 0] == 2).all()


@pytest.mark.parametrize(("case", "kinds"), [("Case_N014", {0}), ("Case_P002", {0, 1, 2}), ("Case_P007", {0, 1})])
def test_each_case_stands_for_its_kind(case: str, kinds: set[int]) -> None:
    assert set(np.unique(array("lesions", case))) == kinds


def test_samples_are_those_of_the_rule(shared: Path) -> None:
    source = shared / "data" / "cardiac_lge_mr"
    if not source.is_dir():
        pytest.skip("the development set is not there")
    assert {row["case"] for row in chosen_cases(source)} == set(CASES)
    for case in CASES:
        for folder in ("images", "lesions", "organs"):
            original = nibabel.load(source / folder / f"{case}.nii.gz")
            assert np.array_equal(np.asarray(original.dataobj), array(folder, case))
            assert np.allclose(nibabel.load(FOLDER / folder / f"{case}.nii.gz").affine, original.affine, atol=1e-6)


@pytest.fixture(scope="module")
def slices() -> list[pydicom.FileDataset]:
    with zipfile.ZipFile(FOLDER / "dicom" / "Case_P002.zip") as archive:
        return [pydicom.dcmread(BytesIO(archive.read(name))) for name in sorted(archive.namelist())]


def test_dicom_study_holds_the_same_image(slices: list[pydicom.FileDataset]) -> None:
    image = nibabel.load(FOLDER / "images" / "Case_P002.nii.gz")
    stack = np.stack([one.pixel_array.T for one in slices], axis=2)
    assert np.array_equal(stack, np.asarray(image.dataobj))
    first, second = (np.array(one.ImagePositionPatient, dtype=float) for one in slices[:2])
    assert first == pytest.approx([0, 0, 0])
    assert second - first == pytest.approx([0, 0, 10])
    assert [float(v) for v in slices[0].PixelSpacing] == pytest.approx(image.header.get_zooms()[:2], abs=1e-6)


def test_dicom_study_names_no_one_but_the_phantom(slices: list[pydicom.FileDataset]) -> None:
    for one in slices:
        assert (one.PatientName, one.PatientID) == ("PHANTOM^SAMPLE", "PHANTOM-SAMPLE")
        assert not one.PatientBirthDate
        assert not one.PatientSex
        assert "CC BY-NC-SA 4.0" in one.ImageComments


def test_dicom_study_passes_dciodvfy(tmp_path: Path) -> None:
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy (apt package dicom3tools) is not installed")
    with zipfile.ZipFile(FOLDER / "dicom" / "Case_P002.zip") as archive:
        archive.extractall(tmp_path)
    for path in tmp_path.iterdir():
        done = subprocess.run([checker, str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in done.stdout + done.stderr, done.stderr
