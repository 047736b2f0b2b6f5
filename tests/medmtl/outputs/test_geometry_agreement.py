"""SEG, RTSTRUCT and NIfTI of one mask on series of every orientation, tilted and oblique, read back by others."""

import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medmtl.errors import Code
from medmtl.outputs.deidentify import Pseudonyms
from medmtl.outputs.write_case import write_case
from medmtl.pipeline.anonymous_case import anonymous
from medmtl.reading.any_volume import discover, each_series, read_case
from medmtl.volume import Volume

Points = Any
Answered = Callable[[Volume, dict[str, Any]], Any]
COLUMNS, ROWS, COUNT = 24, 20, 7
GAPS = (0.8, 1.3)  # mm from column to column, from row to row


def turns() -> list[tuple[tuple[int, ...], tuple[int, ...], bool]]:
    """Every direction of rows and columns along the body's axes, files from either end: 48."""
    units = [tuple(int(v) for v in sign * np.eye(3)[axis]) for axis in range(3) for sign in (1, -1)]
    pairs = [(row, column) for row, column in itertools.product(units, units) if not np.dot(row, column)]
    return [(row, column, ascending) for row, column in pairs for ascending in (True, False)]


def series(
    folder: Path, row: Any, column: Any, step: Any, ascending: bool = True, places: Any = tuple(range(COUNT))
) -> Path:
    """A CT whose slices lie at `places` steps of `step` mm, its middle at the origin of the patient."""
    row, column, step = (np.asarray(v, dtype=float) for v in (row, column, step))
    middle = row * GAPS[0] * (COLUMNS - 1) / 2 + column * GAPS[1] * (ROWS - 1) / 2 + step * (COUNT - 1) / 2
    folder.mkdir()
    for number in range(COUNT):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        k = number if ascending else COUNT - 1 - number
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"1.2.840.9.1.{number + 1}"
        meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.840.9", "1.2.840.9.1"
        header.FrameOfReferenceUID, header.Modality, header.InstanceNumber = "1.2.840.9.2", "CT", number + 1
        header.PatientID, header.PatientName, header.StudyDate, header.StudyTime = "T", "T^T", "20200101", "101112"
        header.Rows, header.Columns, header.SamplesPerPixel = ROWS, COLUMNS, 1
        header.PhotometricInterpretation, header.BitsAllocated, header.BitsStored = "MONOCHROME2", 16, 16
        header.HighBit, header.PixelRepresentation = 15, 1
        header.RescaleSlope, header.RescaleIntercept = 1, 0
        header.PixelSpacing = [GAPS[1], GAPS[0]]
        header.ImageOrientationPatient = [*row.tolist(), *column.tolist()]
        header.ImagePositionPatient = [round(float(v), 6) for v in step * places[k] - middle]
        header.PixelData = np.full((ROWS, COLUMNS), 10 * k - 900, dtype=np.int16).tobytes()
        header["PixelData"].VR = "OW"
        header.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def planted(volume: Volume) -> dict[str, Any]:
    """An organ round the middle, and a marker far on the patient's left: +x."""
    size = np.array(volume.grid.shape)
    index = np.indices(volume.grid.shape).reshape(3, -1).T.astype(float)
    points = volume.grid.to_lps(index)
    reach = np.abs(volume.grid.to_lps(size - 1.0) - volume.grid.to_lps((size - 1.0) / 2))[0]
    organs = (np.abs(index - (size - 1) / 2) < size * np.array([0.3, 0.2, 0.4])).all(axis=1)
    lesions = (points[:, 0] > 0.5 * reach) & (np.abs(index - (size - 1) / 2) < size * 0.45).all(axis=1)
    return {
        "organs": (organs * 2).reshape(volume.grid.shape).astype(np.uint8),
        "lesions": lesions.reshape(volume.grid.shape).astype(np.uint8),
    }


def in_seg(path: Path) -> dict[str, Points]:
    """LPS mm of every pixel of each segment, by pydicom and PS3.3 C.7.6.2.1.1 alone."""
    seg = pydicom.dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    gaps = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, dtype=float)
    names = {int(s.SegmentNumber): s.SegmentLabel for s in seg.SegmentSequence}
    found: dict[str, list[Points]] = {name: [] for name in names.values()}
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        origin = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        rows, columns = np.nonzero(pixels)
        there = origin + np.outer(columns * gaps[1], axes[:3]) + np.outer(rows * gaps[0], axes[3:])
        found[names[int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]].append(there)
    return {name: np.concatenate(points) for name, points in found.items()}


def in_nifti(path: Path, value: int) -> Points:
    image = nib.load(path)
    index = np.argwhere(np.asarray(image.dataobj) == value)
    return nib.affines.apply_affine(image.affine, index) * np.array([-1, -1, 1])


def contours(path: Path) -> dict[str, list[Points]]:
    dataset = pydicom.dcmread(path)
    names = {int(roi.ROINumber): roi.ROIName for roi in dataset.StructureSetROISequence}
    return {
        names[int(roi.ReferencedROINumber)]: [
            np.array(contour.ContourData, dtype=float).reshape(-1, 3) for contour in roi.ContourSequence
        ]
        for roi in dataset.ROIContourSequence
    }


def assert_contours_hold(polygons: list[Points], points: Points, grid: Any) -> None:
    """Every point lies in one of the polygons of its plane, and these hold no more area than the points do."""
    held = np.zeros(len(points), dtype=bool)
    index, area = grid.to_index(points), 0.0
    for polygon in polygons:
        corners = grid.to_index(polygon)
        k = corners[0, 2]
        assert np.abs(corners[:, 2] - round(float(k))).max() < 0.02
        here = np.abs(index[:, 2] - k) < 0.5
        held[here] |= even_odd(corners[:, :2], index[here][:, :2])
        x, y = corners[:, 0], corners[:, 1]
        area += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    assert held.all()
    assert area == pytest.approx(len(points), rel=0.03)


def even_odd(corners: Points, points: Points) -> Any:
    inside = np.zeros(len(points), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        if crosses.any():
            inside ^= crosses & (points[:, 0] < x0 + (points[:, 1] - y0) * (x1 - x0) / (y1 - y0 or 1.0))
    return inside


def farthest_mm(one: Points, other: Points) -> float:
    """Largest distance from a point of either set to the nearest of the other."""
    gaps = np.linalg.norm(one[:, None] - other[None], axis=2)
    return float(max(gaps.min(axis=0).max(), gaps.min(axis=1).max()))


def told(volume: Volume) -> list[dict[str, str]]:
    return [{"code": notice.code, "text": notice.text} for notice in volume.notices]


def assert_agreement(folder: Path, out: Path, answered: Answered) -> Path:
    (case,) = discover(folder)
    volume = read_case(case)[0]
    masks = planted(volume)
    result = answered(volume, masks)
    result.findings["warnings"] = told(volume)
    write_case(result, out, frozenset({"seg", "rtstruct", "nii", "json"}))
    written = out / result.case
    drawn = {
        "Infarct": volume.grid.to_lps(np.argwhere(masks["lesions"] == 1).astype(float)),
        "Left ventricular myocardium": volume.grid.to_lps(np.argwhere(masks["organs"] == 2).astype(float)),
    }
    seg, outlined = in_seg(written / "seg.dcm"), contours(written / "rtstruct.dcm")
    nifti = {
        "Infarct": in_nifti(written / "lesions.nii.gz", 1),
        "Left ventricular myocardium": in_nifti(written / "organs.nii.gz", 2),
    }
    half = min(*GAPS, volume.grid.spacing[2]) / 2
    for name, points in drawn.items():
        assert len(seg[name]) == len(nifti[name]) == len(points) > 20
        assert farthest_mm(seg[name], points) < 0.01 < half
        assert farthest_mm(nifti[name], points) < 0.01
        assert_contours_hold(outlined[name], points, volume.grid)
    # the planted marker lies on the patient's left, and so it does in each file
    for marker in (seg["Infarct"], nifti["Infarct"], np.concatenate(outlined["Infarct"])):
        assert marker[:, 0].min() > 0
    return written


@pytest.mark.parametrize("group", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 6))])
def test_all_48_orientations(tmp_path: Path, answered: Answered, group: int) -> None:
    assert len(turns()) == 48
    for number, (row, column, ascending) in enumerate(turns()[group::6]):
        folder = series(tmp_path / f"in{number}", row, column, 3.0 * np.cross(row, column), ascending)
        assert_agreement(folder, tmp_path / f"out{number}", answered)


def oblique() -> tuple[Points, Points, Points]:
    turn = np.linalg.qr(np.random.default_rng(11).normal(size=(3, 3)))[0]
    row, column = turn[:, 0], turn[:, 1]
    return row, column, 3.0 * np.cross(row, column)


UNEVEN = (0, 1, 2, 2.6, 4.1, 5.6, 7.1)


@pytest.mark.parametrize("degrees", [0.0, 18.5])
def test_uneven_slices_get_their_masks_on_themselves(tmp_path: Path, answered: Answered, degrees: float) -> None:
    folder = series(tmp_path / "in", *tilted(degrees), places=UNEVEN)
    (case,) = discover(folder)
    volume = read_case(case)[0]
    assert volume.grid.shape[2] == 13  # 7.1 in steps of 0.6 at most
    nearest = [round(12 * place / UNEVEN[-1]) for place in UNEVEN]
    masks = planted(volume)
    for k in range(volume.grid.shape[2]):  # no two planes next to each other are alike
        masks["organs"][COLUMNS // 2 - k % 3, :, k] = 0
    result = answered(volume, masks)
    result.findings["warnings"] = told(volume)
    files = write_case(result, tmp_path / "out", frozenset({"seg", "sr", "rtstruct", "sc", "nii", "json"}))
    written = tmp_path / "out" / result.case
    images = {str(header.SOPInstanceUID): header for header in map(pydicom.dcmread, folder.iterdir())}
    seg = pydicom.dcmread(written / "seg.dcm")
    met = set()
    for frame in seg.PerFrameFunctionalGroupsSequence:
        image = images[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert frame.PlanePositionSequence[0].ImagePositionPatient == image.ImagePositionPatient
        met.add(image.SOPInstanceUID)
    drawn_on = (masks["organs"] + masks["lesions"]).any(axis=(0, 1))
    assert len(met) == drawn_on[nearest].sum() > 4
    on_slices, outlined = in_seg(written / "seg.dcm"), contours(written / "rtstruct.dcm")
    for name, task, value in (("Infarct", "lesions", 1), ("Left ventricular myocardium", "organs", 2)):
        drawn = np.argwhere(masks[task][:, :, nearest] == value).astype(float)
        drawn[:, 2] = 12 * np.array(UNEVEN)[drawn[:, 2].astype(int)] / UNEVEN[-1]
        points = volume.grid.to_lps(drawn)
        assert len(points) == len(on_slices[name]) > 20
        assert farthest_mm(points, on_slices[name]) < 0.01
        heights = {round(float(h), 1) for h in np.concatenate(outlined[name]) @ slice_normal(degrees)}
        assert heights == {round(float(h), 1) for h in points @ slice_normal(degrees)}
        even = in_nifti(written / f"{task}.nii.gz", value)
        assert farthest_mm(even, volume.grid.to_lps(np.argwhere(masks[task] == value).astype(float))) < 0.01
    # readers that take slices for even ones find all of it beside
    image = SimpleITK.ReadImage(str(written / "upright/image.nii.gz"))
    read = by_dcmqi(written / "upright/seg.dcm", tmp_path / "itk")
    assert image.GetSize()[2] == 13
    assert len(read) == 2
    warnings = (written / "findings.json").read_text()
    assert warnings.count(f'"{Code.TILTED}"') == (1 if degrees else 0)
    assert f"{result.case}/sr.dcm" in files


def slice_normal(degrees: float) -> Points:
    row, column, _ = tilted(degrees)
    return np.cross(row, column)


def tilted(degrees: float) -> tuple[Points, Points, Points]:
    angle = np.radians(degrees)
    return (1, 0, 0), (0, np.cos(angle), -np.sin(angle)), (0, 0, 3.0)


def program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (dcmqi from PyPI, dicom3tools from Debian)")
    return found


def by_dcmqi(path: Path, folder: Path) -> list[SimpleITK.Image]:
    folder.mkdir(exist_ok=True)
    command = [program("segimage2itkimage"), "--inputDICOM", path, "--outputDirectory", folder, "--prefix", "s"]
    subprocess.run([*map(str, command), "-t", "nrrd"], capture_output=True, check=False, timeout=60)
    return [SimpleITK.ReadImage(str(file)) for file in sorted(folder.glob("s-*.nrrd"))]


def of_image(image: SimpleITK.Image) -> Points:
    index = np.argwhere(SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0) > 0)
    return np.array([image.TransformContinuousIndexToPhysicalPoint([float(v) for v in one]) for one in index])


def test_an_oblique_series(tmp_path: Path, answered: Answered) -> None:
    written = assert_agreement(series(tmp_path / "in", *oblique()), tmp_path / "out", answered)
    assert not (written / "upright").exists()
    images = by_dcmqi(written / "seg.dcm", tmp_path / "itk")
    assert farthest_mm(of_image(images[0]), in_seg(written / "seg.dcm")["Infarct"]) < 0.01


@pytest.mark.parametrize("degrees", [18.5, -16.5])
def test_tilted_series_come_back_on_their_slices_and_upright(
    tmp_path: Path, answered: Answered, degrees: float
) -> None:
    folder = series(tmp_path / "in", *tilted(degrees))
    written = assert_agreement(folder, tmp_path / "out", answered)
    assert (written / "findings.json").read_text().count(f'"{Code.TILTED}"') == 1
    on_slices = in_seg(written / "seg.dcm")
    upright = in_seg(written / "upright/seg.dcm")
    image = SimpleITK.ReadImage(str(written / "upright/lesions.nii.gz"))  # whose axes must be at right angles
    read = by_dcmqi(written / "upright/seg.dcm", tmp_path / "itk")
    assert len(read) == 2
    half = min(GAPS) / 2 + 0.01
    for name, points in on_slices.items():
        assert np.abs(upright[name].mean(axis=0) - points.mean(axis=0)).max() < half
        assert abs(len(upright[name]) / len(points) - 1) < 0.1
    assert farthest_mm(of_image(read[0]), upright["Infarct"]) < 0.01
    assert farthest_mm(of_image(image), upright["Infarct"]) < 0.01
    picture = SimpleITK.ReadImage(str(written / "upright/image.nii.gz"))
    for point, k in ((upright["Infarct"][0], None), (upright["Infarct"][-1], None)):
        value = picture.EvaluateAtPhysicalPoint(point.tolist(), SimpleITK.sitkNearestNeighbor)
        volume = read_case(discover(folder)[0])[0]
        k = round(float(volume.grid.to_index(point)[2]))
        assert value == 10 * k - 900  # the grey value written into slice k


ACCEPTED = [
    "hostile/control_ok",
    "hostile/tilt20",
    "hostile/inconsistent_spacing",
    "enh_ct_2f",
    "enh_mr_siemens_4vol/6_3.dcm",
]
LARGE = [
    "ct_axial_28", "ct_tilt_varspacing_10",
    "mr_sag_10", "study_ct_phantom", "enh_mr_philips_64f", "mr_multiecho_6x4", "seg_ct3_liver",
    "rt_ct2", "mr_axial_4d_2vol", "hostile/two_phases", "hostile/feet_first", "hostile/nonsquare",
    "hostile/localizer_mixed", "hostile/monochrome1", "hostile/padding_unsigned", "hostile/doubled_slice",
    "hostile/normal_minus_z", "hostile/perslice_slope", "hostile/jitter_spacing", "hostile/in_plane_shift",
    "hostile/spacing_tolerance_edge", "hostile/no_extension", "hostile/shuffled", "hostile/mixed_series",
]  # fmt: skip


@pytest.mark.parametrize("name", [*ACCEPTED, *(pytest.param(one, marks=pytest.mark.slow) for one in LARGE)])
def test_objects_of_every_accepted_input_pass_dciodvfy(
    shared: Path, tmp_path: Path, answered: Answered, name: str
) -> None:
    for number, case in enumerate(one for found in discover(shared / "dicom" / name) for one in each_series(found)):
        volume = read_case(case)[0]
        assert_sound(write_objects(volume, answered, tmp_path / str(number)))
        with anonymous((volume,), Pseudonyms(key=b"k" * 32)) as copied:
            written = write_objects(copied.channels[0], answered, tmp_path / f"{number}-anonymous")
            assert_sound([*written, *sorted(copied.copies.iterdir())])


def write_objects(volume: Volume, answered: Answered, folder: Path) -> list[Path]:
    organs = np.zeros(volume.grid.shape, dtype=np.uint8)
    i, j, _ = volume.grid.shape
    organs[i // 4 : i // 2, j // 4 : j // 2] = 2
    lesions = np.zeros_like(organs)
    lesions[i // 4 : i // 4 + 3, j // 4 : j // 4 + 4] = 1
    result = answered(volume, {"lesions": lesions, "organs": organs})
    files = write_case(result, folder, frozenset({"seg", "sr", "rtstruct", "sc"}))
    objects = [folder / file for file in files if file.endswith(".dcm")]
    assert {path.name for path in objects} >= {"seg.dcm", "sr.dcm", "rtstruct.dcm", "01.dcm"}
    return objects


def assert_sound(objects: list[Path]) -> None:
    for path in objects:
        command = [program("dciodvfy"), "-new", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        # dciodvfy of 2022 wants HU of derived CT frames, which are a map of blood flow here (PS3.3 C.8.15.3.10)
        assert [error for error in errors if not error.endswith("RescaleType(0028,1054)[1]> - " + UNITS)] == [], (
            path.name
        )


UNITS = "Unrecognized enumerated value = <US>"
