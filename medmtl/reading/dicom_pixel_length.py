"""Are the pixels of a DICOM file all there? Counted before any memory is taken for them (PS3.5 8, A.4)."""

import struct
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from medmtl.errors import Code, StudyError

_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM = (0xFFFE, 0xE000)
_DELIMITER = (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class StoredPixels:
    """Where the uncompressed pixels of a file lie, and of what type they are.

    Attributes:
        offset: of the first pixel, in bytes from the start of the file.
        size: of the whole file in bytes.
        dtype: of a pixel.
    """

    offset: int
    size: int
    dtype: np.dtype[Any]


def locate_pixels(dataset: Any, stream: IO[bytes], size: int, limit: int) -> StoredPixels | None:
    """Where the pixels of a file lie once their number is known to be right; None where they must be decoded.

    Args:
        dataset: the header, read with `stop_before_pixels`.
        stream: the open file, standing at the pixel element; is moved.
        size: length of the file in bytes.
        limit: largest image in bytes.

    Raises:
        StudyError: the pixels are absent, cut short, too many or too large.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    bits, stored = int(dataset.get("BitsAllocated") or 0), int(dataset.get("BitsStored") or 0)
    top = int(dataset.get("HighBit") or stored - 1)
    if min(frames, rows, columns) < 1 or bits not in (8, 16, 32) or not 1 <= stored <= bits or top != stored - 1:
        raise StudyError(
            Code.BAD_PIXELS,
            f"{rows} x {columns} pixels of {stored} in {bits} bits cannot be",
            "export the series again",
        )
    expected = frames * rows * columns * bits // 8
    if expected > limit:
        raise StudyError(
            Code.TOO_LARGE, f"the header asks for {expected / 2**30:.0f} GiB of pixels", "export the series again"
        )
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        return None  # the inflated data are counted when the pixels are read
    packing = _Syntax(dataset, syntax)
    _check_element(stream, size, expected, packing)
    private = syntax is not None and syntax.is_private
    if packing.encapsulated or private or (packing.order == ">" and bits == 8):  # 8 bits may lie in swapped words
        return None
    sign = "i" if dataset.get("PixelRepresentation") == 1 else "u"
    dtype = np.dtype(f"{packing.order}{sign}{bits // 8}")
    return StoredPixels(offset=stream.tell(), size=size, dtype=dtype)


class _Syntax:
    """Byte order, VR and packing of the pixel element."""

    def __init__(self, dataset: Any, syntax: Any) -> None:
        implicit, little = dataset.original_encoding
        self.order = "<" if little or little is None else ">"
        self.implicit = implicit if implicit is not None else syntax in (None, ImplicitVRLittleEndian)
        self.encapsulated = bool(syntax is not None and not syntax.is_private and syntax.is_compressed)


def _check_element(stream: IO[bytes], size: int, expected: int, syntax: _Syntax) -> None:
    head = stream.read(8 if syntax.implicit else 12)
    if not head:
        raise StudyError(Code.BAD_PIXELS, "a file holds no pixel data", "copy the series again, with its pixels")
    if len(head) < (8 if syntax.implicit else 12):
        raise _truncated()
    if struct.unpack(syntax.order + "HH", head[:4]) != _PIXEL_DATA:
        raise StudyError(Code.BAD_PIXELS, "a file holds no integer pixel data", "export integer pixels")
    length = int(struct.unpack(syntax.order + "I", head[-4:])[0])
    if length == _UNDEFINED:
        if not syntax.encapsulated:
            raise _truncated()
        _check_fragments(stream, size)
        return
    if syntax.encapsulated:
        raise StudyError(Code.BAD_PIXELS, "compressed pixels are not in fragments", "export the series again")
    if length > size - stream.tell() or length < expected:
        raise _truncated()
    if length > expected + 1:
        raise StudyError(Code.BAD_PIXELS, "there are more pixels than rows and columns hold", "export the series again")


def _check_fragments(stream: IO[bytes], size: int) -> None:
    while len(head := stream.read(8)) == 8:
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == _DELIMITER:
            return
        if (group, element) != _ITEM or length > size - stream.tell():
            break
        stream.seek(length, 1)
    raise _truncated()


def _truncated() -> StudyError:
    return StudyError(Code.TRUNCATED, "a file ends before its pixels do", "copy the series again")
