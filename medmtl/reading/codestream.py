"""Matrix sizes that compressed frames claim, read before a decoder takes memory for them."""

from typing import Any

from pydicom.encaps import generate_frames

from medmtl.errors import Code, StudyError

_J2K_START = b"\xff\x4f\xff\x51"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


def check_codestreams(dataset: Any, rows: int, columns: int) -> None:
    """Compare the matrix inside every JPEG, JPEG-LS and JPEG 2000 frame with the header's.

    Raises:
        StudyError: a frame claims another matrix.
    """
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None or syntax.is_private or not syntax.is_compressed or "PixelData" not in dataset:
        return
    if syntax.is_deflated:
        return
    count = int(dataset.get("NumberOfFrames") or 1)
    for frame in generate_frames(dataset.PixelData, number_of_frames=count):
        found = matrix_of(frame)
        if found is not None and found != (rows, columns):
            raise StudyError(
                Code.BAD_PIXELS,
                f"a compressed frame holds {found[0]} x {found[1]} pixels, the header {rows} x {columns}",
                "export the series again",
            )


def matrix_of(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns a compressed frame claims; None where it is no JPEG of any kind."""
    start = frame.find(_J2K_START, 0, 512)  # bare, or in the boxes of a JP2 file
    if start >= 0:
        extent = [int.from_bytes(frame[start + 8 + 4 * n : start + 12 + 4 * n], "big") for n in range(4)]
        return extent[1] - extent[3], extent[0] - extent[2]
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        if frame[at + 1] in _FRAME_MARKERS:
            return int.from_bytes(frame[at + 5 : at + 7], "big"), int.from_bytes(frame[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None
