"""Compressed frames say their own size; one that lies is not decoded."""

from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames

from medmtl.errors import Code, StudyError
from medmtl.reading.any_volume import discover, read_case
from medmtl.reading.codestream import matrix_of


@pytest.mark.parametrize("name", ["j2k", "jpeg_lossless", "jpeg_ls"])
def test_the_matrix_of_real_frames(shared: Path, name: str) -> None:
    path = sorted((shared / "dicom/transfer_syntax" / name).iterdir())[0]
    (frame,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    assert matrix_of(frame) == (256, 256)


def test_other_bytes_have_no_matrix() -> None:
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00", b"RLE", b"\xff\x4f\xff\x51"):
        assert matrix_of(data) in (None, (0, 0))


@pytest.mark.parametrize(("name", "marker", "offset"), [("j2k", b"\xff\x51", 6), ("jpeg_ls", b"\xff\xf7", 5)])
def test_a_frame_that_claims_a_huge_matrix_is_refused(
    shared: Path, tmp_path: Path, name: str, marker: bytes, offset: int
) -> None:
    for path in sorted((shared / "dicom/transfer_syntax" / name).iterdir()):
        dataset = pydicom.dcmread(path)
        (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
        changed = bytearray(frame)
        at = changed.find(marker) + offset
        changed[at : at + 2] = b"\xff\xff" if name == "jpeg_ls" else b"\x7f\xff"
        dataset.PixelData = encapsulate([bytes(changed)])
        dataset.save_as(tmp_path / path.name)
    (case,) = discover(tmp_path)
    with pytest.raises(StudyError, match="holds") as caught:
        read_case(case)
    assert caught.value.code == Code.BAD_PIXELS


def test_damaged_run_lengths_are_refused(shared: Path, tmp_path: Path) -> None:
    """The Rust decoder of pylibjpeg-rle would end the process here."""
    for path in sorted((shared / "dicom/transfer_syntax/rle").iterdir()):
        dataset = pydicom.dcmread(path)
        (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
        dataset.PixelData = encapsulate([frame[:64] + b"\x7f" * (len(frame) - 64)])
        dataset.save_as(tmp_path / path.name)
    (case,) = discover(tmp_path)
    with pytest.raises(StudyError) as caught:
        read_case(case)
    assert caught.value.code == Code.BAD_PIXELS
