"""Whatever the path, the cases in it are found, and a bad one does not hide a good one."""

import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medmtl.errors import Code, MedmtlError, StudyError, UsageError
from medmtl.reading.any_volume import InputKind, discover, each_series, read_case

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def nifti(path: Path, shape: tuple[int, ...] = (5, 6, 7), affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones(shape, dtype=np.int16), affine), path)
    return path


def errors(path: Path, **options: Any) -> dict[str, Code | None]:
    return {case.name: case.error.code if case.error else None for case in discover(path, **options)}


def test_a_folder_of_everything(tmp_path: Path, shared: Path, make_series: Any) -> None:
    folder = tmp_path / "batch"
    nifti(folder / "good.nii.gz")
    (folder / "bad.nii.gz").write_text("this is a text file named like an image")
    (folder / "empty.nii").write_bytes(b"")
    (folder / "hollow").mkdir()
    for companion in ("README.md", "cases.csv", "plan.yaml", "good.json", "notes.txt", ".hidden.nii.gz"):
        (folder / companion).write_text("companion")
    shutil.copytree(shared / "dicom/ct_axial_28", folder / "ct")
    make_series("batch/mr", Modality="MR")
    (cut,) = [folder / "cut.nii.gz"]
    cut.write_bytes((folder / "good.nii.gz").read_bytes()[:20])
    found = discover(folder)
    names = {case.name: case.error.code if case.error else None for case in found}
    studies = [name for name in names if name.startswith("study-")]
    assert len(studies) == 2
    assert all(names[name] is None for name in studies)
    assert names["good"] is None
    assert (names["bad"], names["empty"], names["cut"]) == (Code.NOT_AN_IMAGE, Code.EMPTY_INPUT, Code.TRUNCATED)
    assert [case.error.code for case in found if case.error and case.source.name == "hollow"] == [Code.EMPTY_INPUT]
    assert len(found) == 7
    assert read_case(next(case for case in found if case.name == "good"))[0].array.shape == (5, 6, 7)
    with pytest.raises(StudyError):
        read_case(next(case for case in found if case.name == "bad"))


def test_content_decides_and_not_the_name(tmp_path: Path, shared: Path) -> None:
    nifti(tmp_path / "a.nii").rename(tmp_path / "a.dcm")
    (case,) = discover(tmp_path / "a.dcm")
    assert case.kind is InputKind.NIFTI
    assert read_case(case)[0].array.shape == (5, 6, 7)
    shutil.copy(shared / "dicom/enh_ct_2f/eCT_Supplemental.dcm", tmp_path / "b.nii.gz")
    (case,) = discover(tmp_path / "b.nii.gz")
    assert case.kind is InputKind.DICOM
    assert read_case(case)[0].modality == "CT"


def test_channels_side_by_side_are_one_case(tmp_path: Path) -> None:
    for name in ("A_0000", "A_0001", "B_0000", "C"):
        nifti(tmp_path / f"{name}.nii.gz")
    assert errors(tmp_path) == {"A_0000": None, "A_0001": None, "B_0000": None, "C": None}
    assert errors(tmp_path, channels=2) == {"A": None, "B": Code.CHANNEL_MISSING, "C": Code.CHANNEL_MISSING}
    case = discover(tmp_path, channels=2)[0]
    assert [path.name for path in case.paths] == ["A_0000.nii.gz", "A_0001.nii.gz"]
    assert len(read_case(case)) == 2
    elsewhere = np.diag([-1.0, -1.0, 2.0, 1.0])
    elsewhere[:3, 3] = 500.0
    nifti(tmp_path / "A_0001.nii.gz", affine=elsewhere)
    with pytest.raises(StudyError) as caught:
        read_case(discover(tmp_path, channels=2)[0])
    assert caught.value.code == Code.GRID_MISMATCH


def test_a_list_of_paths_and_cases(tmp_path: Path, shared: Path) -> None:
    nifti(tmp_path / "images/x.nii.gz")
    nifti(tmp_path / "images/y.nii.gz")
    study = shared / "dicom/mr_sag_10"
    rows = [
        "path,case",
        "images/x.nii.gz,first",
        f"{study},second",
        "gone.nii.gz,third",
        "images/y.nii.gz,",
        "list.csv,",
    ]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    found = discover(tmp_path / "list.csv")
    assert [case.name for case in found[:4]] == ["first", "second", "third", "y"]
    assert [case.error.code if case.error else None for case in found] == [
        None, None, Code.NOT_FOUND, None, Code.NOT_AN_IMAGE,
    ]  # fmt: skip
    assert read_case(found[1])[0].modality == "MR"
    (tmp_path / "two.csv").write_text("path,case\nimages/x.nii.gz,one\nimages/y.nii.gz,one\n")
    (case,) = discover(tmp_path / "two.csv", channels=2)
    assert [path.name for path in case.paths] == ["x.nii.gz", "y.nii.gz"]
    (tmp_path / "bad.csv").write_text("file;name\n")
    with pytest.raises(UsageError):
        discover(tmp_path / "bad.csv")


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(UsageError) as caught:
        discover(Path("/nowhere/at/all"))
    assert caught.value.code == Code.NOT_FOUND


def test_series_folders_of_one_study_are_one_case_and_copies_of_it_are_several(shared: Path) -> None:
    (case,) = discover(shared / "dicom/study_ct_phantom")
    assert len(case.paths) == 13
    copies = discover(shared / "dicom/transfer_syntax")
    assert len(copies) == 8
    assert len({case.name for case in copies}) == 8
    assert all(read_case(case)[0].array.shape == (256, 256, 4) for case in copies)


def test_names_hold_no_identity_and_do_not_depend_on_the_folder(make_series: Any, tmp_path: Path) -> None:
    folder = make_series("DOE^JOHN")
    (case,) = discover(folder)
    assert case.name.startswith("study-")
    assert len(case.name) == len("study-") + 8
    folder.rename(tmp_path / "another")
    assert discover(tmp_path / "another")[0].name == case.name


def test_each_series_is_a_case_on_request(make_series: Any) -> None:
    folder = make_series("study", SeriesNumber=3)
    make_series("study", 8, SeriesNumber=4)
    (case,) = discover(folder)
    cases = each_series(case)
    assert [one.name for one in cases] == [f"{case.name}-s3", f"{case.name}-s4"]
    assert [read_case(one)[0].array.shape[2] for one in cases] == [6, 8]
    assert read_case(case, series_uid="1.2.3.3")[0].array.shape[2] == 6


def test_modality_is_preferred(make_series: Any) -> None:
    folder = make_series("study", 9, SeriesNumber=1)
    make_series("study", 5, SeriesNumber=2, Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4")
    (case,) = discover(folder)
    assert read_case(case)[0].modality == "CT"
    assert read_case(case, modality_wanted="MR")[0].modality == "MR"


def test_awkward_names(shared: Path, tmp_path: Path) -> None:
    with tarfile.open(shared / "dicom/hostile/names.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    (case,) = discover(tmp_path / "names")
    assert read_case(case)[0].array.shape == (32, 32, 8)
    (case,) = discover(tmp_path / "name255")
    assert case.error is None
    nifti(tmp_path / "odd/plain.nii.gz").rename(tmp_path / "odd/new\nline;$(x).nii.gz")
    assert discover(tmp_path / "odd")[0].name == "new_line;$(x)"


def test_links_are_not_followed_out_of_the_folder(make_series: Any, tmp_path: Path) -> None:
    folder = make_series("study")
    os.symlink(".", folder / "loop")
    outside = nifti(tmp_path / "outside.nii.gz")
    os.symlink(outside, folder / "link.nii.gz")
    found = discover(folder)
    assert [case.error.code for case in found if case.error] == [Code.UNREADABLE]
    (good,) = [case for case in found if not case.error]
    assert read_case(good)[0].array.shape == (16, 12, 6)


CHANGES = st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=12)


def _damaged(data: bytes, changes: list[tuple[int, int]], start: int) -> bytes:
    changed = bytearray(data)
    for offset, value in changes:
        changed[(start + offset) % len(data)] = value
    return bytes(changed)


def _read_or_refuse(path: Path) -> None:
    for case in discover(path):
        try:
            volume = read_case(case)[0]
        except MedmtlError:
            continue
        assert np.isfinite(volume.array).all()
        assert np.isfinite(volume.grid.affine).all()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(changes=CHANGES)
def test_damaged_nifti_headers_end_in_a_volume_or_a_refusal(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    whole = tmp_path / "whole.nii"
    if not whole.exists():
        nifti(whole)
    (tmp_path / "damaged.nii").write_bytes(_damaged(whole.read_bytes(), [(at % 352, v) for at, v in changes], 0))
    _read_or_refuse(tmp_path / "damaged.nii")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(changes=CHANGES, which=st.integers(0, 3))
def test_damaged_dicom_headers_end_in_a_volume_or_a_refusal(
    make_series: Any, caplog: pytest.LogCaptureFixture, changes: list[tuple[int, int]], which: int
) -> None:
    folder = make_series("study", 4)
    path = sorted(folder.iterdir())[which]
    path.write_bytes(_damaged(path.read_bytes(), changes, 132))
    _read_or_refuse(folder)
    assert not caplog.records  # pydicom's own lines quote values


def test_the_same_input_gives_the_same_bytes(make_series: Any) -> None:
    folder = make_series("study")
    first, second = (read_case(discover(folder)[0])[0] for _ in range(2))
    assert first.content_hash == second.content_hash
    assert first.array.tobytes("F") == second.array.tobytes("F")
    (folder / "1_003.dcm").touch()
    changed = make_series("study", each=lambda k: {"RescaleIntercept": k})
    assert read_case(discover(changed)[0])[0].content_hash != first.content_hash
