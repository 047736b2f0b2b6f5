"""Names of uploaded files stay where they are put."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmtl_app.uploads import free_name, safe_path


@settings(deadline=None)  # a busy machine is no fault
@given(st.text(max_size=300))
def test_a_name_never_leaves_its_folder(name: str) -> None:
    path = safe_path(name)
    assert not path.is_absolute()
    assert path.parts
    assert not any(part.startswith(".") or "/" in part or "\\" in part for part in path.parts)
    assert all(len(part) <= 120 for part in path.parts)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("heart.nii.gz", "heart.nii.gz"),
        ("study/IM0001", "study/IM0001"),
        ("../../etc/passwd", "etc/passwd"),
        ("C:\\scans\\IM 1.dcm", "C_/scans/IM_1.dcm"),
        (".hidden/.x", "hidden/x"),
        ("心脏/影像.dcm", "心脏/影像.dcm"),
        ("", "file"),
    ],
)
def test_what_a_name_becomes(name: str, kept: str) -> None:
    assert safe_path(name).as_posix() == kept


def test_a_name_that_is_taken_is_numbered(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "IM1").touch()
    assert free_name(tmp_path, Path("a/IM1")) == tmp_path / "a" / "2-IM1"
    assert free_name(tmp_path, Path("a/IM2")) == tmp_path / "a" / "IM2"
