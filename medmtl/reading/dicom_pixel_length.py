"""Are the pixels of a DICOM file all there? Counted before any memory is taken for them (PS3.5 8, A.4)."""

import struct
from typing import IO, Any

from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from medmtl.errors import Code, StudyError

_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM = (0xFFFE, 0xE000)
_DELIMITER = (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF


def pixel_fault(dataset: Any, stream: IO[bytes], size: int, limit: int) -> StudyError | None:
    """Why the pixels of `dataset` cannot be read, None where their number is right.

    Args:
        dataset: the header, read with `stop_before_pixels`.
        stream: the open file, standing at the pixel element; is moved.
        size: length of the file in bytes.
        limit: largest image in bytes.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    bits, stored = int(dataset.get("BitsAllocated") or 0), int(dataset.get("BitsStored") or 0)
    top = int(dataset.get("HighBit") or stored - 1)
    if min(frames, rows, columns) < 1 or bits not in (8, 16, 32) or not 1 <= stored <= bits or top != stored - 1:
        return StudyError(
            Code.BAD_PIXELS,
            f"{rows} x {columns} pixels of {stored} in {bits} bits cannot be",
            "export the series again",
        )
    expected = frames * rows * columns * bits // 8
    if expected > limit:
        return StudyError(
            Code.TOO_LARGE, f"the header asks for {expected / 2**30:.0f} GiB of pixels", "export the series again"
        )
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        return None  # the inflated data are counted when the pixels are read
    return _element_fault(stream, size, expected, _Syntax(dataset, syntax))


class _Syntax:
    """Byte order, VR and packing of the pixel element."""

    def __init__(self, dataset: Any, syntax: Any) -> None:
        implicit, little = dataset.original_encoding
        self.order = "<" if little or little is None else ">"
        self.implicit = implicit if implicit is not None else syntax in (None, ImplicitVRLittleEndian)
        self.encapsulated = bool(syntax is not None and not syntax.is_private and syntax.is_compressed)


def _element_fault(stream: IO[bytes], size: int, expected: int, syntax: _Syntax) -> StudyError | None:
    head = stream.read(8 if syntax.implicit else 12)
    if not head:
        return StudyError(Code.BAD_PIXELS, "a file holds no pixel data", "copy the series again, with its pixels")
    if len(head) < (8 if syntax.implicit else 12):
        return _truncated()
    if struct.unpack(syntax.order + "HH", head[:4]) != _PIXEL_DATA:
        return StudyError(Code.BAD_PIXELS, "a file holds no integer pixel data", "export integer pixels")
    length = int(struct.unpack(syntax.order + "I", head[-4:])[0])
    if length == _UNDEFINED:
        return _fragments_fault(stream, size) if syntax.encapsulated else _truncated()
    if syntax.encapsulated:
        return StudyError(Code.BAD_PIXELS, "compressed pixels are not in fragments", "export the series again")
    if length > size - stream.tell() or length < expected:
        return _truncated()
    if length > expected + 1:
        return StudyError(
            Code.BAD_PIXELS, "there are more pixels than rows and columns hold", "export the series again"
        )
    return None


def _fragments_fault(stream: IO[bytes], size: int) -> StudyError | None:
    while len(head := stream.read(8)) == 8:
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == _DELIMITER:
            return None
        if (group, element) != _ITEM or length > size - stream.tell():
            break
        stream.seek(length, 1)
    return _truncated()


def _truncated() -> StudyError:
    return StudyError(Code.TRUNCATED, "a file ends before its pixels do", "copy the series again")
