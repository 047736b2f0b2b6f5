"""RT Structure Sets on synthetic grids of all orientations and on real series, read by pydicom and the headers."""

import dataclasses
import io
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medmtl.errors import Code, OutputError
from medmtl.geometry.grid import Grid
from medmtl.outputs import dicom_rtstruct as module
from medmtl.outputs.dicom_check import part10_bytes
from medmtl.outputs.dicom_rtstruct import check_structure_set, structure_set
from medmtl.outputs.dicom_source import SourceStudy, read_source
from medmtl.outputs.structures import structures_of
from medmtl.outputs.write_case import write_case
from medmtl.result import CaseResult
from medmtl.shapes import FloatArray, Mask
from medmtl.volume import Volume


@pytest.fixture(scope="module")
def holed_ct(planted_ct: CaseResult) -> CaseResult:
    """The planted series with a second piece of infarct, on the patient's left, and a ring with an island."""
    lesions, organs = planted_ct.masks["lesions"].copy(), planted_ct.masks["organs"].copy()
    lesions[400:430, 300:321, 2] = 1
    organs[300:340, 100:150, 5:8] = 3
    organs[310:330, 110:140, 5:8] = 0
    organs[318:322, 120:127, 5:8] = 3
    return dataclasses.replace(planted_ct, masks={"lesions": lesions, "organs": organs})


@pytest.fixture(scope="module")
def written(holed_ct: CaseResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rtstruct")
    assert write_case(holed_ct, folder, frozenset({"rtstruct"})) == [f"{holed_ct.case}/rtstruct.dcm"]
    return folder / holed_ct.case / "rtstruct.dcm"


def points_of(contour: Dataset) -> FloatArray:
    return np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)


def inside(polygon: FloatArray, centres: FloatArray) -> Mask:
    """By the winding number, which keyholes and even-odd rules do not share."""
    turned = np.zeros(len(centres))
    for here, there in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        side = (there[0] - here[0]) * (centres[:, 1] - here[1]) - (centres[:, 0] - here[0]) * (there[1] - here[1])
        turned += (here[1] <= centres[:, 1]) & (there[1] > centres[:, 1]) & (side > 0)
        turned -= (here[1] > centres[:, 1]) & (there[1] <= centres[:, 1]) & (side < 0)
    return np.asarray(turned != 0)


def in_pixels(contour: Dataset, header: Dataset) -> FloatArray:
    """Column and row of a contour's points on the slice it refers to, by PS3.3 C.7.6.2.1.1."""
    orientation = np.array(header.ImageOrientationPatient, dtype=float)
    offset = points_of(contour) - np.array(header.ImagePositionPatient, dtype=float)
    assert np.abs(offset @ np.cross(orientation[:3], orientation[3:])).max() < 0.06  # on that slice
    row_gap, column_gap = (float(v) for v in header.PixelSpacing)
    return np.stack([offset @ orientation[:3] / column_gap, offset @ orientation[3:] / row_gap], axis=1)


def test_headers_and_winding_give_the_masks_back(written: Path, holed_ct: CaseResult) -> None:
    assert holed_ct.volume.dicom is not None
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in holed_ct.volume.dicom.instances]
    slices = {str(header.SOPInstanceUID): (k, header) for k, header in enumerate(headers)}
    dataset = pydicom.dcmread(written)
    n_i, n_j, _ = holed_ct.volume.grid.shape
    for structure, item in zip(structures_of(holed_ct), dataset.ROIContourSequence, strict=True):
        seen = set()
        for k in sorted({*np.flatnonzero(structure.mask.any(axis=(0, 1)))[[0, -1]].tolist(), 2}):
            back = np.zeros((n_i, n_j), dtype=bool)
            for contour in item.ContourSequence:
                at, header = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
                seen.add(at)
                if at == k:
                    polygon = in_pixels(contour, header)
                    low = np.maximum(np.floor(polygon.min(axis=0)).astype(int), 0)
                    high = np.ceil(polygon.max(axis=0)).astype(int) + 1
                    i, j = np.mgrid[low[0] : high[0], low[1] : high[1]]
                    centres = np.stack([i.ravel(), j.ravel()], axis=1)
                    held = centres[inside(polygon, centres.astype(float))]
                    back[held[:, 0], held[:, 1]] = True
            assert np.array_equal(back, structure.mask[:, :, k]), (structure.number, k)
        assert seen == set(np.flatnonzero(structure.mask.any(axis=(0, 1))).tolist())
    pieces = [c for c in dataset.ROIContourSequence[0].ContourSequence if in_slice(c, headers[2])]
    assert len(pieces) == 2


def in_slice(contour: Dataset, header: Dataset) -> bool:
    return bool(contour.ContourImageSequence[0].ReferencedSOPInstanceUID == header.SOPInstanceUID)


def test_dciodvfy_finds_no_error(written: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (dicom3tools from Debian)")
    done = subprocess.run([program, "-new", written], capture_output=True, text=True, check=False, timeout=120)
    said = (done.stdout + done.stderr).splitlines()
    assert [line for line in said if line.startswith("Error")] == []
    assert "RTStructureSet" in said


def test_names_colours_codes_and_references(written: Path, holed_ct: CaseResult) -> None:
    source = holed_ct.volume.dicom
    assert source is not None
    dataset = pydicom.dcmread(written)
    assert dataset.SeriesDescription.startswith("RESEARCH medmtl")
    assert dataset.StructureSetLabel.startswith("RESEARCH")
    assert (dataset.Modality, dataset.StudyInstanceUID) == ("RTSTRUCT", source.study_uid)
    assert dataset.SeriesInstanceUID != source.series_uid
    assert dataset.ApprovalStatus == "UNAPPROVED"
    header = pydicom.dcmread(source.instances[0], stop_before_pixels=True)
    assert (dataset.StructureSetDate, dataset.PatientID) == (header.StudyDate, header.PatientID)
    frame = dataset.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == source.frame_of_reference_uid
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == source.series_uid
    assert tuple(str(i.ReferencedSOPInstanceUID) for i in series.ContourImageSequence) == source.instance_uids
    structures = structures_of(holed_ct)
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == [s.label.title("en") for s in structures]
    assert float(dataset.StructureSetROISequence[0].ROIVolume) == pytest.approx(
        structures[0].mask.sum() * holed_ct.volume.grid.voxel_ml
    )
    assert list(dataset.ROIContourSequence[0].ROIDisplayColor) == [0xE8, 0xB2, 0x3A]
    cavity, spleen = dataset.RTROIObservationsSequence[2], dataset.RTROIObservationsSequence[4]
    code = cavity.RTROIIdentificationCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator, cavity.RTROIInterpretedType) == ("87878005", "SCT", "ORGAN")
    assert code.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert "RTROIIdentificationCodeSequence" not in spleen  # its label has no code
    assert dataset.RTROIObservationsSequence[0].RTROIInterpretedType == ""


def test_left_stays_left(written: Path, holed_ct: CaseResult) -> None:
    dataset = pydicom.dcmread(written)
    marker = np.zeros(holed_ct.volume.grid.shape, dtype=bool)
    marker[400:430, 300:321, 2] = True
    middle = holed_ct.volume.grid.to_lps(np.argwhere(marker).mean(axis=0))
    centres = [points_of(contour).mean(axis=0) for contour in dataset.ROIContourSequence[0].ContourSequence]
    nearest = min(centres, key=lambda centre: float(np.linalg.norm(centre - middle)))
    assert np.linalg.norm(nearest - middle) < 0.5 * min(holed_ct.volume.grid.spacing)
    assert nearest[0] > max(centre[0] for centre in centres if centre is not nearest)  # +x is the patient's left


def synthetic(spheres: CaseResult, affine: FloatArray, frames: bool = False) -> tuple[CaseResult, SourceStudy]:
    """The small case on another grid, with headers as a series, or one multi-frame file, would have them."""
    grid = Grid(shape=spheres.volume.grid.shape, affine=affine)
    volume = Volume(array=spheres.volume.array, grid=grid, modality="MR", content_hash="34" * 32)
    headers = []
    for k in range(1 if frames else grid.shape[2]):
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", f"1.2.3.{k + 1}"
        header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.4", "1.2.5"
        header.SpecificCharacterSet = "ISO_IR 100"
        headers.append(header)
    source = SourceStudy(
        headers=tuple(headers),
        slices=tuple((0, k + 1) if frames else (k, 0) for k in range(grid.shape[2])),
        frame_of_reference_uid="1.2.6",
        date="20200101",
        time="101112",
        digest="ab",
    )
    return dataclasses.replace(spheres, channels=(volume,)), source


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_all_orientations(spheres: CaseResult, order: tuple[int, int, int]) -> None:
    small = dataclasses.replace(
        spheres, masks={"organs": np.zeros((80, 72, 9), dtype=np.uint8)}, tasks=spheres.tasks[1:]
    )
    small.masks["organs"][50:56, 20:23, 3] = 1
    for signs in itertools.product((1.0, -1.0), repeat=3):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, list(order)] * np.array(signs) * np.array([0.7, 0.9, 5.0])
        affine[:3, 3] = (-31.0, 12.5, 80.1)
        result, source = synthetic(small, affine)
        structures = structures_of(result)
        data = part10_bytes(structure_set(result, source, structures))
        check_structure_set(data, structures, result.volume.grid)
        (contour,) = pydicom.dcmread(io.BytesIO(data)).ROIContourSequence[0].ContourSequence
        middle = affine[:3, :3] @ (52.5, 21.0, 3.0) + affine[:3, 3]
        assert points_of(contour).mean(axis=0) == pytest.approx(middle, abs=0.05)
        assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"


@pytest.mark.parametrize("tilt", [0.0, 0.3, -0.3])
def test_oblique_and_tilted_grids(spheres: CaseResult, tilt: float) -> None:
    affine = spheres.volume.grid.affine.copy()
    affine[:3, 2] += tilt * affine[:3, 1]
    result, source = synthetic(spheres, affine)
    structures = structures_of(result)
    dataset = structure_set(result, source, structures)
    check_structure_set(part10_bytes(dataset), structures, result.volume.grid)
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    for contour in pydicom.dcmread(io.BytesIO(part10_bytes(dataset))).ROIContourSequence[0].ContourSequence:
        assert np.ptp(points_of(contour) @ normal) < 0.005  # closed planar


def test_contours_refer_to_the_frames_of_a_multi_frame_source(spheres: CaseResult) -> None:
    result, source = synthetic(spheres, spheres.volume.grid.affine, frames=True)
    dataset = structure_set(result, source, structures_of(result))
    frame = dataset.ReferencedFrameOfReferenceSequence[0]
    assert len(frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].ContourImageSequence) == 1
    grid = result.volume.grid
    for contour in pydicom.dcmread(io.BytesIO(part10_bytes(dataset))).ROIContourSequence[0].ContourSequence:
        k = round(float(grid.to_index(points_of(contour))[0, 2]))
        assert contour.ContourImageSequence[0].ReferencedFrameNumber == k + 1


def test_same_case_same_bytes_in_another_process(written: Path, holed_ct: CaseResult, tmp_path: Path) -> None:
    for name, mask in holed_ct.masks.items():
        np.save(tmp_path / f"{name}.npy", mask)
    code = (
        "import dataclasses, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import conftest as c\n"
        "import numpy as np; from medmtl.task import tasks_from_mapping\n"
        "from medmtl.outputs.write_case import write_case; out = Path(sys.argv[3])\n"
        "result = c.plant.__wrapped__(tasks_from_mapping(c.TASKS))(Path(sys.argv[2]))\n"
        "masks = {name: np.load(out / f'{name}.npy') for name in ('lesions', 'organs')}\n"
        "write_case(dataclasses.replace(result, masks=masks), out, frozenset({'rtstruct'}))\n"
    )
    here, root = Path(__file__).parent, Path(__file__).parents[3]
    assert holed_ct.volume.dicom is not None
    series = Path(holed_ct.volume.dicom.instances[0]).parent
    subprocess.run(
        [sys.executable, "-c", code, here, series, tmp_path],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(root), "TZ": "Asia/Shanghai"},
        check=True,
        timeout=120,
    )
    assert (tmp_path / holed_ct.case / "rtstruct.dcm").read_bytes() == written.read_bytes()


def test_the_read_back_notices_a_voxel_a_place_and_a_missing_structure(written: Path, holed_ct: CaseResult) -> None:
    data, structures, grid = written.read_bytes(), structures_of(holed_ct), holed_ct.volume.grid
    check_structure_set(data, structures, grid)
    mask = structures[0].mask.copy()
    mask[0, 0, 0] = True
    moved = grid.affine.copy()
    moved[:3, 3] += (0.0, 0.0, 0.5)
    for wanted, where in (
        ((dataclasses.replace(structures[0], mask=mask), *structures[1:]), grid),
        (structures[:-1], grid),
        (structures, Grid(shape=grid.shape, affine=moved)),
    ):
        with pytest.raises(OutputError) as caught:
            check_structure_set(data, wanted, where)
        assert caught.value.code is Code.OUTPUT_CHECK_FAILED


def test_contours_that_miss_their_mask_are_never_named(
    holed_ct: CaseResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right: Callable[[Mask], tuple[FloatArray, ...]] = module.outlines
    monkeypatch.setattr(module, "outlines", lambda mask: tuple(polygon + 0.7 for polygon in right(mask)))
    with pytest.raises(OutputError) as caught:
        write_case(holed_ct, tmp_path, frozenset({"rtstruct"}))
    assert caught.value.code is Code.OUTPUT_CHECK_FAILED
    assert list(tmp_path.iterdir()) == []


def test_a_sagittal_series(plant: Callable[[Path], CaseResult], shared: Path, tmp_path: Path) -> None:
    result = plant(shared / "dicom" / "mr_sag_10")
    write_case(result, tmp_path, frozenset({"rtstruct"}))
    dataset = pydicom.dcmread(tmp_path / result.case / "rtstruct.dcm")
    header = read_source(result).headers[2]
    core = next(c for c in dataset.ROIContourSequence[1].ContourSequence if in_slice(c, header))
    pixels = in_pixels(core, header)
    where = np.argwhere(result.masks["lesions"][:, :, 2] == 2)
    assert pixels.min(axis=0) == pytest.approx(where.min(axis=0) - 0.5, abs=0.41)
    assert pixels.max(axis=0) == pytest.approx(where.max(axis=0) + 0.5, abs=0.41)
