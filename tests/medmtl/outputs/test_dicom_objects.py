"""SEG and SR on a real CT series, checked by programs that did not write them."""

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from medmtl.errors import Code, OutputError
from medmtl.geometry.grid import Grid
from medmtl.outputs.dicom_check import check_report, check_segmentation, part10_bytes
from medmtl.outputs.dicom_seg import segmentation
from medmtl.outputs.dicom_source import read_source
from medmtl.outputs.dicom_sr import expected_numbers
from medmtl.outputs.structures import Structure, structures_of
from medmtl.outputs.write_case import write_case
from medmtl.result import CaseResult


@pytest.fixture(scope="module")
def written(planted_ct: CaseResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom")
    write_case(planted_ct, folder, frozenset({"seg", "sr"}))
    return folder / planted_ct.case


def program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (dcmqi from PyPI, dicom3tools from Debian)")
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=120)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["seg.dcm", "sr.dcm"])
def test_dciodvfy_finds_no_error(written: Path, name: str) -> None:
    said = run(program("dciodvfy"), "-new", written / name)
    assert [line for line in said.splitlines() if line.startswith("Error")] == []
    assert "Segmentation" in said or "Comprehensive3DSR" in said  # it did recognise the object


def test_dcmqi_reads_the_same_voxels_at_the_same_place(written: Path, planted_ct: CaseResult, tmp_path: Path) -> None:
    command = program("segimage2itkimage")
    run(command, "--inputDICOM", written / "seg.dcm", "--outputDirectory", tmp_path, "--prefix", "s", "-t", "nrrd")
    grid = planted_ct.volume.grid
    structures = structures_of(planted_ct)
    assert len(structures) == 4
    meta = json.loads((tmp_path / "s-meta.json").read_text())
    labels = [row[0]["SegmentLabel"] for row in meta["segmentAttributes"]]
    assert labels == [s.label.title("en") for s in structures]
    for structure in structures:
        image = SimpleITK.ReadImage(str(tmp_path / f"s-{structure.number}.nrrd"))
        found = np.argwhere(SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0) > 0)
        ml = len(found) * float(np.prod(image.GetSpacing())) / 1000.0
        told = planted_ct.findings["tasks"][structure.task]["values"][structure.label.name]
        assert len(found) == told["voxels"] >= 100
        assert abs(ml - told["ml"]) < 1e-5 * told["ml"]
        matrix = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        index = np.rint(grid.to_index(found @ matrix.T + np.array(image.GetOrigin()))).astype(int)
        back = np.zeros(grid.shape, dtype=bool)
        back[tuple(index.T)] = True
        assert np.array_equal(back, structure.mask)


def test_dcmqi_reads_the_same_measurements(written: Path, planted_ct: CaseResult, tmp_path: Path) -> None:
    run(program("tid1500reader"), "--inputDICOM", written / "sr.dcm", "--outputMetadata", tmp_path / "sr.json")
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    read = {g["TrackingIdentifier"]: {m["quantity"]["CodeMeaning"]: m for m in g["measurementItems"]} for g in groups}
    seg_uid = str(pydicom.dcmread(written / "seg.dcm").SOPInstanceUID)
    for structure in structures_of(planted_ct):
        name = f"{structure.task}.{structure.label.name}"
        volume = read[name]["Volume"]
        told = planted_ct.findings["tasks"][structure.task]["values"][structure.label.name]["ml"]
        assert float(volume["value"]) == pytest.approx(told, rel=1e-9)
        assert volume["units"]["CodeValue"] == "mL"
        group = next(g for g in groups if g["TrackingIdentifier"] == name)
        assert (group["segmentationSOPInstanceUID"], group["ReferencedSegment"]) == (seg_uid, structure.number)
    assert float(read["Lesion 1"]["Long axis"]["value"]) == 42.34567
    assert float(read["diagnosis.infarction"]["Probability"]["value"]) == 0.931
    said = next(g for g in groups if g["TrackingIdentifier"] == "diagnosis.infarction")["qualitativeEvaluations"]
    assert said[0]["conceptValue"]["CodeValue"] == "22298006"


def test_objects_say_research_and_follow_the_source(written: Path, planted_ct: CaseResult) -> None:
    source = planted_ct.volume.dicom
    assert source is not None
    header = pydicom.dcmread(source.instances[0], stop_before_pixels=True)
    for name, modality in (("seg.dcm", "SEG"), ("sr.dcm", "SR")):
        ds = pydicom.dcmread(written / name)
        assert ds.SeriesDescription.startswith("RESEARCH medmtl")
        assert (ds.Modality, ds.StudyInstanceUID, ds.PatientID) == (modality, source.study_uid, header.PatientID)
        assert (ds.ContentDate, ds.SeriesDate) == (header.StudyDate, header.StudyDate)
        assert ds.SOPInstanceUID.startswith("2.25.")
        assert ds.SeriesInstanceUID != source.series_uid
    seg = pydicom.dcmread(written / "seg.dcm")
    core = seg.SegmentSequence[1]
    assert core.SegmentLabel == "Microvascular obstruction (no-reflow)"
    assert core.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    cavity = seg.SegmentSequence[2].SegmentedPropertyTypeCodeSequence[0]
    assert cavity.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"


def test_same_case_same_bytes_in_another_process(written: Path, shared: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import conftest as c\n"
        "from medmtl.task import tasks_from_mapping; from medmtl.outputs.write_case import write_case\n"
        "result = c.plant.__wrapped__(tasks_from_mapping(c.TASKS))(Path(sys.argv[2]))\n"
        "write_case(result, Path(sys.argv[3]), frozenset({'seg', 'sr'}))\n"
    )
    here, root = Path(__file__).parent, Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-c", code, here, shared / "dicom" / "ct_axial_28", tmp_path],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(root), "TZ": "Asia/Shanghai"},
        check=True,
        timeout=120,
    )
    for name in ("seg.dcm", "sr.dcm"):
        assert (tmp_path / "study-0badcafe" / name).read_bytes() == (written / name).read_bytes()


def test_another_answer_has_other_uids(written: Path, planted_ct: CaseResult) -> None:
    lesions = planted_ct.masks["lesions"].copy()
    lesions[np.unravel_index(np.argmax(lesions), lesions.shape)] = 0
    other = read_source(dataclasses.replace(planted_ct, masks={**planted_ct.masks, "lesions": lesions}))
    assert other.uid("seg") != str(pydicom.dcmread(written / "seg.dcm").SOPInstanceUID)


def test_the_name_of_a_case_does_not_change_its_objects(planted_ct: CaseResult) -> None:
    renamed = dataclasses.replace(planted_ct, case="b", findings={**planted_ct.findings, "case": "b"})
    assert read_source(renamed).digest == read_source(planted_ct).digest


@pytest.mark.parametrize("folder", ["mr_sag_10", "seg_ct3_liver/ct"])
def test_other_orientations_and_poor_headers(
    plant: Callable[[Path], CaseResult], shared: Path, tmp_path: Path, folder: str
) -> None:
    result = plant(shared / "dicom" / folder)
    files = write_case(result, tmp_path, frozenset({"seg", "sr"}))
    assert len(files) == 2
    for name in files:
        said = run(program("dciodvfy"), "-new", tmp_path / name)
        assert [line for line in said.splitlines() if line.startswith("Error")] == []


@pytest.fixture(scope="module")
def seg_bytes(planted_ct: CaseResult) -> bytes:
    return part10_bytes(segmentation(planted_ct, read_source(planted_ct), structures_of(planted_ct)))


def test_the_read_back_notices_one_voxel(planted_ct: CaseResult, seg_bytes: bytes) -> None:
    structures = structures_of(planted_ct)
    check_segmentation(seg_bytes, structures, planted_ct.volume.grid)
    mask = structures[0].mask.copy()
    mask[0, 0, 0] = True
    changed: tuple[Structure, ...] = (dataclasses.replace(structures[0], mask=mask), *structures[1:])
    with pytest.raises(OutputError) as caught:
        check_segmentation(seg_bytes, changed, planted_ct.volume.grid)
    assert caught.value.code is Code.OUTPUT_CHECK_FAILED


@pytest.mark.parametrize("shift", [(0.2, 0, 0), (0, 0, 5.0), (0, 0, 140.0)])
def test_the_read_back_notices_another_place(
    planted_ct: CaseResult, seg_bytes: bytes, shift: tuple[float, float, float]
) -> None:
    affine = planted_ct.volume.grid.affine.copy()
    affine[:3, 3] += shift
    with pytest.raises(OutputError):
        check_segmentation(
            seg_bytes, structures_of(planted_ct), Grid(shape=planted_ct.volume.grid.shape, affine=affine)
        )


def test_the_read_back_notices_another_number(written: Path, planted_ct: CaseResult) -> None:
    data = (written / "sr.dcm").read_bytes()
    numbers = expected_numbers(planted_ct, structures_of(planted_ct))
    check_report(data, numbers)
    assert len(pydicom.dcmread(io.BytesIO(data)).ContentSequence) > 0
    with pytest.raises(OutputError):
        check_report(data, numbers + np.eye(len(numbers))[0])
    with pytest.raises(OutputError):
        check_report(data, numbers[:-1])
