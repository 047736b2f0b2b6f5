"""Zips give what the folder gives, and harm nothing."""

import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medmtl.errors import Code, StudyError
from medmtl.reading import archive
from medmtl.reading.any_volume import discover, read_case
from medmtl.reading.archive import members, unpack


def packed(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as written:
        for name, data in files.items():
            written.writestr(name, data)
    return path


def of_folder(folder: Path, target: Path) -> Path:
    files = {f"{folder.name}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    return packed(target, files)


def refusal(path: Path, folder: Path) -> Code:
    folder.mkdir(exist_ok=True)
    with pytest.raises(StudyError) as caught:
        unpack(path, folder)
    return caught.value.code


@pytest.mark.parametrize("name", ["mr_sag_10", "hostile/localizer_mixed", "hostile/doubled_file"])
def test_zip_and_folder_give_the_same_volume(shared: Path, tmp_path: Path, name: str) -> None:
    folder = shared / "dicom" / name
    (plain,) = discover(folder)
    (zipped,) = discover(of_folder(folder, tmp_path / "study.zip"))
    assert zipped.name == plain.name
    first, second = read_case(plain)[0], read_case(zipped)[0]
    assert np.array_equal(first.array, second.array)
    assert np.array_equal(first.grid.affine, second.grid.affine)
    assert first.content_hash == second.content_hash
    assert [notice.code for notice in first.notices] == [notice.code for notice in second.notices]


def test_the_unpacked_files_stay_as_long_as_the_volume(shared: Path, tmp_path: Path) -> None:
    (case,) = discover(of_folder(shared / "dicom/hostile/control_ok", tmp_path / "study.zip"))
    volume = read_case(case)[0]
    assert volume.dicom is not None
    paths = [Path(path) for path in volume.dicom.instances]
    assert all(path.is_file() for path in paths)
    del volume
    assert not any(path.exists() for path in paths)


def test_a_refused_zip_leaves_nothing_behind(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    (case,) = discover(of_folder(shared / "dicom/hostile/missing_slice", tmp_path / "study.zip"))
    with pytest.raises(StudyError):
        read_case(case)
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("name", ["../out.dcm", "/out.dcm", "..\\out.dcm", "C:\\out.dcm", "a/../../out.dcm"])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "slip.zip", {"good.dcm": b"x", name: b"y"})
    assert refusal(path, tmp_path / "inner") == Code.UNSAFE_ARCHIVE
    assert sorted(child.name for child in tmp_path.rglob("*")) == ["inner", "slip.zip"]


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as written:
        written.writestr(link, "/etc/passwd")
    assert refusal(tmp_path / "a.zip", tmp_path / "inner") == Code.UNSAFE_ARCHIVE


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as written,
        written.open("zeros.dcm", "w", force_zip64=True) as member,
    ):
        for _ in range(100):
            member.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        assert refusal(tmp_path / "bomb.zip", tmp_path / "inner") == Code.UNSAFE_ARCHIVE
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert not list((tmp_path / "inner").iterdir())


def test_a_member_longer_than_declared_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "lie.zip", {"a.dcm": bytes(32 << 20)})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.find(signature)
        struct.pack_into("<I", data, at + offset, 1000)
    path.write_bytes(bytes(data))
    assert refusal(path, tmp_path / "inner") in (Code.TRUNCATED, Code.UNSAFE_ARCHIVE)
    assert sum(child.stat().st_size for child in (tmp_path / "inner").rglob("*") if child.is_file()) <= 1000


def test_nested_archives_are_never_opened(shared: Path, tmp_path: Path) -> None:
    inner = packed(tmp_path / "inner.zip", {"a.dcm": bytes(1 << 20)}).read_bytes()
    only = packed(tmp_path / "only.zip", {f"{index}.zip": inner for index in range(16)})
    assert refusal(only, tmp_path / "out") == Code.UNSAFE_ARCHIVE
    mixed = packed(tmp_path / "mixed.zip", {"a.dcm": b"x", "b.zip": inner})
    assert [info.filename for info in members(mixed)] == ["a.dcm"]
    (case,) = discover(shared / "dicom/hostile/nested4.zip")
    assert case.error is not None


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "a.zip", {f"{index}.dcm": b"x" for index in range(20)}, zipfile.ZIP_STORED)
    assert len(members(path)) == 20
    monkeypatch.setattr(archive, "MAX_MEMBERS", 19)
    assert refusal(path, tmp_path / "out") == Code.UNSAFE_ARCHIVE


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    return data[:60] + bytes([data[60] ^ 0xFF]) + data[61:]


def _encrypted(data: bytes) -> bytes:
    changed = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[changed.find(signature) + offset] |= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("change", "code"), [(_cut, Code.TRUNCATED), (_flip, Code.TRUNCATED), (_encrypted, Code.UNREADABLE)]
)
def test_damaged_and_locked_archives_are_refused(tmp_path: Path, change: Callable[[bytes], bytes], code: Code) -> None:
    path = packed(tmp_path / "a.zip", {"a.dcm": np.random.default_rng(0).bytes(5000)})
    path.write_bytes(change(path.read_bytes()))
    assert refusal(path, tmp_path / "out") == code


def test_two_members_of_one_name_are_both_kept(shared: Path, tmp_path: Path) -> None:
    path = shared / "dicom/hostile/dup_names.zip"
    (tmp_path / "out").mkdir()
    unpacked = unpack(path, tmp_path / "out")
    assert len({file.read_bytes() for file in unpacked}) == 2


def test_the_chest_study_reads_from_its_zip(shared: Path) -> None:
    (case,) = discover(shared / "data/chest_ct/chest_ct.zip")
    volume = read_case(case)[0]
    assert volume.array.shape == (512, 512, 64)
    assert volume.array.dtype == np.int16
