"""Channels that are two phases of a cine, or files and series of their own; what is no cine is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medmtl.errors import Code, MedmtlError, Notice, StudyError
from medmtl.geometry.grid import Grid
from medmtl.reading.any_volume import discover, discover_all, list_volumes, read_case
from medmtl.reading.choice import Wanted
from medmtl.reading.phases import Cine
from medmtl.volume import Volume
from tests.cine import STEP_MS, moved, write_4d, write_classic, write_enhanced

CHANNELS = ("ED", "ES")
GRID = Grid(shape=(9, 8, 4), affine=np.diag([1.5, 1.5, 10.0, 1.0]))
SIZES = (60, 48, 30, 12, 20, 45)  # of the bright part: phase 0 the largest, phase 3 the smallest


def frames(sizes: tuple[int, ...] = SIZES) -> list[Any]:
    made = []
    for size in sizes:
        frame = np.full(GRID.shape, 100, np.int16)
        frame.reshape(-1)[:size] = 200
        made.append(frame)
    return made


def by_brightness(cine: Cine) -> tuple[tuple[int, int], tuple[Notice, ...]]:
    sizes = [int((frame.array > 150).sum()) for frame in cine.frames]
    first, last = int(np.argmax(sizes)), int(np.argmin(sizes))
    return (first, last), (Notice(code=Code.PHASES_CHOSEN, text=f"{cine.named(first)}, {cine.named(last)}"),)


def read(path: Path, **wanted: Any) -> tuple[Volume, ...]:
    (case,) = discover(path, names=CHANNELS)
    return read_case(case, channels=CHANNELS, pick=by_brightness, **wanted)


def bright(volumes: tuple[Volume, ...]) -> list[int]:
    return [int((volume.array > 150).sum()) for volume in volumes]


def refusal(act: Callable[[], object]) -> MedmtlError:
    with pytest.raises(MedmtlError) as caught:
        act()
    return caught.value


@pytest.mark.parametrize("kind", ["classic", "enhanced", "4d"])
def test_two_phases_of_a_cine_in_the_order_of_time(tmp_path: Path, kind: str) -> None:
    writers: dict[str, Callable[[], Path]] = {
        "classic": lambda: write_classic(tmp_path / "study", frames(), GRID),
        "enhanced": lambda: write_enhanced(tmp_path / "study/one.dcm", frames(), GRID).parent,
        "4d": lambda: write_4d(tmp_path / "heart.nii.gz", frames(), GRID, step=STEP_MS, unit="msec"),
    }
    found = read(writers[kind]())
    assert bright(found) == [60, 12]
    (said,) = [notice.text for notice in found[0].notices if notice.code == Code.PHASES_CHOSEN]
    offset = 1 if kind == "classic" else 0  # the slices of a phase are acquired one after the other
    first, last = offset * 0.75, 3 * STEP_MS + offset * 0.75
    assert said == f"phase 1 of 6 (trigger time {first:.0f} ms), phase 4 of 6 (trigger time {last:.0f} ms)"
    assert found[0].content_hash != found[1].content_hash
    if kind == "4d":
        assert [volume.frame for volume in found] == [1, 4]
    else:
        assert [volume.dicom and volume.dicom.part for volume in found] == [1, 4]


def test_the_time_decides_and_not_the_number_of_the_image(tmp_path: Path) -> None:
    times = [180.0, 0.0, 45.0, 90.0, 135.0, 225.0]  # written in another order
    folder = write_classic(tmp_path / "study", frames(), GRID, times_ms=times)
    (said,) = [notice.text for notice in read(folder)[0].notices if notice.code == Code.PHASES_CHOSEN]
    assert said.startswith("phase 5 of 6 (trigger time 181 ms), phase 3 of 6 (trigger time 91 ms)")


def test_phases_can_be_named(tmp_path: Path) -> None:
    folder = write_classic(tmp_path / "study", frames(), GRID)
    (case,) = discover(folder, names=CHANNELS)
    uid = list_volumes(case)[0][0].first.series_uid
    assert bright(read(folder, series_uid=f"{uid}:2,{uid}:5")) == [48, 20]
    assert bright(read(folder, series_uid=f"ES={uid}:5,ED={uid}:2")) == [48, 20]
    assert bright(read(folder, series_uid=uid)) == [60, 12]
    path = write_4d(tmp_path / "heart.nii.gz", frames(), GRID)
    assert bright(read(path, series_uid="frame=2,frame=5")) == [48, 20]
    assert bright(read(path, series_uid="ES=frame=5,ED=frame=2")) == [48, 20]
    assert refusal(lambda: read(path, series_uid="frame=2,frame=7")).code == Code.UNKNOWN_SERIES


def test_a_cine_is_preferred_to_nothing_and_named_series_to_a_cine(tmp_path: Path) -> None:
    folder = write_classic(tmp_path / "study", frames(), GRID)
    write_classic(folder, frames((7,)), GRID, number=8, description="sax ED")
    assert refusal(lambda: read(folder)).code == Code.CHANNEL_MISSING  # one of two is there
    write_classic(folder, frames((5,)), GRID, number=9, description="sax_ES")
    assert bright(read(folder)) == [7, 5]


def test_of_two_cines_the_one_of_more_slices_is_read_and_the_list_says_so(tmp_path: Path) -> None:
    short = Grid(shape=(9, 8, 2), affine=GRID.affine)
    folder = write_classic(tmp_path / "study", [frame[:, :, :2] for frame in frames()], short, number=2)
    write_classic(folder, frames(), GRID, number=5)
    found = read(folder)
    assert found[0].dicom is not None
    assert found[0].dicom.number == 5
    assert Code.SERIES_CHOSEN in {notice.code for notice in found[0].notices}
    (case,) = discover(folder, names=CHANNELS)
    series, choice, error = list_volumes(case, Wanted(channels=CHANNELS))
    assert error is None
    assert choice is not None
    told = {
        (one.first.series_number, why.startswith("a phase")) for one, why in zip(series, choice.reasons, strict=True)
    }
    assert told == {(2, False), (5, True)}


@pytest.mark.parametrize(
    ("tags", "times"),
    [
        ({"TriggerTime": None, "DiffusionBValue": lambda phase: 100.0 * phase}, None),
        ({"TriggerTime": None, "EchoTime": lambda phase: 2.0 + phase}, None),
        ({"TriggerTime": None, "TemporalPositionIdentifier": lambda phase: phase + 1}, None),
        ({}, [900.0 * phase for phase in range(6)]),  # perfusion: a beat from image to image
    ],
)
def test_what_is_repeated_and_no_beat_is_refused(
    tmp_path: Path, tags: dict[str, Any], times: list[float] | None
) -> None:
    folder = write_classic(tmp_path / "study", frames(), GRID, times_ms=times, **tags)
    error = refusal(lambda: read(folder))
    assert error.code == Code.FOUR_DIMENSIONAL
    assert "not the phases of one beat" in error.what


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"unit": "hz"}, "frequency"),
        ({"step": 2.5, "unit": "sec"}, "2500 ms lie between"),
        ({"step": 190.0, "unit": "msec", "sizes": tuple(range(20, 40))}, "it lasts"),
        ({"fade": True}, "brightness"),
    ],
)
def test_a_file_of_four_dimensions_that_is_no_cine_is_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    made = frames(change.pop("sizes", SIZES))
    if change.pop("fade", False):
        made = [(frame // (1 + 3 * index)).astype(np.int16) for index, frame in enumerate(made)]
    path = write_4d(tmp_path / "x.nii.gz", made, GRID, **change)
    error = refusal(lambda: read(path))
    assert error.code == Code.FOUR_DIMENSIONAL
    assert why in error.what


def test_without_a_model_of_two_phases_four_dimensions_stay_refused(tmp_path: Path) -> None:
    path = write_4d(tmp_path / "x.nii.gz", frames(), GRID)
    (case,) = discover(path)
    assert refusal(lambda: read_case(case)).code == Code.FOUR_DIMENSIONAL
    (case,) = discover(path, names=("T1", "FLAIR"))
    assert refusal(lambda: read_case(case, channels=("T1", "FLAIR"))).code == Code.FOUR_DIMENSIONAL
    (case,) = discover(path, names=CHANNELS)
    assert refusal(lambda: read_case(case, channels=CHANNELS)).code == Code.FOUR_DIMENSIONAL


def nifti(path: Path, value: int, grid: Grid = GRID) -> Path:
    image = nib.Nifti1Image(np.full(grid.shape, value, np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine)
    nib.save(image, path)
    return path


def test_two_files_by_number_by_channel_and_by_their_order(tmp_path: Path) -> None:
    for name, value in (("a_0000", 1), ("a_0001", 2), ("b_ed", 3), ("b_ES", 4), ("ED", 5), ("ES", 6)):
        nifti(tmp_path / f"{name}.nii.gz", value)
    cases = {case.name: case for case in discover(tmp_path, names=CHANNELS)}
    assert set(cases) == {"a", "b", "case"}
    read_values = {
        name: [int(v.array[0, 0, 0]) for v in read_case(case, channels=CHANNELS)] for name, case in cases.items()
    }
    assert read_values == {"a": [1, 2], "b": [3, 4], "case": [5, 6]}
    paths = [tmp_path / "b_ES.nii.gz", tmp_path / "ED.nii.gz"]
    (case,) = discover_all(paths, names=CHANNELS)
    assert [int(v.array[0, 0, 0]) for v in read_case(case, channels=CHANNELS)] == [4, 5]
    assert [case.name for case in discover_all(paths)] == ["b_ES", "ED"]


def test_a_file_on_other_voxels_keeps_its_own_and_one_elsewhere_is_refused(tmp_path: Path) -> None:
    nifti(tmp_path / "a_0000.nii.gz", 1)
    finer = Grid(shape=(18, 16, 4), affine=np.diag([0.75, 0.75, 10.0, 1.0]))
    nifti(tmp_path / "a_0001.nii.gz", 2, moved(finer, (-0.375, -0.375, 0.0)))
    (case,) = discover(tmp_path, names=CHANNELS)
    first, second = read_case(case, channels=CHANNELS)
    assert second.grid is first.grid
    assert second.own.array.shape == finer.shape
    assert [notice.code for notice in second.notices] == [Code.CHANNEL_RESAMPLED]
    nifti(tmp_path / "a_0001.nii.gz", 2, moved(GRID, (100.0, 0.0, 0.0)))
    with pytest.raises(StudyError) as caught:
        read_case(case, channels=CHANNELS)
    assert caught.value.code == Code.GRID_MISMATCH
