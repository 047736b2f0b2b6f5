"""Series that hold several volumes: each apart, each by its name, none mixed."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medmtl.errors import Code, StudyError, UsageError
from medmtl.reading.any_volume import discover, each_series, list_series, read_case
from medmtl.volume import Volume


def volumes(folder: Path) -> list[Volume]:
    (case,) = discover(folder)
    return [read_case(one)[0] for one in each_series(case)]


def labels(folder: Path) -> list[str]:
    (case,) = discover(folder)
    return [series.label for series in list_series(case)]


def of_file(path: str, frame: int = 0) -> Any:
    """`(i, j)` measured values of one image by pydicom alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(path)
    slope, intercept = header.get("RescaleSlope", 1), header.get("RescaleIntercept", 0)
    pixels = header.pixel_array
    if frame:
        groups = header.PerFrameFunctionalGroupsSequence[frame - 1]
        values = groups.PixelValueTransformationSequence[0]
        pixels, slope, intercept = pixels[frame - 1], values.RescaleSlope, values.RescaleIntercept
    return pixels.T * float(slope) + float(intercept)


def assert_slices_are_their_files(volume: Volume) -> None:
    source = volume.dicom
    assert source is not None
    frames = source.frames or (0,) * len(source.instances)
    assert len({*zip(source.instances, frames, strict=True)}) == volume.grid.shape[2]
    for k, (path, frame) in enumerate(zip(source.instances, frames, strict=True)):
        assert np.allclose(volume.array[:, :, k], of_file(path, frame), atol=0.01)


@pytest.mark.parametrize(
    ("name", "count"), [("mr_axial_4d_2vol", 2), ("mr_multiecho_6x4", 4), ("enh_mr_philips_64f/IM_0027_fMAP.dcm", 2)]
)
def test_real_series_are_split_by_position(shared: Path, name: str, count: int) -> None:
    truth = json.loads((shared / "dicom/truth.json").read_text())[name]
    found = volumes(shared / "dicom" / name)
    assert len(found) == count
    for volume in found:
        assert list(volume.grid.shape) == truth["shape_ijk"]
        assert volume.grid.affine[:3, 3] == pytest.approx(truth["origin"], abs=0.05)
        assert volume.grid.affine[:3, 2] == pytest.approx(truth["step"], abs=1e-3)
        assert_slices_are_their_files(volume)
        assert Code.SERIES_SPLIT in {notice.code for notice in volume.notices}
    hashes = {volume.content_hash for volume in found}
    assert len(hashes) == count


def test_time_points_follow_the_image_numbers(shared: Path) -> None:
    first, second = volumes(shared / "dicom/mr_axial_4d_2vol")
    for volume, numbers in ((first, range(1, 16)), (second, range(16, 31))):
        assert volume.dicom is not None
        read = [pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber for path in volume.dicom.instances]
        assert read == list(numbers)


def test_echoes_and_phases_are_named_magnitude_first(shared: Path) -> None:
    said = labels(shared / "dicom/mr_multiecho_6x4")
    assert [("/M/" in one, "2.3 ms" in one) for one in said] == [
        (True, True), (True, False), (False, True), (False, False)
    ]  # fmt: skip
    assert "MAGNITUDE" in labels(shared / "dicom/enh_mr_philips_64f")[0]


def test_four_files_of_frames_are_four_volumes(shared: Path) -> None:
    found = volumes(shared / "dicom/enh_mr_siemens_4vol")
    assert [volume.grid.shape for volume in found] == [(64, 64, 6)] * 4
    for number, volume in enumerate(found, start=1):
        assert volume.dicom is not None
        assert {Path(path).name for path in volume.dicom.instances} == {f"6_{number}.dcm"}
        assert_slices_are_their_files(volume)


def test_orientations_of_one_series_are_volumes(shared: Path) -> None:
    truth = json.loads((shared / "dicom/truth.json").read_text())
    found = volumes(shared / "dicom/mr_multi_orientation_4")
    wanted = [truth[f"mr_multi_orientation_4#orient{number}"] for number in (1, 2)]
    for volume, right in zip(sorted(found, key=lambda v: v.grid.spacing[0]), wanted, strict=True):
        assert volume.grid.affine[:3, 3] == pytest.approx(right["origin"], abs=0.05)
        far = volume.grid.to_lps(np.array(volume.grid.shape) - 1.0)
        assert far == pytest.approx(right["lps_corner_far"], abs=0.05)


def test_phases_of_the_hostile_set(shared: Path) -> None:
    (case,) = discover(shared / "dicom/hostile/control_ok")
    control = read_case(case)[0].array
    native, contrast = volumes(shared / "dicom/hostile/two_phases")
    assert np.array_equal(native.array, control)
    assert np.array_equal(contrast.array, control + 100)


def test_a_part_is_named_with_its_number(shared: Path) -> None:
    (case,) = discover(shared / "dicom/hostile/two_phases")
    uid = list_series(case)[0].first.series_uid
    second = read_case(case, series_uid=f"{uid}:2")[0]
    assert second.dicom is not None
    assert (second.dicom.series_uid, second.dicom.part) == (uid, 2)
    assert read_case(case, series_uid=uid)[0].dicom.part == 1  # type: ignore[union-attr]
    with pytest.raises(UsageError) as caught:
        read_case(case, series_uid=f"{uid}:3")
    assert caught.value.code == Code.UNKNOWN_SERIES


def two_at_each_place(make_series: Any, name: str, **tags: Any) -> Path:
    """12 images at 6 places, both images of a place one after the other."""

    def each(index: int) -> dict[str, Any]:
        pixels = np.full((12, 16), 100 * (index % 2) + index, dtype=np.int16)
        place = {"ImagePositionPatient": [0, 0, 5.0 * (index // 2)], "PixelData": pixels.tobytes()}
        return place | {key: value(index) for key, value in tags.items()}

    return make_series(name, 12, each=each)


@pytest.mark.parametrize(
    "tags",
    [
        {"ConvolutionKernel": lambda n: ["B30f", "B70f"][n % 2]},
        {"TemporalPositionIdentifier": lambda n: n % 2 + 1},
        {"TriggerTime": lambda n: [0, 350.5][n % 2]},
        {"ImageType": lambda n: ["ORIGINAL", "PRIMARY", "M" if n % 2 else "P"]},
        {"AcquisitionNumber": lambda n: n + 1},  # one per shot: the order of the images decides
    ],
)
def test_what_tells_images_at_one_place_apart(make_series: Any, tags: Any) -> None:
    found = volumes(two_at_each_place(make_series, "study", **tags))
    assert [volume.grid.shape[2] for volume in found] == [6, 6]
    for volume in found:
        levels = volume.array[0, 0, :] - np.arange(0, 12, 2)
        assert set(levels.tolist()) in ({0}, {101})  # never a mix


def test_where_nothing_tells_them_apart_the_series_is_refused(make_series: Any) -> None:
    folder = two_at_each_place(make_series, "study", InstanceNumber=lambda n: 1)
    (case,) = discover(folder)
    with pytest.raises(StudyError) as caught:
        read_case(case)
    assert caught.value.code == Code.FOUR_DIMENSIONAL


def test_the_same_series_sent_twice_is_read_once(make_series: Any) -> None:
    folder = make_series("study", 6)
    make_series("again", 6, SOPInstanceUID=None, each=lambda k: {"SOPInstanceUID": f"1.2.9.{k}"})
    for path in (folder.parent / "again").iterdir():
        path.rename(folder / f"again_{path.name}")
    (case,) = discover(folder)
    volume = read_case(case)[0]
    assert volume.grid.shape[2] == 6
    assert Code.DUPLICATE_DROPPED in {notice.code for notice in volume.notices}


def test_one_slice_of_another_orientation_is_split_off(make_series: Any) -> None:
    folder = make_series("study", 7, each=lambda k: {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]} if k == 6 else {})
    (case,) = discover(folder)
    axial, sagittal = sorted(list_series(case), key=lambda series: series.error is not None)
    assert axial.grid is not None
    assert axial.grid.shape[2] == 6
    assert sagittal.error is not None
    assert sagittal.error.code == Code.SINGLE_SLICE
    assert Code.SERIES_SPLIT in {notice.code for notice in read_case(case)[0].notices}


def test_directions_that_jitter_are_refused_not_split(make_series: Any) -> None:
    """Every other slice turned by a tenth of a degree: two volumes of half the slices would look sound."""
    turn = np.radians(0.1)
    other = [float(np.cos(turn)), float(np.sin(turn)), 0, -float(np.sin(turn)), float(np.cos(turn)), 0]
    folder = make_series("study", 8, each=lambda k: {"ImageOrientationPatient": other} if k % 2 else {})
    (case,) = discover(folder)
    with pytest.raises(StudyError) as caught:
        read_case(case)
    assert caught.value.code == Code.MIXED_ORIENTATION
